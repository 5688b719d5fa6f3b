//! The oracle's gradients of whole networks against central differences, in f64, at several densities.
//!
//! A sample of every weight (active and inactive positions) and of every trainable vector moves by
//! `1e-6 * max(1, |value|)` both ways. Rectifiers and max pools make the loss piecewise smooth, so the pieces are watched:
//! every difference is taken between points that agree on the side of all rectifiers and on the winner of all max pools.
//! Where the piece ends on one side within the step, the one-sided difference of second order is taken on the other. Where
//! it ends on both, and still does with a step 10,000 times smaller, the loss has no derivative at the point: a channel
//! that is constant ties all windows of the max pool behind it. At most one sample in eight of a tensor may be so.
//!
//! Errors are relative to the largest of both derivatives, the root mean square of the gradient tensor, and 1e-2: rounding
//! of a loss near 1 leaves up to 1e-8 in a difference over 2e-6. Batch normalisation has an epsilon of 1e-3, as 1e-5 would
//! multiply rounding by 316 behind every filter without weights.

#[path = "../../kernels/tests/common/splitmix.rs"]
mod splitmix;

use bidst_engine::oracle::{Oracle, OracleGradients};
use bidst_kernels::reference::{PoolShape, Window, max_pool_forward, softmax_cross_entropy_forward};
use bidst_model::{ConvOptions, Graph, GraphBuilder, NodeId, Op, Shape};
use splitmix::SplitMix64;

const STEP: f64 = 1e-6;
const TOLERANCE: f64 = 1e-6;
const RESOLVED: f64 = 1e-2;
const SMOOTHING: f64 = 0.1;
const COUNT: usize = 3;
const SAMPLES: usize = 16;

/// Uniform numbers between -1 and 1.
struct Numbers(SplitMix64);

impl Numbers {
    fn next(&mut self) -> f64 {
        2.0 * self.0.uniform() - 1.0
    }
}

fn conv_bn(net: &mut GraphBuilder, name: &str, input: NodeId, options: ConvOptions) -> NodeId {
    let x = net.conv(format!("{name}.conv"), input, options);
    net.node(format!("{name}.bn"), Op::BatchNormalization { epsilon: 1e-3, momentum: 0.1 }, &[x])
}

/// An identity block and a stride-2 block with a projection.
fn residual() -> Graph {
    let mut net = GraphBuilder::new("residual", Shape::new(2, 7, 7));
    let x = conv_bn(&mut net, "stem", NodeId(0), ConvOptions::new(5, 3));
    let x = net.relu("stem.relu", x);
    let y = conv_bn(&mut net, "block1.a", x, ConvOptions::new(5, 3));
    let y = net.relu("block1.relu1", y);
    let y = conv_bn(&mut net, "block1.b", y, ConvOptions::new(5, 3));
    let sum = net.add("block1.add", y, x);
    let x = net.relu("block1.relu2", sum);
    let y = conv_bn(&mut net, "block2.a", x, ConvOptions::new(8, 3).stride(2));
    let y = net.relu("block2.relu1", y);
    let y = conv_bn(&mut net, "block2.b", y, ConvOptions::new(8, 3));
    let shortcut = conv_bn(&mut net, "block2.down", x, ConvOptions::new(8, 1).stride(2));
    let sum = net.add("block2.add", y, shortcut);
    let x = net.relu("block2.relu2", sum);
    let x = net.global_average_pool("pool", x);
    net.gemm("fc", x, 5, true);
    net.finish().unwrap()
}

/// Max pools of two kinds, a convolution with a bias, an average pool and two fully connected layers.
fn vgg_like() -> Graph {
    let mut net = GraphBuilder::new("vgg-like", Shape::new(3, 12, 10));
    let x = conv_bn(&mut net, "one", NodeId(0), ConvOptions::new(6, 3));
    let x = net.relu("one.relu", x);
    let x = net.max_pool("one.pool", x, 2, 2);
    let x = conv_bn(&mut net, "two", x, ConvOptions::new(8, 3));
    let x = net.relu("two.relu", x);
    let overlapping = Op::MaxPool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
    let x = net.node("two.pool", overlapping, &[x]);
    let x = net.conv("three.conv", x, ConvOptions::new(6, 3).with_bias());
    let x = net.relu("three.relu", x);
    let x = net.average_pool("pool", x, 2, 1);
    let x = net.flatten("flatten", x);
    let x = net.gemm("fc1", x, 7, false);
    let x = net.relu("fc1.relu", x);
    net.gemm("fc2", x, 4, true);
    net.finish().unwrap()
}

/// Grouped and depthwise convolutions with a clipped rectifier.
fn grouped() -> Graph {
    let mut net = GraphBuilder::new("grouped", Shape::new(4, 6, 5));
    let x = conv_bn(&mut net, "wide", NodeId(0), ConvOptions::new(16, 1).groups(2));
    let x = net.clip("wide.clip", x, 1.5);
    let depthwise = ConvOptions::new(16, 3).groups(16).stride(2);
    let x = conv_bn(&mut net, "depth", x, depthwise);
    let x = net.clip("depth.clip", x, 1.5);
    let x = conv_bn(&mut net, "narrow", x, ConvOptions::new(20, 1));
    let x = net.relu("narrow.relu", x);
    let x = net.global_average_pool("pool", x);
    net.gemm("fc", x, 3, true);
    net.finish().unwrap()
}

/// Active positions of `len` at `density`, at random; fully connected layers stay dense.
fn patterns(graph: &Graph, density: f64, numbers: &mut Numbers) -> Vec<Option<Vec<u32>>> {
    let mut draw = |len: usize| -> Vec<u32> {
        let mut order: Vec<(f64, u32)> = (0..len as u32).map(|at| (numbers.next(), at)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        order.truncate((density * len as f64).round() as usize);
        let mut active: Vec<u32> = order.into_iter().map(|(_, at)| at).collect();
        active.sort_unstable();
        active
    };
    let weights = graph.weights().into_iter();
    weights.map(|weight| (weight.shape.len() == 4).then(|| draw(weight.len()))).collect()
}

fn randomize(oracle: &mut Oracle<f64>, density: f64, numbers: &mut Numbers) {
    for weight in &mut oracle.weights {
        let fan_in: usize = weight.shape[1..].iter().product();
        let bound = (6.0 / (fan_in as f64 * density.max(0.1))).sqrt();
        weight.values.fill_with(|| bound * numbers.next());
    }
    for vector in oracle.vectors.iter_mut().filter(|v| v.trainable) {
        let centre = vector.values[0];
        vector.values.fill_with(|| centre + 0.5 * numbers.next());
    }
}

/// The loss at one point, and the smooth piece that the point is on.
struct Point {
    loss: f64,
    piece: Vec<usize>,
}

struct Case {
    graph: Graph,
    /// All weights dense, so that inactive positions can move too.
    oracle: Oracle<f64>,
    images: Vec<f64>,
    labels: Vec<u32>,
}

/// One parameter: a weight tensor or a vector, and a flat index in it.
#[derive(Clone, Copy, Debug)]
enum Parameter {
    Weight(usize, usize),
    Vector(usize, usize),
}

impl Case {
    fn value(&mut self, parameter: Parameter) -> &mut f64 {
        match parameter {
            Parameter::Weight(tensor, at) => &mut self.oracle.weights[tensor].values[at],
            Parameter::Vector(tensor, at) => &mut self.oracle.vectors[tensor].values[at],
        }
    }

    fn at(&mut self, parameter: Parameter, value: f64) -> Point {
        let before = std::mem::replace(self.value(parameter), value);
        let activations = self.oracle.activations(&self.images, true);
        *self.value(parameter) = before;
        let logits = activations.last().unwrap();
        let classes = self.graph.classes();
        Point {
            loss: softmax_cross_entropy_forward(classes, logits, &self.labels, SMOOTHING).0,
            piece: self.piece(&activations),
        }
    }

    /// Side of every rectifier and winner of every max pool.
    fn piece(&self, activations: &[Vec<f64>]) -> Vec<usize> {
        let mut piece = Vec::new();
        for node in self.graph.nodes() {
            let Some(&input) = node.inputs.first() else {
                continue;
            };
            let x = &activations[input.0];
            match node.op {
                Op::Relu => piece.extend(x.iter().map(|&x| usize::from(x > 0.0))),
                Op::Clip { max } => {
                    piece.extend(x.iter().map(|&x| usize::from(x > 0.0) + usize::from(x >= f64::from(max))))
                }
                Op::MaxPool { kernel, stride, padding } => {
                    let input = self.graph.node(input).shape;
                    let shape = PoolShape {
                        planes: COUNT * input.channels,
                        input: [input.height, input.width],
                        window: Window { kernel, stride, padding },
                    };
                    piece.extend(max_pool_forward(&shape, x).1);
                }
                _ => {}
            }
        }
        piece
    }

    /// The derivative by differences over `step` within one piece; none at a kink.
    fn derivative(&mut self, parameter: Parameter, step: f64) -> Option<f64> {
        let value = *self.value(parameter);
        let here = self.at(parameter, value);
        // The offset as rounded, the rise of the loss, and whether the point is on the same piece.
        let mut moved = |steps: f64| {
            let offset = (value + steps * step) - value;
            let point = self.at(parameter, value + offset);
            (offset, point.loss - here.loss, point.piece == here.piece)
        };
        let [above, below] = [1.0, -1.0].map(&mut moved);
        if above.2 && below.2 {
            return Some((above.1 - below.1) / (above.0 - below.0));
        }
        if above.1 == 0.0 && below.1 == 0.0 {
            return Some(0.0);
        }
        [(above, 2.0), (below, -2.0)].into_iter().find_map(|((a, rise_a, inside), steps)| {
            let (b, rise_b, all_inside) = moved(steps);
            (inside && all_inside).then(|| (rise_a * b / a - rise_b * a / b) / (b - a))
        })
    }
}

/// At most [`SAMPLES`] positions spread over the tensor, and as many spread over its active ones.
fn sample(len: usize, active: Option<&[u32]>) -> Vec<usize> {
    let spread = |len: usize| {
        let step = len.div_ceil(SAMPLES).max(1);
        (0..len).step_by(step).map(move |at| at + (7 * at / step) % step).filter(move |&at| at < len)
    };
    let mut positions: Vec<usize> = spread(len).collect();
    if let Some(active) = active {
        positions.extend(spread(active.len()).map(|i| active[i] as usize));
    }
    positions.sort_unstable();
    positions.dedup();
    positions
}

fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt()
}

/// Checks the samples of one tensor.
fn check_tensor(
    case: &mut Case,
    name: &str,
    gradient: &[f64],
    positions: &[usize],
    parameter: impl Fn(usize) -> Parameter,
) {
    let typical = rms(gradient);
    let mut kinks = 0;
    for &at in positions {
        let analytic = gradient[at];
        let value = case.value(parameter(at)).abs();
        let step = STEP * value.max(1.0);
        let Some(numeric) = case.derivative(parameter(at), step) else {
            let nearer = case.derivative(parameter(at), 1e-4 * step);
            assert_eq!(nearer, None, "{name}[{at}]: a kink near the point, but not at it");
            kinks += 1;
            continue;
        };
        let scale = analytic.abs().max(numeric.abs()).max(typical).max(RESOLVED);
        assert!(
            (analytic - numeric).abs() <= TOLERANCE * scale,
            "{name}[{at}]: {analytic} by the oracle, {numeric} by differences"
        );
    }
    assert!(kinks * 8 <= positions.len(), "{name}: {kinks} kinks in {} samples", positions.len());
}

fn check(graph: &Graph, density: f64, seed: u64) {
    let mut numbers = Numbers(SplitMix64(seed));
    let patterns = patterns(graph, density, &mut numbers);
    let mut sparse = Oracle::new(graph, &patterns);
    randomize(&mut sparse, density, &mut numbers);
    let mut dense = Oracle::new(graph, &vec![None; patterns.len()]);
    for (dense, sparse) in dense.weights.iter_mut().zip(&sparse.weights) {
        dense.values = sparse.effective();
    }
    dense.vectors = sparse.vectors.clone();
    let images: Vec<f64> = (0..COUNT * graph.input_shape().len()).map(|_| 2.0 * numbers.next()).collect();
    let labels: Vec<u32> = (0..COUNT).map(|n| (n % graph.classes()) as u32).collect();
    let (_, gradients) = sparse.loss_and_gradients(&images, &labels, SMOOTHING);
    let mut case = Case { graph: graph.clone(), oracle: dense, images, labels };
    check_weights(&mut case, &patterns, &gradients);
    check_vectors(&mut case, &gradients);
}

fn check_weights(case: &mut Case, patterns: &[Option<Vec<u32>>], gradients: &OracleGradients<f64>) {
    for (tensor, gradient) in gradients.weights.iter().enumerate() {
        let name = case.oracle.weights[tensor].name.clone();
        let positions = sample(gradient.len(), patterns[tensor].as_deref());
        check_tensor(case, &name, gradient, &positions, |at| Parameter::Weight(tensor, at));
    }
}

fn check_vectors(case: &mut Case, gradients: &OracleGradients<f64>) {
    for (tensor, gradient) in gradients.vectors.iter().enumerate() {
        let vector = &case.oracle.vectors[tensor];
        let name = vector.name.clone();
        if !vector.trainable {
            assert!(gradient.iter().all(|&g| g == 0.0), "{name} is not trained");
            continue;
        }
        let positions = sample(gradient.len(), None);
        check_tensor(case, &name, gradient, &positions, |at| Parameter::Vector(tensor, at));
    }
}

fn check_densities(graph: &Graph) {
    for (seed, density) in [0.0, 0.02, 0.1, 0.5, 1.0].into_iter().enumerate() {
        check(graph, density, seed as u64);
    }
}

#[test]
fn a_residual_network_matches_differences_at_every_density() {
    check_densities(&residual());
}

#[test]
fn a_vgg_like_network_matches_differences_at_every_density() {
    check_densities(&vgg_like());
}

#[test]
fn a_grouped_network_matches_differences_at_every_density() {
    check_densities(&grouped());
}

#[test]
fn gradients_at_zeros_are_those_of_the_dense_network() {
    let graph = residual();
    let mut numbers = Numbers(SplitMix64(9));
    let patterns = patterns(&graph, 0.1, &mut numbers);
    let mut sparse = Oracle::<f64>::new(&graph, &patterns);
    randomize(&mut sparse, 0.1, &mut numbers);
    let mut dense = sparse.clone();
    for weight in &mut dense.weights {
        weight.values = weight.effective();
    }
    let images: Vec<f64> = (0..2 * graph.input_shape().len()).map(|_| numbers.next()).collect();
    let (loss, gradients) = sparse.loss_and_gradients(&images, &[0, 1], 0.0);
    let (dense_loss, dense_gradients) = dense.loss_and_gradients(&images, &[0, 1], 0.0);
    assert_eq!(loss, dense_loss);
    assert_eq!(gradients.weights, dense_gradients.weights);
    let inactive = |at: usize| !patterns[2].as_ref().unwrap().contains(&(at as u32));
    let at_zeros = gradients.weights[2].iter().enumerate();
    assert!(at_zeros.filter(|&(at, _)| inactive(at)).any(|(_, &g)| g != 0.0));
}

#[test]
fn parameters_are_named_in_node_order() {
    let oracle = Oracle::<f32>::new(&vgg_like(), &vec![None; 5]);
    let names: Vec<&str> = oracle.vectors.iter().map(|v| v.name.as_str()).collect();
    let expected = [
        "one.bn.weight",
        "one.bn.bias",
        "one.bn.running_mean",
        "one.bn.running_var",
        "two.bn.weight",
        "two.bn.bias",
        "two.bn.running_mean",
        "two.bn.running_var",
        "three.conv.bias",
        "fc2.bias",
    ];
    assert_eq!(names, expected);
    assert_eq!(oracle.weights[3].name, "fc1.weight");
}

#[test]
fn evaluation_uses_and_keeps_the_running_statistics() {
    let graph = residual();
    let mut numbers = Numbers(SplitMix64(3));
    let mut oracle = Oracle::<f64>::new(&graph, &vec![None; graph.weights().len()]);
    randomize(&mut oracle, 1.0, &mut numbers);
    let images: Vec<f64> = (0..4 * graph.input_shape().len()).map(|_| numbers.next()).collect();
    let fresh = oracle.clone();
    let untrained = oracle.forward(&images, false);
    assert_eq!(oracle.vectors[2].values, fresh.vectors[2].values);
    let training = oracle.forward(&images, true);
    assert_ne!(oracle.vectors[2].values, fresh.vectors[2].values);
    assert_ne!(untrained, training);
    for _ in 0..300 {
        oracle.forward(&images, true);
    }
    let converged = oracle.forward(&images, false);
    let distance = |other: &[f64]| -> f64 { converged.iter().zip(other).map(|(a, b)| (a - b).abs()).sum() };
    assert!(distance(&training) < 0.1 * distance(&untrained));
}
