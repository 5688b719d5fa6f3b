//! The one traversal that convolutions and pools share.

use std::ops::Range;

/// A window that slides over an image; pairs are `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Size, at least 1.
    pub kernel: [usize; 2],
    /// Step between two windows, at least 1.
    pub stride: [usize; 2],
    /// Zeros around the image, on both sides of each axis.
    pub padding: [usize; 2],
}

impl Window {
    /// Number of windows down and across an image of the size `input`.
    pub fn output(&self, input: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| (input[axis] + 2 * self.padding[axis] - self.kernel[axis]) / self.stride[axis] + 1)
    }

    /// Calls `visit(tap, outputs, first)` for every tap (row-major position in the kernel) and every row of windows:
    /// the tap of the windows `outputs` lies on the pixels `first`, `first + stride[1]`, ...; what lies on padding is
    /// left out.
    pub(super) fn rows(&self, input: [usize; 2], mut visit: impl FnMut(usize, Range<usize>, usize)) {
        let out_width = self.output(input)[1];
        for ky in 0..self.kernel[0] {
            for kx in 0..self.kernel[1] {
                let across = self.inside(1, kx, input);
                if across.is_empty() {
                    continue;
                }
                for oy in self.inside(0, ky, input) {
                    let y = oy * self.stride[0] + ky - self.padding[0];
                    let x = across.start * self.stride[1] + kx - self.padding[1];
                    let outputs = oy * out_width + across.start..oy * out_width + across.end;
                    visit(ky * self.kernel[1] + kx, outputs, y * input[1] + x);
                }
            }
        }
    }

    /// The windows whose tap `offset` on `axis` lies inside the image.
    fn inside(&self, axis: usize, offset: usize, input: [usize; 2]) -> Range<usize> {
        let (stride, padding) = (self.stride[axis], self.padding[axis]);
        let start = padding.saturating_sub(offset).div_ceil(stride);
        let end = (input[axis] + padding).saturating_sub(offset).div_ceil(stride);
        start..end.min(self.output(input)[axis])
    }
}
