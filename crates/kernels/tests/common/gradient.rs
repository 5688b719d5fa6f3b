//! Every way in which the gradient of an input ends.

use super::recipe::{affine, draw_bounds};
use super::{Agreement, Batch, Exact, Numbers, Recipe, Tensor, images_of, junk, poison, spare_lanes_are_zero};
use bidst_kernels::reference::*;
use bidst_kernels::{Bounds, Finish, InputGradient, InstructionSet, Norm};

/// What an [`InputGradient`] is made of, and what must come out.
pub struct Gradient {
    batch: Batch,
    held: Option<Tensor>,
    add: Option<Tensor>,
    finish: Option<(Bounds, Vec<Branch>)>,
}

struct Branch {
    z: Tensor,
    inverse: Vec<f32>,
    offset: Vec<f32>,
}

/// The gradient, and per channel Σg and Σg·x̂ of both branches.
pub struct Expected {
    gradient: Exact,
    sums: Option<Exact>,
}

impl Gradient {
    /// The end of the gradient of `value`; its activation function is the value's own, or another that follows.
    pub fn draw(numbers: &mut Numbers, batch: Batch, value: &Recipe) -> Gradient {
        let other = |numbers: &mut Numbers| numbers.one_in(2).then(|| Tensor::draw(numbers, batch, 0.0));
        let (held, add) = (other(numbers), other(numbers));
        let finish = (!numbers.one_in(4)).then(|| {
            let bounds = if value.bounds == Bounds::NONE { draw_bounds(numbers) } else { value.bounds };
            let branches = numbers.between(0, 2);
            (bounds, (0..branches).map(|_| Branch::draw(numbers, batch)).collect())
        });
        Gradient { batch, held, add, finish }
    }

    /// What becomes of `gradient`; nothing if rounding decides where the derivative of the activation function is 0.
    pub fn expected(&self, gradient: Exact, value: &Recipe) -> Option<Expected> {
        let mut gradient =
            [&self.held, &self.add].into_iter().flatten().fold(gradient, |g, other| g.plus(&other.images));
        let Some((bounds, branches)) = &self.finish else { return Some(Expected { gradient, sums: None }) };
        if value.is_on_a_kink(*bounds) {
            return None;
        }
        let x = value.exact().values;
        gradient = gradient.map(gradient.terms, |dy| match *bounds {
            Bounds::NONE => dy.to_vec(),
            Bounds::RELU => relu_backward(&x, dy),
            Bounds { high, .. } => clip_backward(&x, f64::from(high), dy),
        });
        let sums = (!branches.is_empty()).then(|| Exact {
            values: self.sums(branches, &gradient.values, f64::from),
            magnitudes: self.sums(branches, &gradient.magnitudes, |value| f64::from(value).abs()),
            terms: gradient.terms + 2 + self.batch.population(),
        });
        Some(Expected { gradient, sums })
    }

    fn sums(&self, branches: &[Branch], gradient: &[f64], read: fn(f32) -> f64) -> Vec<f64> {
        let Batch { plane, images, .. } = self.batch;
        let shape = BatchNormShape { count: images, channels: plane.channels, pixels: plane.height * plane.width };
        let (zeros, ones) = (vec![0.0; plane.channels], vec![1.0; plane.channels]);
        let standard = BatchStatistics { mean: zeros, variance: ones.clone() };
        let mut sums = vec![0.0; 3 * plane.channels];
        for (branch, Branch { z, inverse, offset }) in branches.iter().enumerate() {
            let normal = affine(self.batch, z, inverse, offset, read);
            let gradients = batch_norm_backward(&shape, &normal, &standard, &ones, 0.0, gradient);
            for channel in 0..plane.channels {
                sums[3 * channel] = gradients.beta[channel];
                sums[3 * channel + 1 + branch] = gradients.gamma[channel];
            }
        }
        sums
    }

    /// Hands the gradient to a kernel and compares what it makes of it.
    pub fn check(
        &self,
        agreement: &mut Agreement,
        set: InstructionSet,
        expected: &Expected,
        kernel: impl FnOnce(InputGradient<'_>),
    ) {
        let Batch { storage, .. } = self.batch;
        let mut output = self.held.as_ref().map_or_else(|| poison(self.batch.lanes()), |held| held.tiles.clone());
        let mut sums = vec![f32::NAN; expected.sums.as_ref().map_or(0, |sums| sums.values.len())];
        kernel(InputGradient {
            output: &mut output,
            accumulate: self.held.is_some(),
            add: self.add.as_ref().map(|add| &add.tiles[..]),
            finish: self.finish.as_ref().map(|(bounds, branches)| Finish {
                bounds: *bounds,
                norms: [0, 1].map(|branch| branches.get(branch).map(Branch::norm)),
                sums: &mut sums,
            }),
        });
        let got = images_of(&output, self.batch);
        agreement.check_stored(set, "input gradient", &self.batch, &got, &expected.gradient, (storage, 1));
        assert!(spare_lanes_are_zero(&output, self.batch), "{:?}: spare lanes", self.batch);
        if let Some(exact) = &expected.sums {
            agreement.check(set, "sums of the input gradient", &self.batch, &sums, exact);
        }
    }
}

impl Branch {
    fn draw(numbers: &mut Numbers, batch: Batch) -> Branch {
        let channels = batch.plane.channels;
        let z = Tensor::draw(numbers, batch, junk());
        Branch { z, inverse: numbers.values(channels, batch.grid), offset: numbers.values(channels, batch.grid) }
    }

    fn norm(&self) -> Norm<'_> {
        Norm { z: &self.z.tiles, inverse: &self.inverse, offset: &self.offset }
    }
}
