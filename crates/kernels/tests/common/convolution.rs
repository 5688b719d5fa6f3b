//! Convolutions of every geometry and density.

use super::{Batch, Exact, Numbers, draw_storage};
use bidst_kernels::{ConvShape, Plane, Storage, reference, tiles};

/// Multiply-adds that the oracle may spend on one case.
const BUDGET: usize = 150_000;

/// A sparse convolution of one unit of images.
#[derive(Debug)]
pub struct Convolution {
    pub shape: ConvShape,
    pub images: usize,
    pub unit: usize,
    pub grid: bool,
    pub storage: Storage,
    pub weights: Weights,
}

/// A random pattern with random values.
pub struct Weights {
    pub active: Vec<u32>,
    pub candidates: Vec<u32>,
    pub values: Vec<f32>,
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} active, {} candidates", self.active.len(), self.candidates.len())
    }
}

impl Convolution {
    pub fn draw(numbers: &mut Numbers) -> Convolution {
        Convolution::draw_shape(numbers, |numbers| match numbers.between(1, 16) {
            1 => linear(numbers),
            2 => banded(numbers),
            3 => blocked(numbers),
            _ => small(numbers),
        })
    }

    /// One whose channels have a filter each.
    pub fn draw_depthwise(numbers: &mut Numbers) -> Convolution {
        Convolution::draw_shape(numbers, depthwise)
    }

    fn draw_shape(numbers: &mut Numbers, draw: impl Fn(&mut Numbers) -> Option<(ConvShape, usize)>) -> Convolution {
        let (shape, images) = std::iter::repeat_with(|| draw(numbers))
            .find_map(|drawn| drawn.filter(|(shape, images)| cost(shape, *images) <= BUDGET))
            .expect("the cases are endless");
        let unit = if numbers.one_in(4) { numbers.between(1, 8) } else { shape.tiles_per_unit(tiles(images)) };
        let grid = numbers.one_in(4);
        let weights = Weights::draw(numbers, &shape, grid);
        let storage = draw_storage(numbers);
        Convolution { shape, images: images.min(unit * bidst_kernels::LANES), unit, grid, storage, weights }
    }

    pub fn input(&self) -> Batch {
        let Convolution { shape, images, unit: tiles, grid, storage, .. } = *self;
        Batch { plane: shape.input, images, tiles, grid, storage }
    }

    pub fn output(&self) -> Batch {
        self.input().with(self.shape.output)
    }

    /// The raw output for the input `x`.
    pub fn forward(&self, x: &Exact, bias: &[f32]) -> Exact {
        let ConvShape { kernel, .. } = self.shape;
        let row = self.shape.group_inputs() * kernel[0] * kernel[1];
        let terms = self.most(|weight| weight / row) + usize::from(!bias.is_empty()) + x.terms;
        let (weights, bias) = (self.dense(), (!bias.is_empty()).then(|| Exact::new(bias)));
        let run = |x: &[f64], weights: &[f64], bias: Option<&[f64]>| {
            reference::conv2d_forward(&self.reference_shape(), x, weights, bias)
        };
        Exact {
            values: run(&x.values, &weights.values, bias.as_ref().map(|bias| &bias.values[..])),
            magnitudes: run(&x.magnitudes, &weights.magnitudes, bias.as_ref().map(|bias| &bias.magnitudes[..])),
            terms,
        }
    }

    /// The gradients of the input and of the weights, at all positions.
    pub fn backward(&self, x: &Exact, dy: &Exact) -> (Exact, Exact) {
        let (inputs, kernel) = (self.shape.group_inputs(), self.shape.kernel);
        let group_outputs = self.shape.output.channels / self.shape.groups;
        let per_input = self.most(|weight| {
            let plane = weight / (kernel[0] * kernel[1]);
            plane / inputs / group_outputs * inputs + plane % inputs
        });
        let (weights, shape) = (self.dense(), self.reference_shape());
        let values = reference::conv2d_backward(&shape, &x.values, &weights.values, &dy.values);
        let magnitudes = reference::conv2d_backward(&shape, &x.magnitudes, &weights.magnitudes, &dy.magnitudes);
        let terms = self.output().population() + 1 + x.terms + dy.terms;
        (
            Exact { values: values.input, magnitudes: magnitudes.input, terms: per_input + dy.terms },
            Exact { values: values.weight, magnitudes: magnitudes.weight, terms },
        )
    }

    /// The largest number of active weights that `channel` puts together.
    fn most(&self, channel: impl Fn(usize) -> usize) -> usize {
        let mut counts = vec![0; self.shape.input.channels.max(self.shape.output.channels)];
        self.weights.active.iter().for_each(|&weight| counts[channel(weight as usize)] += 1);
        counts.into_iter().max().unwrap_or(0)
    }

    /// The weight tensor with all its zeros.
    pub fn dense_weights(&self) -> Vec<f32> {
        let mut dense = vec![0.0; self.shape.weight_len()];
        for (&at, &value) in self.weights.active.iter().zip(&self.weights.values) {
            dense[at as usize] = value;
        }
        dense
    }

    fn dense(&self) -> Exact {
        Exact::new(&self.dense_weights())
    }

    fn reference_shape(&self) -> reference::ConvShape {
        let ConvShape { input, output, kernel, stride, padding, groups } = self.shape;
        reference::ConvShape {
            count: self.images,
            in_channels: input.channels,
            input: [input.height, input.width],
            out_channels: output.channels,
            window: reference::Window { kernel, stride, padding },
            groups,
        }
    }
}

impl Weights {
    fn draw(numbers: &mut Numbers, shape: &ConvShape, grid: bool) -> Weights {
        let density = numbers.pick(&[0.0, 0.02, 0.1, 0.5, 1.0]);
        let probed = numbers.pick(&[0.0, 0.05, 0.5]);
        let (active, inactive): (Vec<u32>, Vec<u32>) =
            (0..shape.weight_len() as u32).partition(|_| numbers.uniform() < density);
        let candidates = inactive.into_iter().filter(|_| numbers.uniform() < probed).collect();
        let values = numbers.values(active.len(), grid);
        Weights { active, candidates, values }
    }
}

/// Planes from 1×1 up, several tiles side by side.
fn small(numbers: &mut Numbers) -> Option<(ConvShape, usize)> {
    let size = numbers.pick(&[1, 2, 4, 5, 8]);
    let input = if numbers.one_in(2) { [size; 2] } else { [numbers.between(1, 9), numbers.between(1, 9)] };
    let pair = |numbers: &mut Numbers, low, high| match numbers.one_in(2) {
        true => [numbers.between(low, high); 2],
        false => [numbers.between(low, high), numbers.between(low, high)],
    };
    let window =
        reference::Window { kernel: pair(numbers, 1, 7), stride: pair(numbers, 1, 3), padding: pair(numbers, 0, 3) };
    let groups = if numbers.one_in(2) { 1 } else { numbers.between(1, 20) };
    let channels = [20 / groups; 2].map(|most| groups * numbers.between(1, most));
    let images = if numbers.one_in(3) { numbers.between(1, 16) } else { numbers.between(17, 128) };
    Some((shape(input, channels, window, groups)?, images))
}

/// Linear layers: the kernel covers the plane.
fn linear(numbers: &mut Numbers) -> Option<(ConvShape, usize)> {
    let input = [numbers.between(1, 3), numbers.between(1, 3)];
    let window = reference::Window { kernel: input, stride: [1, 1], padding: [0, 0] };
    let channels = [numbers.between(1, 20), numbers.between(1, 20)];
    Some((shape(input, channels, window, 1)?, numbers.between(1, 128)))
}

/// Feature maps too large for one packed band.
fn banded(numbers: &mut Numbers) -> Option<(ConvShape, usize)> {
    let input = [numbers.between(12, 40), numbers.between(20, 40)];
    let step = numbers.between(1, 2);
    let window = reference::Window { kernel: [3, numbers.between(1, 3)], stride: [step; 2], padding: [1, 1] };
    let channels = numbers.between(12, 20);
    Some((shape(input, [channels; 2], window, channels)?, numbers.between(1, 2)))
}

/// So many channels on one side that they are visited in blocks.
fn blocked(numbers: &mut Numbers) -> Option<(ConvShape, usize)> {
    let input = [numbers.between(1, 4), numbers.between(1, 9)];
    let size = numbers.pick(&[1, 3]);
    let window = reference::Window { kernel: [size; 2], stride: [numbers.between(1, 2); 2], padding: [size / 2; 2] };
    let most = if size == 1 { 300 } else { 80 };
    let channels = [numbers.between(most / 2, most), numbers.between(1, 6)];
    let channels = if numbers.one_in(2) { channels } else { [channels[1], channels[0]] };
    Some((shape(input, channels, window, 1)?, numbers.between(1, 16)))
}

/// As many groups as channels, on planes of every width and in more channels than one ring holds.
fn depthwise(numbers: &mut Numbers) -> Option<(ConvShape, usize)> {
    let input = [numbers.between(1, 12), numbers.between(1, 40)];
    let window = match numbers.one_in(2) {
        true => reference::Window { kernel: [3; 2], stride: [numbers.between(1, 2); 2], padding: [1; 2] },
        false => {
            let mut pair = |low, high| [0, 1].map(|_| numbers.between(low, high));
            reference::Window { kernel: pair(1, 7), stride: pair(1, 3), padding: pair(0, 3) }
        }
    };
    let channels = numbers.between(1, 40);
    Some((shape(input, [channels; 2], window, channels)?, numbers.between(1, 64)))
}

fn shape(input: [usize; 2], channels: [usize; 2], window: reference::Window, groups: usize) -> Option<ConvShape> {
    let reference::Window { kernel, stride, padding } = window;
    let fits = (0..2).all(|axis| input[axis] + 2 * padding[axis] >= kernel[axis]);
    fits.then(|| {
        let plane = |channels, [height, width]: [usize; 2]| Plane { channels, height, width };
        let (input, output) = (plane(channels[0], input), plane(channels[1], window.output(input)));
        ConvShape { input, output, kernel, stride, padding, groups }
    })
}

fn cost(shape: &ConvShape, images: usize) -> usize {
    images * shape.weight_len() * shape.output.height * shape.output.width
}
