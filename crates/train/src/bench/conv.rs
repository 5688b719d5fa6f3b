//! One convolution or linear layer alone, at several densities in turn.

use bidst_engine::{Kernel, Kernels, Network, Options, PartKind, Storage};
use bidst_model::{ConvOptions, Graph, GraphBuilder, ModelError, Op, Shape};
use bidst_topology::Mask;
use bidst_topology::rng::{Purpose, Streams, at};

use crate::error::TrainError;

/// Name of the graph, for messages.
const NAME: &str = "layer";
/// The place among the weights of the layer that is timed: one before it makes its input worth a gradient.
const TIMED: usize = 1;

/// Geometry of a layer. Padding keeps the size of the image at stride 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Output channels or features.
    pub outputs: usize,
    /// Input channels or features, of one group.
    pub inputs: usize,
    /// Kernel height and width; `None` is a linear layer.
    pub kernel: Option<[usize; 2]>,
    /// Height and width of the input.
    pub side: usize,
    /// Step between two windows, down and across.
    pub stride: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl LayerShape {
    /// `before → the layer → pooling → two logits`.
    fn graph(&self) -> Result<Graph, ModelError> {
        let channels = self.inputs.saturating_mul(self.groups);
        let mut net = GraphBuilder::new(NAME, Shape::new(channels, self.side, self.side));
        let before = net.conv("before", net.input(), ConvOptions::new(channels, 1).groups(channels));
        let layer = match self.kernel {
            None => Op::Gemm { out_features: self.outputs, bias: false },
            Some(kernel) => Op::Conv {
                out_channels: self.outputs,
                kernel,
                stride: [self.stride; 2],
                padding: kernel.map(|side| side / 2),
                groups: self.groups,
                bias: false,
            },
        };
        let x = net.node("timed", layer, &[before]);
        let x = net.global_average_pool("pool", x);
        net.gemm("logits", x, 2, false);
        net.finish()
    }
}

/// A layer in a network that does next to nothing else.
pub struct LayerBench {
    network: Network,
    images: Vec<f32>,
    labels: Vec<u32>,
    pixels: usize,
}

impl LayerBench {
    /// The layer with a random pattern of the given sparsity on the sparse kernels, or on the dense ones if that is 0, on
    /// random images.
    ///
    /// # Errors
    /// A shape that no layer has; whatever the engine refuses.
    pub fn new(shape: &LayerShape, sparsity: f64, batch_size: usize, threads: usize) -> Result<LayerBench, TrainError> {
        let graph = shape.graph().map_err(|source| TrainError::Model { model: NAME.to_owned(), source })?;
        let weight = &graph.weights()[TIMED];
        let mut patterns = vec![None; graph.weights().len()];
        if sparsity > 0.0 {
            let nnz = ((1.0 - sparsity) * weight.len() as f64).round() as usize;
            let mask = Mask::random(weight.len(), nnz, &mut Streams::new(0).stream(Purpose::Mask, 0, 0))?;
            patterns[TIMED] = Some(mask.active().to_vec());
        }
        let options = Options { batch_size, threads, activations: Storage::F32, instruction_set: None };
        let mut network = Network::new(&graph, &patterns, options)?;
        let kernel = if sparsity > 0.0 { Kernel::Sparse } else { Kernel::Dense };
        network.set_kernels(&Kernels::All(kernel))?;
        for (key, tensor) in network.weights_mut().iter_mut().enumerate() {
            let scale = 1.0 / (tensor.nnz() as f32 / tensor.shape()[0] as f32).max(1.0).sqrt();
            let values = tensor.values_mut().iter_mut().zip(uniform(key as u64));
            values.for_each(|(value, random)| *value = scale * random);
        }
        network.time_parts(true);
        let images = uniform(u64::MAX).take(batch_size * graph.input_shape().len()).collect();
        let labels = (0..batch_size as u32).map(|image| image % 2).collect();
        Ok(LayerBench { network, images, labels, pixels: weight.macs_per_weight })
    }

    /// Seconds of the layer's forward and backward pass (gradients of its input and its weights) on one batch.
    ///
    /// # Errors
    /// If the engine refuses the batch.
    pub fn step(&mut self) -> Result<[f64; 2], TrainError> {
        self.network.forward_backward(&self.images, &self.labels, 0.0)?;
        let is_timed = |kind| matches!(kind, PartKind::Layer { weight: TIMED, .. });
        let parts = self.network.part_timings().iter().filter(|part| is_timed(part.kind));
        let mut seconds = [0.0; 2];
        for part in parts {
            seconds[0] += part.forward.as_secs_f64();
            seconds[1] += part.backward.as_secs_f64();
        }
        Ok(seconds)
    }

    /// Weights that exist.
    pub fn nnz(&self) -> usize {
        self.network.weights()[TIMED].nnz()
    }

    /// Non-zeros over positions.
    pub fn density(&self) -> f64 {
        self.nnz() as f64 / self.network.weights()[TIMED].len() as f64
    }

    /// Floating-point operations of the forward and of the backward pass on one batch, non-zeros only.
    pub fn flops(&self) -> [u64; 2] {
        let forward = 2 * (self.nnz() * self.pixels * self.labels.len()) as u64;
        [forward, 2 * forward]
    }

    /// The network around the layer, to look at.
    pub fn network(&self) -> &Network {
        &self.network
    }
}

/// Numbers between −1 and 1 under a key.
fn uniform(key: u64) -> impl Iterator<Item = f32> {
    (0u64..).map(move |position| (at(key, position) >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONV: LayerShape =
        LayerShape { outputs: 12, inputs: 8, kernel: Some([3, 3]), side: 10, stride: 2, groups: 1 };

    #[test]
    fn a_layer_alone_counts_its_own_non_zeros_and_operations() {
        let mut bench = LayerBench::new(&CONV, 0.75, 16, 1).unwrap();
        assert_eq!((bench.nnz(), bench.density()), (216, 0.25));
        assert_eq!(bench.flops(), [2 * 216 * 25 * 16, 4 * 216 * 25 * 16]);
        let seconds = bench.step().unwrap();
        assert!(seconds.iter().all(|&s| s > 0.0));
    }

    #[test]
    fn a_linear_layer_and_a_depthwise_one_can_be_timed() {
        let linear = LayerShape { outputs: 20, inputs: 30, kernel: None, side: 1, stride: 1, groups: 1 };
        assert_eq!(LayerBench::new(&linear, 0.0, 16, 1).unwrap().nnz(), 600);
        let depthwise = LayerShape { outputs: 8, inputs: 1, groups: 8, ..CONV };
        assert_eq!(LayerBench::new(&depthwise, 0.0, 16, 1).unwrap().nnz(), 72);
    }

    #[test]
    fn a_shape_that_no_layer_has_is_refused() {
        let shape = LayerShape { outputs: 9, groups: 2, ..CONV };
        assert!(matches!(LayerBench::new(&shape, 0.5, 16, 1), Err(TrainError::Model { .. })));
    }
}
