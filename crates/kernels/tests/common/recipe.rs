//! Every form of a mix, and what it makes.

use super::{Batch, Exact, Numbers, Tensor, junk};
use bidst_kernels::reference::*;
use bidst_kernels::{Bounds, Lane, Mix, Term};

/// What a [`Mix`] is made of.
pub struct Recipe {
    batch: Batch,
    a: Tensor,
    a_scale: Vec<f32>,
    b: Option<(Tensor, Vec<f32>)>,
    shift: Vec<f32>,
    pub bounds: Bounds,
}

impl Recipe {
    /// One form of many: a plain copy, one or two terms, with and without scales, shift and activation function.
    pub fn draw(numbers: &mut Numbers, batch: Batch) -> Recipe {
        if numbers.one_in(4) {
            return Recipe::copy(Tensor::draw(numbers, batch, junk()), batch);
        }
        let Batch { plane, grid, .. } = batch;
        let a = Tensor::draw(numbers, batch, junk());
        let a_scale = numbers.optional(plane.channels, grid);
        let b = numbers.one_in(3).then(|| {
            let b = Tensor::draw(numbers, batch, junk());
            (b, numbers.optional(plane.channels, grid))
        });
        let shift = numbers.optional(plane.channels, grid);
        Recipe { batch, a, a_scale, b, shift, bounds: draw_bounds(numbers) }
    }

    /// A gradient: as [`Recipe::draw`], but one that is zero in spare lanes, with the masks that it takes.
    pub fn draw_gradient(numbers: &mut Numbers, batch: Batch) -> (Recipe, Vec<Lane>) {
        if numbers.one_in(3) {
            return (Recipe::copy(Tensor::draw(numbers, batch, 0.0), batch), Vec::new());
        }
        (Recipe::draw(numbers, batch), batch.masks(numbers))
    }

    fn copy(a: Tensor, batch: Batch) -> Recipe {
        Recipe { batch, a, a_scale: Vec::new(), b: None, shift: Vec::new(), bounds: Bounds::NONE }
    }

    pub fn mix<'a>(&'a self, masks: &'a [Lane]) -> Mix<'a> {
        Mix {
            a: Term { data: &self.a.tiles, scale: &self.a_scale },
            b: self.b.as_ref().map(|(b, scale)| Term { data: &b.tiles, scale }),
            shift: &self.shift,
            bounds: self.bounds,
            masks,
            storage: self.batch.storage,
        }
    }

    pub fn exact(&self) -> Exact {
        let Exact { values, magnitudes, terms } = self.unbounded();
        let values = match self.bounds {
            Bounds::NONE => values,
            Bounds::RELU => relu_forward(&values),
            Bounds { high, .. } => clip_forward(&values, f64::from(high)),
        };
        Exact { values, magnitudes, terms }
    }

    /// Does rounding decide on which side of an end of `bounds` one of the values lies?
    pub fn is_on_a_kink(&self, bounds: Bounds) -> bool {
        let exact = self.unbounded();
        let on = |value: f64, at: usize, end: f32| (value - f64::from(end)).abs() < exact.bound(at);
        exact.values.iter().enumerate().any(|(at, &value)| on(value, at, bounds.low) || on(value, at, bounds.high))
    }

    /// The sum of the terms, before the activation function; short sums of grid values are exact.
    fn unbounded(&self) -> Exact {
        let is_plain = self.a_scale.is_empty() && self.b.is_none() && self.shift.is_empty();
        let terms = if is_plain || self.batch.grid { 0 } else { 3 };
        Exact { values: self.sum(f64::from), magnitudes: self.sum(|value| f64::from(value).abs()), terms }
    }

    fn sum(&self, read: fn(f32) -> f64) -> Vec<f64> {
        let a = affine(self.batch, &self.a, &self.a_scale, &self.shift, read);
        match &self.b {
            Some((b, scale)) => add_forward(&a, &affine(self.batch, b, scale, &[], read)),
            None => a,
        }
    }
}

/// `scale·x + shift` per channel; empty slices mean 1 and 0.
pub fn affine(batch: Batch, x: &Tensor, scale: &[f32], shift: &[f32], read: fn(f32) -> f64) -> Vec<f64> {
    let Batch { plane, images, .. } = batch;
    let shape = BatchNormShape { count: images, channels: plane.channels, pixels: plane.height * plane.width };
    let per_channel = |given: &[f32], default: f64| match given {
        [] => vec![default; plane.channels],
        given => given.iter().map(|&value| read(value)).collect(),
    };
    let x: Vec<f64> = x.images.iter().map(|&value| read(value)).collect();
    let standard = BatchStatistics { mean: per_channel(&[], 0.0), variance: per_channel(&[], 1.0) };
    batch_norm_forward(&shape, &x, &standard, &per_channel(scale, 1.0), &per_channel(shift, 0.0), 0.0)
}

pub fn draw_bounds(numbers: &mut Numbers) -> Bounds {
    numbers.pick(&[Bounds::NONE, Bounds::RELU, Bounds::clip(1.5)])
}
