//! What happens to the gradient of a layer's input while it is in registers: contributions add up, the activation
//! function masks them, and batch norm takes its sums.

use crate::dispatch::{floats, floats_mut, load, store};
use crate::layout::{LANES, Lane, Plane};
use crate::mix::Bounds;
use crate::storage::{Element, Storage};
use pulp::Simd;

/// What happens to the gradient of the input while it is in registers.
pub struct InputGradient<'a> {
    /// Receives the gradient.
    pub output: &'a mut [Lane],
    /// Adds what `output` already holds.
    pub accumulate: bool,
    /// Adds another tensor of the same shape: the gradient that came along a residual.
    pub add: Option<&'a [Lane]>,
    /// Present if this is the last contribution.
    pub finish: Option<Finish<'a>>,
}

impl InputGradient<'_> {
    pub(crate) fn check(&self, plane: Plane, storage: Storage, tiles: usize) {
        let len = storage.lanes(plane) * tiles;
        assert!(self.output.len() >= len, "the gradient holds the unit's tiles");
        assert!(self.add.is_none_or(|add| add.len() >= len));
        let Some(finish) = &self.finish else { return };
        assert!(finish.norms == [None; 2] || finish.sums.len() == 3 * plane.channels);
        assert!(finish.norms[0].is_some() || finish.norms[1].is_none(), "the first branch comes first");
        for norm in finish.norms.iter().flatten() {
            let channels = [norm.inverse.len(), norm.offset.len()];
            assert!(norm.z.len() >= len && channels == [plane.channels; 2]);
        }
    }

    /// Adds up the lanes of the sums.
    pub(crate) fn reduce(&mut self, sums: &[Lane]) {
        if let Some(finish) = &mut self.finish {
            for (total, sum) in finish.sums.iter_mut().zip(sums) {
                *total = sum.0.iter().sum();
            }
        }
    }
}

/// The end of a gradient: through the activation function, with the sums that batch norm asks for.
pub struct Finish<'a> {
    /// The activation function that made the input.
    pub bounds: Bounds,
    /// The normalised branches that were added up to make the input.
    pub norms: [Option<Norm<'a>>; 2],
    /// Per input channel Σg, Σg·x̂ of the first and of the second branch; empty if there is no branch.
    pub sums: &'a mut [f32],
}

/// A normalised branch: x̂ = inverse·z + offset per channel.
#[derive(Clone, Copy, PartialEq)]
pub struct Norm<'a> {
    /// Raw values of the unit's tiles.
    pub z: &'a [Lane],
    /// 1/√(variance + ε) per channel.
    pub inverse: &'a [f32],
    /// −mean·inverse per channel.
    pub offset: &'a [f32],
}

/// [`InputGradient`] as the inner loop wants it.
pub(crate) struct Epilogue<'a> {
    output: *mut f32,
    accumulate: bool,
    add: Option<*const f32>,
    bounds: Bounds,
    masked: bool,
    norms: [Option<Norm<'a>>; 2],
}

impl<'a> Epilogue<'a> {
    pub(crate) fn new(gradient: &mut InputGradient<'a>) -> Self {
        let finish = gradient.finish.as_ref();
        let bounds = finish.map_or(Bounds::NONE, |finish| finish.bounds);
        Epilogue {
            output: floats_mut(gradient.output),
            accumulate: gradient.accumulate,
            add: gradient.add.map(floats),
            bounds,
            masked: bounds != Bounds::NONE,
            norms: finish.map_or([None; 2], |finish| finish.norms),
        }
    }

    /// # Safety
    /// The addresses lie in the unit's tiles; `sums` points at three lanes.
    #[inline(always)]
    pub(crate) unsafe fn finish<S: Simd, E: Element, const T: usize>(
        &self,
        simd: S,
        channel: usize,
        at: [usize; T],
        x: [S::f32s; T],
        mut g: [S::f32s; T],
        sums: *mut f32,
    ) {
        // SAFETY: the caller's promise covers every address below.
        unsafe {
            if self.accumulate {
                for j in 0..T {
                    g[j] = simd.add_f32s(g[j], E::load::<S>(self.output, at[j]));
                }
            }
            if let Some(add) = self.add {
                for j in 0..T {
                    g[j] = simd.add_f32s(g[j], E::load::<S>(add, at[j]));
                }
            }
            if self.masked {
                let (low, high, zero) =
                    (simd.splat_f32s(self.bounds.low), simd.splat_f32s(self.bounds.high), simd.splat_f32s(0.0));
                for j in 0..T {
                    let inside = simd.and_m32s(simd.greater_than_f32s(x[j], low), simd.less_than_f32s(x[j], high));
                    g[j] = simd.select_f32s(inside, g[j], zero);
                }
            }
            for j in 0..T {
                E::stream::<S>(self.output, at[j], g[j]);
            }
            for (branch, norm) in self.norms.iter().enumerate() {
                let Some(norm) = norm else { continue };
                let (inverse, offset) = (simd.splat_f32s(norm.inverse[channel]), simd.splat_f32s(norm.offset[channel]));
                let mut products = load::<S>(sums.add((1 + branch) * LANES));
                for j in 0..T {
                    let normal = simd.mul_add_e_f32s(E::load::<S>(floats(norm.z), at[j]), inverse, offset);
                    products = simd.mul_add_e_f32s(g[j], normal, products);
                }
                store::<S>(sums.add((1 + branch) * LANES), products);
            }
            if self.norms[0].is_some() {
                let mut total = load::<S>(sums);
                for g in g {
                    total = simd.add_f32s(total, g);
                }
                store::<S>(sums, total);
            }
        }
    }
}
