//! Runs a whole graph on the plain scalar reference: what the engine is tested against.
//!
//! Slow, dense and simple: NCHW arrays, one node after another, nothing fused. A sparse weight is a dense one whose
//! values outside the pattern are read as 0, and gradients come at all positions, which is what probes must agree with.

use bidst_kernels::reference::{
    BatchNormShape, BatchStatistics, ConvShape, Float, GemmShape, PoolShape, Window, add_backward, add_forward,
    average_pool_backward, average_pool_forward, batch_norm_backward, batch_norm_forward, batch_norm_statistics,
    clip_backward, clip_forward, conv2d_backward, conv2d_forward, gemm_backward, gemm_forward,
    global_average_pool_backward, global_average_pool_forward, max_pool_backward, max_pool_forward, relu_backward,
    relu_forward, softmax_cross_entropy_backward, softmax_cross_entropy_forward,
};
use bidst_model::{Graph, Node, NodeId, Op, Shape};

/// A graph with its parameters, executed by the reference.
///
/// # Panics
///
/// All methods panic if the lengths of their arguments do not fit the graph: the oracle is for tests.
#[derive(Clone, Debug)]
pub struct Oracle<T> {
    graph: Graph,
    /// One per [`Graph::weights`], in that order. All values start at 0.
    pub weights: Vec<OracleWeight<T>>,
    /// In node order: scale, shift, running mean and running variance of a batch normalisation, biases of other layers.
    pub vectors: Vec<OracleVector<T>>,
    /// Per node, the index of its first weight and of its first vector.
    first: Vec<[usize; 2]>,
}

/// A weight as a dense array.
#[derive(Clone, Debug)]
pub struct OracleWeight<T> {
    /// The node's name and `.weight`.
    pub name: String,
    /// `[out, in / groups, kernel height, kernel width]` or `[out, in]`.
    pub shape: Vec<usize>,
    /// Row-major. Values outside the pattern count as 0 whatever is in them.
    pub values: Vec<T>,
    active: Option<Vec<u32>>,
}

/// A vector of parameters.
#[derive(Clone, Debug)]
pub struct OracleVector<T> {
    /// The node's name and `.weight`, `.bias`, `.running_mean` or `.running_var`.
    pub name: String,
    /// One value per channel.
    pub values: Vec<T>,
    /// False for running statistics.
    pub trainable: bool,
}

/// What one backward pass gives.
#[derive(Clone, Debug)]
pub struct OracleGradients<T> {
    /// Per weight, the loss's gradient of the *effective* weight at all positions, inactive ones included.
    pub weights: Vec<Vec<T>>,
    /// Per vector; 0 for running statistics.
    pub vectors: Vec<Vec<T>>,
}

/// What the backward pass of a node needs besides its inputs and output.
#[derive(Clone, Debug)]
enum Memory<T> {
    Nothing,
    Statistics(BatchStatistics<T>),
    Winners(Vec<usize>),
}

struct Pass<T> {
    outputs: Vec<Vec<T>>,
    memory: Vec<Memory<T>>,
}

impl<T: Float> OracleWeight<T> {
    /// The dense array with 0 outside the pattern.
    pub fn effective(&self) -> Vec<T> {
        let Some(active) = &self.active else {
            return self.values.clone();
        };
        let mut effective = vec![T::ZERO; self.values.len()];
        for &at in active {
            effective[at as usize] = self.values[at as usize];
        }
        effective
    }
}

impl<T: Float> Oracle<T> {
    /// A network whose weights are all 0, with batch normalisations that scale by 1, shift by 0 and have seen mean 0
    /// and variance 1. `patterns` holds per weight the sorted active flat indices, or `None` for a dense weight.
    pub fn new(graph: &Graph, patterns: &[Option<Vec<u32>>]) -> Self {
        let specs = graph.weights();
        assert_eq!(patterns.len(), specs.len(), "one pattern per weight");
        let weights = specs.into_iter().zip(patterns).map(|(spec, active)| OracleWeight {
            values: vec![T::ZERO; spec.len()],
            name: spec.name,
            shape: spec.shape,
            active: active.clone(),
        });
        let mut vectors = Vec::new();
        let mut first = Vec::new();
        let mut weight = 0;
        for node in graph.nodes() {
            first.push([weight, vectors.len()]);
            weight += usize::from(matches!(node.op, Op::Conv { .. } | Op::Gemm { .. }));
            vectors.extend(vectors_of(node));
        }
        Self { graph: graph.clone(), weights: weights.collect(), vectors, first }
    }

    /// Logits, `[n, classes]`, of `images`, `[n, channels, height, width]`. In training, batch normalisations use the
    /// batch's statistics and move the running ones; else they use the running ones.
    pub fn forward(&mut self, images: &[T], training: bool) -> Vec<T> {
        self.activations(images, training).pop().expect("a graph has nodes")
    }

    /// Outputs of all nodes, the images first and the logits last; otherwise as [`forward`](Self::forward).
    pub fn activations(&mut self, images: &[T], training: bool) -> Vec<Vec<T>> {
        self.run(images, training).outputs
    }

    /// Mean cross-entropy of a training pass, smoothed as in [`softmax_cross_entropy_forward`], and its gradients.
    pub fn loss_and_gradients(&mut self, images: &[T], labels: &[u32], smoothing: T) -> (T, OracleGradients<T>) {
        let pass = self.run(images, true);
        let classes = self.graph.classes();
        let logits = pass.outputs.last().expect("a graph has nodes");
        let (loss, probabilities) = softmax_cross_entropy_forward(classes, logits, labels, smoothing);
        let d_logits = softmax_cross_entropy_backward(classes, &probabilities, labels, smoothing);
        (loss, self.backward(&pass, d_logits))
    }

    fn run(&mut self, images: &[T], training: bool) -> Pass<T> {
        let per_image = self.graph.input_shape().len();
        assert!(!images.is_empty() && images.len().is_multiple_of(per_image), "whole images, at least one");
        let count = images.len() / per_image;
        let mut pass = Pass { outputs: vec![images.to_vec()], memory: vec![Memory::Nothing] };
        for at in 1..self.graph.nodes().len() {
            let (output, memory) = self.node_forward(at, count, &pass.outputs, training);
            if let (true, Memory::Statistics(statistics)) = (training, &memory) {
                self.update_running(at, count, statistics);
            }
            pass.outputs.push(output);
            pass.memory.push(memory);
        }
        pass
    }

    fn node_forward(&self, at: usize, count: usize, outputs: &[Vec<T>], training: bool) -> (Vec<T>, Memory<T>) {
        let (node, input) = self.node(at);
        let x = &outputs[node.inputs[0].0];
        let output = match node.op {
            Op::Input => unreachable!("only node 0 is an input"),
            Op::Conv { bias, .. } => {
                let weight = self.weight(at).effective();
                conv2d_forward(&conv_shape(node, input, count), x, &weight, self.bias(at, bias))
            }
            Op::Gemm { bias, .. } => {
                let weight = self.weight(at).effective();
                gemm_forward(&gemm_shape(node, input, count), x, &weight, self.bias(at, bias))
            }
            Op::BatchNormalization { epsilon, .. } => {
                let shape = norm_shape(input, count);
                let statistics = if training { batch_norm_statistics(&shape, x) } else { self.running(at) };
                let [gamma, beta] = [0, 1].map(|i| self.vector(at, i));
                let epsilon = T::from_f64(epsilon.into());
                let y = batch_norm_forward(&shape, x, &statistics, gamma, beta, epsilon);
                return (y, Memory::Statistics(statistics));
            }
            Op::Relu => relu_forward(x),
            Op::Clip { max } => clip_forward(x, T::from_f64(max.into())),
            Op::Add => add_forward(x, &outputs[node.inputs[1].0]),
            Op::MaxPool { .. } => {
                let (y, winners) = max_pool_forward(&pool_shape(node, input, count), x);
                return (y, Memory::Winners(winners));
            }
            Op::AveragePool { .. } => average_pool_forward(&pool_shape(node, input, count), x),
            Op::GlobalAveragePool => global_average_pool_forward(input.height * input.width, x),
            Op::Flatten => x.clone(),
        };
        (output, Memory::Nothing)
    }

    fn backward(&self, pass: &Pass<T>, d_logits: Vec<T>) -> OracleGradients<T> {
        let zeros = |values: &Vec<T>| vec![T::ZERO; values.len()];
        let mut gradients = OracleGradients {
            weights: self.weights.iter().map(|w| zeros(&w.values)).collect(),
            vectors: self.vectors.iter().map(|v| zeros(&v.values)).collect(),
        };
        let mut d_outputs: Vec<Vec<T>> = pass.outputs.iter().map(zeros).collect();
        *d_outputs.last_mut().expect("a graph has nodes") = d_logits;
        for at in (1..d_outputs.len()).rev() {
            let dy = std::mem::take(&mut d_outputs[at]);
            let d_inputs = self.node_backward(at, pass, &dy, &mut gradients);
            for (input, dx) in self.node(at).0.inputs.iter().zip(d_inputs) {
                let sum = &mut d_outputs[input.0];
                *sum = add_forward(sum, &dx);
            }
        }
        gradients
    }

    /// Stores the gradients of the node's parameters and returns those of its inputs.
    fn node_backward(&self, at: usize, pass: &Pass<T>, dy: &[T], gradients: &mut OracleGradients<T>) -> Vec<Vec<T>> {
        let (node, input) = self.node(at);
        let [weight, vector] = self.first[at];
        let count = dy.len() / node.shape.len();
        let x = &pass.outputs[node.inputs[0].0];
        let dx = match (&node.op, &pass.memory[at]) {
            (Op::Conv { bias, .. }, _) => {
                let shape = conv_shape(node, input, count);
                let result = conv2d_backward(&shape, x, &self.weight(at).effective(), dy);
                gradients.weights[weight] = result.weight;
                if *bias {
                    gradients.vectors[vector] = result.bias;
                }
                result.input
            }
            (Op::Gemm { bias, .. }, _) => {
                let shape = gemm_shape(node, input, count);
                let result = gemm_backward(&shape, x, &self.weight(at).effective(), dy);
                gradients.weights[weight] = result.weight;
                if *bias {
                    gradients.vectors[vector] = result.bias;
                }
                result.input
            }
            (Op::BatchNormalization { epsilon, .. }, Memory::Statistics(statistics)) => {
                let (shape, gamma) = (norm_shape(input, count), self.vector(at, 0));
                let epsilon = T::from_f64((*epsilon).into());
                let result = batch_norm_backward(&shape, x, statistics, gamma, epsilon, dy);
                gradients.vectors[vector] = result.gamma;
                gradients.vectors[vector + 1] = result.beta;
                result.input
            }
            (Op::Relu, _) => relu_backward(x, dy),
            (Op::Clip { max }, _) => clip_backward(x, T::from_f64((*max).into()), dy),
            (Op::Add, _) => return add_backward(dy).into(),
            (Op::MaxPool { .. }, Memory::Winners(winners)) => {
                max_pool_backward(&pool_shape(node, input, count), winners, dy)
            }
            (Op::AveragePool { .. }, _) => average_pool_backward(&pool_shape(node, input, count), dy),
            (Op::GlobalAveragePool, _) => global_average_pool_backward(input.height * input.width, dy),
            (Op::Flatten, _) => dy.to_vec(),
            (op, _) => unreachable!("{} has no such backward pass", op.kind()),
        };
        vec![dx]
    }

    /// The node and the shape of its first input.
    fn node(&self, at: usize) -> (&Node, Shape) {
        let node = self.graph.node(NodeId(at));
        (node, self.graph.node(node.inputs[0]).shape)
    }

    fn weight(&self, at: usize) -> &OracleWeight<T> {
        &self.weights[self.first[at][0]]
    }

    /// The node's vector number `index`.
    fn vector(&self, at: usize, index: usize) -> &[T] {
        &self.vectors[self.first[at][1] + index].values
    }

    fn bias(&self, at: usize, exists: bool) -> Option<&[T]> {
        exists.then(|| self.vector(at, 0))
    }

    fn running(&self, at: usize) -> BatchStatistics<T> {
        let [mean, variance] = [2, 3].map(|index| self.vector(at, index).to_vec());
        BatchStatistics { mean, variance }
    }

    fn update_running(&mut self, at: usize, count: usize, batch: &BatchStatistics<T>) {
        let (node, input) = self.node(at);
        let Op::BatchNormalization { momentum, .. } = node.op else {
            unreachable!("only batch normalisation has statistics");
        };
        let first = self.first[at][1];
        let [mean, variance] = &mut self.vectors[first + 2..first + 4] else {
            unreachable!("batch normalisation has four vectors");
        };
        let (mean, variance) = (&mut mean.values, &mut variance.values);
        batch.update_running(&norm_shape(input, count), T::from_f64(momentum.into()), mean, variance);
    }
}

/// The vectors of a node with their first values.
fn vectors_of<T: Float>(node: &Node) -> Vec<OracleVector<T>> {
    let vector = |suffix: &str, value, trainable| OracleVector {
        name: format!("{}.{suffix}", node.name),
        values: vec![value; node.shape.channels],
        trainable,
    };
    match node.op {
        Op::BatchNormalization { .. } => vec![
            vector("weight", T::ONE, true),
            vector("bias", T::ZERO, true),
            vector("running_mean", T::ZERO, false),
            vector("running_var", T::ONE, false),
        ],
        Op::Conv { bias: true, .. } | Op::Gemm { bias: true, .. } => {
            vec![vector("bias", T::ZERO, true)]
        }
        _ => Vec::new(),
    }
}

fn conv_shape(node: &Node, input: Shape, count: usize) -> ConvShape {
    let Op::Conv { out_channels, kernel, stride, padding, groups, .. } = node.op else {
        unreachable!("{} is no convolution", node.name);
    };
    ConvShape {
        count,
        in_channels: input.channels,
        input: [input.height, input.width],
        out_channels,
        window: Window { kernel, stride, padding },
        groups,
    }
}

fn pool_shape(node: &Node, input: Shape, count: usize) -> PoolShape {
    let (Op::MaxPool { kernel, stride, padding } | Op::AveragePool { kernel, stride, padding }) = node.op else {
        unreachable!("{} is no pool", node.name);
    };
    PoolShape {
        planes: count * input.channels,
        input: [input.height, input.width],
        window: Window { kernel, stride, padding },
    }
}

fn gemm_shape(node: &Node, input: Shape, count: usize) -> GemmShape {
    GemmShape { count, in_features: input.channels, out_features: node.shape.channels }
}

fn norm_shape(input: Shape, count: usize) -> BatchNormShape {
    BatchNormShape { count, channels: input.channels, pixels: input.height * input.width }
}
