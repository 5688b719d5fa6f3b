//! Max and average pooling of one tile; global average pooling is the window that covers the plane.

use crate::dispatch::{InstructionSet, floats, floats_mut, parts};
use crate::layout::{LANES, Lane, Plane};
use crate::storage::{Element, Storage, with_storage};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// What a window becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest value; its gradient goes to the first position that has it.
    Max,
    /// The sum over the window, padding as zeros, divided by the window's area.
    Average,
}

/// Geometry of a pooling layer.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// What a window becomes.
    pub kind: PoolKind,
    /// Input feature map.
    pub input: Plane,
    /// Output feature map, of as many channels.
    pub output: Plane,
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Padding above and below, left and right.
    pub padding: [usize; 2],
    /// How input and output are stored, and their gradients.
    pub storage: [Storage; 2],
}

impl Pool {
    /// Pools one tile.
    pub fn forward(&self, set: InstructionSet, input: &[Lane], output: &mut [Lane]) {
        assert_eq!([input.len(), output.len()], self.lens());
        assert!(
            self.kind == PoolKind::Average || self.storage != [Storage::F32, Storage::Bf16],
            "a rounded maximum is nowhere in its window"
        );
        let pool = self;
        with_storage!(self.storage[0], X => with_storage!(self.storage[1], Y => {
            set.run(Forward::<X, Y> { pool, input, output, elements: PhantomData })
        }));
    }

    /// Spreads the gradient of one tile's output over its input; with `accumulate`, adds to what is there.
    ///
    /// `input` and `output` are the values of the forward pass; average pooling does not look at them.
    pub fn backward(
        &self,
        set: InstructionSet,
        values: (&[Lane], &[Lane]),
        gradient: &[Lane],
        accumulate: bool,
        input_gradient: &mut [Lane],
    ) {
        let (input, output) = values;
        assert_eq!([input_gradient.len(), gradient.len()], self.lens());
        if self.kind == PoolKind::Max {
            assert_eq!([input.len(), output.len()], self.lens());
        }
        if !accumulate {
            input_gradient.fill(Lane::ZERO);
        }
        let pool = self;
        with_storage!(self.storage[0], X => with_storage!(self.storage[1], Y => {
            set.run(Backward::<X, Y> { pool, input, output, gradient, input_gradient, elements: PhantomData })
        }));
    }

    /// Lanes that one tile of input and output takes.
    fn lens(&self) -> [usize; 2] {
        [self.storage[0].lanes(self.input), self.storage[1].lanes(self.output)]
    }

    /// Elements of the input that the window of an output position covers, in row-major order.
    #[inline(always)]
    fn window(&self, channel: usize, row: usize, column: usize) -> impl Iterator<Item = usize> + use<> {
        let Pool { input, kernel, stride, padding, .. } = *self;
        let (top, left) = (row * stride[0], column * stride[1]);
        let rows = (top..top + kernel[0]).filter_map(move |y| y.checked_sub(padding[0]).filter(|&y| y < input.height));
        rows.flat_map(move |y| {
            let columns = (left..left + kernel[1]).filter_map(move |x| x.checked_sub(padding[1]));
            columns.filter(move |&x| x < input.width).map(move |x| (y * input.channels + channel) * input.width + x)
        })
    }

    /// Element, channel, row and column of every output position.
    #[inline(always)]
    fn positions(&self) -> impl Iterator<Item = (usize, usize, usize, usize)> + use<> {
        let Plane { channels, height, width } = self.output;
        (0..height * channels * width).map(move |at| (at, at / width % channels, at / width / channels, at % width))
    }

    fn area(&self) -> f32 {
        (self.kernel[0] * self.kernel[1]) as f32
    }
}

struct Forward<'a, X, Y> {
    pool: &'a Pool,
    input: &'a [Lane],
    output: &'a mut [Lane],
    elements: PhantomData<(X, Y)>,
}

impl<X: Element, Y: Element> WithSimd for Forward<'_, X, Y> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (from, to) = (floats(self.input), floats_mut(self.output));
        let share = simd.splat_f32s(1.0 / self.pool.area());
        for (at, channel, row, column) in self.pool.positions() {
            for lane in (0..parts::<S>()).map(|part| part * S::F32_LANES) {
                let mut sum = simd.splat_f32s(0.0);
                let mut best = simd.splat_f32s(f32::NEG_INFINITY);
                for pixel in self.pool.window(channel, row, column) {
                    // SAFETY: windows stay inside the input, whose length `forward` checked.
                    let x = unsafe { X::load::<S>(from, pixel * LANES + lane) };
                    match self.pool.kind {
                        PoolKind::Max => best = simd.select_f32s(simd.greater_than_f32s(x, best), x, best),
                        PoolKind::Average => sum = simd.add_f32s(sum, x),
                    }
                }
                let value = match self.pool.kind {
                    PoolKind::Max => best,
                    PoolKind::Average => simd.mul_f32s(sum, share),
                };
                // SAFETY: `at` is an element of the output.
                unsafe { Y::store::<S>(to, at * LANES + lane, value) };
            }
        }
    }
}

struct Backward<'a, X, Y> {
    pool: &'a Pool,
    input: &'a [Lane],
    output: &'a [Lane],
    gradient: &'a [Lane],
    input_gradient: &'a mut [Lane],
    elements: PhantomData<(X, Y)>,
}

impl<X: Element, Y: Element> WithSimd for Backward<'_, X, Y> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (x, y, g) = (floats(self.input), floats(self.output), floats(self.gradient));
        let to = floats_mut(self.input_gradient);
        let (zero, share) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0 / self.pool.area()));
        for (at, channel, row, column) in self.pool.positions() {
            for lane in (0..parts::<S>()).map(|part| part * S::F32_LANES) {
                // SAFETY: `backward` checked the lengths; windows stay inside the input.
                unsafe {
                    let mut left = Y::load::<S>(g, at * LANES + lane);
                    for pixel in self.pool.window(channel, row, column) {
                        let pixel = pixel * LANES + lane;
                        let taken = match self.pool.kind {
                            PoolKind::Average => simd.mul_f32s(left, share),
                            PoolKind::Max => {
                                let best = Y::load::<S>(y, at * LANES + lane);
                                let hit = simd.equal_f32s(X::load::<S>(x, pixel), best);
                                let taken = simd.select_f32s(hit, left, zero);
                                left = simd.select_f32s(hit, zero, left);
                                taken
                            }
                        };
                        let sum = simd.add_f32s(X::load::<S>(to, pixel), taken);
                        X::store::<S>(to, pixel, sum);
                    }
                }
            }
        }
    }
}
