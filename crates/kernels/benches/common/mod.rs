//! The kernels at work on one unit of images, as the engine calls them.

use bidst_kernels::{
    BackwardPlan, BackwardUnit, Bounds, ConvShape, DenseBackwardPlan, Finish, ForwardPlan, ForwardUnit, InputGradient,
    InstructionSet, Lane, Mix, Norm, Pattern, Plane, Storage, Term, lanes, mix, moments,
};
use std::fmt;

/// Layers of ResNet-32 at width 2 (one of each stage and one with stride 2), and a linear one.
const LAYERS: [(&str, ConvShape); 5] = [
    ("32x32x3x3@32", square(32, 32, 32, 3, 1)),
    ("64x64x3x3@16", square(64, 64, 16, 3, 1)),
    ("128x128x3x3@8", square(128, 128, 8, 3, 1)),
    ("64x32x3x3@32/2", square(64, 32, 32, 3, 2)),
    ("1024x1024", square(1024, 1024, 1, 1, 1)),
];
/// Tiles in a batch of 128.
const TILES: usize = 8;

const fn square(outputs: usize, inputs: usize, side: usize, kernel: usize, stride: usize) -> ConvShape {
    let input = Plane { channels: inputs, height: side, width: side };
    let output = Plane { channels: outputs, height: side / stride, width: side / stride };
    ConvShape { input, output, kernel: [kernel; 2], stride: [stride; 2], padding: [kernel / 2; 2], groups: 1 }
}

/// A layer at a density.
#[derive(Clone, Copy)]
pub struct Case {
    /// Index into the list of layers.
    pub layer: usize,
    /// Non-zeros in a thousand positions.
    pub per_mille: u32,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}%", LAYERS[self.layer].0, f64::from(self.per_mille) / 10.0)
    }
}

/// Every layer at the densities of 90%, 95% and 98% zeros.
pub fn cases() -> impl Iterator<Item = Case> {
    (0..LAYERS.len()).flat_map(|layer| [100, 50, 20].map(|per_mille| Case { layer, per_mille }))
}

/// A case with everything that a pass reads and writes.
pub struct Work {
    set: InstructionSet,
    pub shape: ConvShape,
    pub unit: usize,
    pub active: Vec<u32>,
    values: Vec<f32>,
    input: Vec<Lane>,
    output: Vec<Lane>,
    input_gradient: Vec<Lane>,
    /// Scales, shifts and the like of batch norm, as many as the larger side has channels.
    constants: Vec<f32>,
    sums: Vec<f32>,
    weights: Vec<f32>,
    scratch: Vec<Lane>,
}

impl Work {
    pub fn new(case: Case) -> Work {
        let shape = LAYERS[case.layer].1;
        let unit = shape.tiles_per_unit(TILES);
        let active: Vec<u32> = (0..shape.weight_len() as u32).filter(|&at| mixed(at) % 1000 < case.per_mille).collect();
        let values = active.iter().map(|&at| number(at)).collect();
        let [input, output] = [shape.input, shape.output].map(|plane| {
            let number = |at: usize| Lane(std::array::from_fn(|lane| number((at * 16 + lane) as u32)));
            (0..plane.len() * unit).map(number).collect::<Vec<_>>()
        });
        let channels = shape.input.channels.max(shape.output.channels);
        Work {
            set: InstructionSet::available()[0],
            shape,
            unit,
            active,
            values,
            input_gradient: lanes(input.len()),
            input,
            output,
            constants: (0..channels as u32).map(number).collect(),
            sums: vec![0.0; 3 * channels],
            weights: vec![0.0; shape.weight_len()],
            scratch: Vec::new(),
        }
    }

    /// Floating-point operations of the forward pass, non-zeros only.
    pub fn forward_flops(&self) -> usize {
        2 * self.active.len() * self.shape.output.height * self.shape.output.width * self.unit * 16
    }

    pub fn forward_plan(&self) -> ForwardPlan {
        ForwardPlan::new(self.shape, self.unit, &self.active)
    }

    pub fn backward_plan(&self) -> BackwardPlan {
        BackwardPlan::new(self.shape, self.unit, Pattern { active: &self.active, candidates: &[] })
    }

    /// Batch norm and ReLU while packing, the convolution, sums of its output.
    pub fn forward(&mut self, plan: &mut ForwardPlan) {
        plan.refresh(&self.values);
        self.reserve(plan.scratch_len());
        let [inputs, outputs] = [self.shape.input.channels, self.shape.output.channels];
        let unit = ForwardUnit {
            input: normalized(&self.input, &self.constants[..inputs]),
            keep: None,
            bias: &[],
            output: &mut self.output,
            moments: &mut self.sums[..2 * outputs],
            masks: &[],
            scratch: &mut self.scratch,
        };
        plan.run(self.set, unit);
    }

    /// Batch norm's backward while packing, both gradients, the ReLU's mask and batch norm's sums.
    pub fn backward(&mut self, plan: &mut BackwardPlan) {
        plan.refresh(&self.values);
        self.reserve(plan.scratch_len());
        let inputs = self.shape.input.channels;
        let constants = &self.constants[..inputs];
        let norm = Norm { z: &self.input, inverse: constants, offset: constants };
        let finish = Finish { bounds: Bounds::RELU, norms: [Some(norm), None], sums: &mut self.sums[..3 * inputs] };
        let output = &mut self.input_gradient;
        let unit = BackwardUnit {
            gradient: normalized(&self.output, &self.constants[..self.shape.output.channels]),
            input: normalized(&self.input, constants),
            input_gradient: Some(InputGradient { output, accumulate: false, add: None, finish: Some(finish) }),
            weights: &mut self.weights[..plan.entries()],
            scratch: &mut self.scratch,
        };
        plan.run(self.set, unit);
    }

    /// The weight gradient at every position.
    pub fn dense_gradient(&mut self, plan: &DenseBackwardPlan) {
        self.reserve(plan.scratch_len());
        let (gradient, input) = (Mix::copy(&self.output, Storage::F32), Mix::copy(&self.input, Storage::F32));
        let (weights, scratch) = (&mut self.weights[..], &mut self.scratch[..]);
        plan.run(self.set, BackwardUnit { gradient, input, input_gradient: None, weights, scratch });
    }

    /// Batch norm, a residual and ReLU, stored.
    pub fn mix(&mut self) {
        let constants = &self.constants[..self.shape.input.channels];
        let b = Some(Term { data: &self.input, scale: &[] });
        let recipe = Mix { b, ..normalized(&self.input, constants) };
        mix(self.set, self.shape.input, self.unit, recipe, &mut self.input_gradient);
    }

    /// Sums of one tile per channel.
    pub fn moments(&mut self) {
        let data = &self.input[..self.shape.input.len()];
        let sums = &mut self.sums[..2 * self.shape.input.channels];
        moments(self.set, self.shape.input, (data, Storage::F32), &[], sums);
    }

    fn reserve(&mut self, len: usize) {
        if self.scratch.len() < len {
            self.scratch = lanes(len);
        }
    }
}

fn normalized<'a>(data: &'a [Lane], constants: &'a [f32]) -> Mix<'a> {
    let storage = Storage::F32;
    Mix { a: Term { data, scale: constants }, b: None, shift: constants, bounds: Bounds::RELU, masks: &[], storage }
}

/// Mixes the bits of a number (the finaliser of MurmurHash3).
fn mixed(at: u32) -> u32 {
    let at = (at ^ (at >> 16)).wrapping_mul(0x85eb_ca6b);
    let at = (at ^ (at >> 13)).wrapping_mul(0xc2b2_ae35);
    at ^ (at >> 16)
}

/// A number between −1 and 1.
fn number(at: u32) -> f32 {
    mixed(at) as f32 / 2f32.powi(31) - 1.0
}
