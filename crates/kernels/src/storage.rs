//! How activations and their gradients lie in memory: as f32, or rounded to bf16 for half the traffic. Arithmetic is f32
//! either way.

use crate::dispatch::{load, prefetch, store, stream};
use crate::layout::{LANES, Lane, Plane};
use pulp::Simd;

/// The number format of a tensor in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// 32 bits; an element of sixteen images fills a [`Lane`].
    #[default]
    F32,
    /// The upper 16 bits of an f32, rounded to nearest even; a [`Lane`] holds two elements of sixteen images.
    Bf16,
}

impl Storage {
    /// Lanes that one tile of a tensor takes; tiles begin on whole lanes.
    pub fn lanes(self, plane: Plane) -> usize {
        match self {
            Storage::F32 => plane.len(),
            Storage::Bf16 => plane.len().div_ceil(2),
        }
    }

    /// The sixteen images of element `at`.
    pub fn get(self, data: &[Lane], at: usize) -> Lane {
        match self {
            Storage::F32 => data[at],
            Storage::Bf16 => Lane(bytemuck::cast_slice::<Lane, [u16; LANES]>(data)[at].map(from_bf16)),
        }
    }

    /// Sets the sixteen images of element `at`.
    pub fn set(self, data: &mut [Lane], at: usize, value: Lane) {
        match self {
            Storage::F32 => data[at] = value,
            Storage::Bf16 => bytemuck::cast_slice_mut::<Lane, [u16; LANES]>(data)[at] = value.0.map(to_bf16),
        }
    }

    /// What becomes of a number that is stored.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Storage::F32 => value,
            Storage::Bf16 => from_bf16(to_bf16(value)),
        }
    }
}

/// The nearest bf16, ties to even. The NaNs that arithmetic makes stay NaNs.
#[inline(always)]
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

#[inline(always)]
fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// A [`Storage`] as a type, so that kernels are compiled for each. Offsets count numbers: sixteen per element.
pub(crate) trait Element {
    /// The storage it stands for.
    const STORAGE: Storage;

    /// # Safety
    /// A vector is readable `at` numbers behind `from`.
    unsafe fn load<S: Simd>(from: *const f32, at: usize) -> S::f32s;

    /// # Safety
    /// A vector is writable `at` numbers behind `to`.
    unsafe fn store<S: Simd>(to: *mut f32, at: usize, value: S::f32s);

    /// Stores past the caches, as [`stream`].
    ///
    /// # Safety
    /// As [`Element::store`], and [`crate::dispatch::fence`] comes before another thread reads it.
    unsafe fn stream<S: Simd>(to: *mut f32, at: usize, value: S::f32s);

    /// Where the number `at` numbers behind `from` lies.
    fn place(from: *const f32, at: usize) -> *const f32;

    /// Asks for the cache line `at` numbers behind `from`, into L2.
    #[inline(always)]
    fn prefetch(from: *const f32, at: usize) {
        prefetch::<false>(Self::place(from, at));
    }

    /// Asks for the cache line `at` numbers behind `from`, into L1.
    #[inline(always)]
    fn prefetch_near(from: *const f32, at: usize) {
        prefetch::<true>(Self::place(from, at));
    }

    /// Elements from one tile of a tensor to the next.
    #[inline(always)]
    fn tile_len(plane: Plane) -> usize {
        match Self::STORAGE {
            Storage::F32 => plane.len(),
            Storage::Bf16 => plane.len().next_multiple_of(2),
        }
    }
}

/// [`Storage::F32`].
pub(crate) struct Full;

impl Element for Full {
    const STORAGE: Storage = Storage::F32;

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const f32, at: usize) -> S::f32s {
        // SAFETY: the caller's promise.
        unsafe { load::<S>(from.add(at)) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(to: *mut f32, at: usize, value: S::f32s) {
        // SAFETY: the caller's promise.
        unsafe { store::<S>(to.add(at), value) }
    }

    #[inline(always)]
    unsafe fn stream<S: Simd>(to: *mut f32, at: usize, value: S::f32s) {
        // SAFETY: the caller's promise.
        unsafe { stream::<S>(to.add(at), value) }
    }

    #[inline(always)]
    fn place(from: *const f32, at: usize) -> *const f32 {
        from.wrapping_add(at)
    }
}

/// [`Storage::Bf16`].
pub(crate) struct Half;

impl Element for Half {
    const STORAGE: Storage = Storage::Bf16;

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const f32, at: usize) -> S::f32s {
        // SAFETY: the caller's promise.
        unsafe { half::load::<S>(from.cast::<u16>().add(at)) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(to: *mut f32, at: usize, value: S::f32s) {
        // SAFETY: the caller's promise.
        unsafe { half::store::<S, false>(to.cast::<u16>().add(at), value) }
    }

    #[inline(always)]
    unsafe fn stream<S: Simd>(to: *mut f32, at: usize, value: S::f32s) {
        // SAFETY: the caller's promise.
        unsafe { half::store::<S, true>(to.cast::<u16>().add(at), value) }
    }

    #[inline(always)]
    fn place(from: *const f32, at: usize) -> *const f32 {
        from.cast::<u16>().wrapping_add(at).cast()
    }
}

/// Vectors of f32 from and to bf16, per width of vector.
mod half {
    use super::{from_bf16, to_bf16};
    use pulp::Simd;
    use std::mem::{size_of, transmute_copy};

    /// # Safety
    /// As many numbers as a vector has are readable.
    #[inline(always)]
    pub unsafe fn load<S: Simd>(from: *const u16) -> S::f32s {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::*;
            match S::F32_LANES {
                // SAFETY: vectors of 16 and 8 floats exist only in pulp's V4 and V3, whose features are enabled here.
                16 => unsafe {
                    let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
                    return transmute_copy(&_mm512_slli_epi32::<16>(bits));
                },
                // SAFETY: as above.
                8 => unsafe {
                    let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
                    return transmute_copy(&_mm256_slli_epi32::<16>(bits));
                },
                _ => {}
            }
        }
        #[cfg(target_arch = "aarch64")]
        if S::F32_LANES == 4 {
            use std::arch::aarch64::*;
            // SAFETY: NEON is part of aarch64.
            return unsafe { transmute_copy(&vshlq_n_u32::<16>(vmovl_u16(vld1_u16(from)))) };
        }
        let mut numbers = [0.0f32; 16];
        for (i, number) in numbers.iter_mut().enumerate().take(S::F32_LANES) {
            // SAFETY: the caller's promise.
            *number = from_bf16(unsafe { *from.add(i) });
        }
        debug_assert!(size_of::<S::f32s>() <= size_of_val(&numbers));
        // SAFETY: a vector is as many floats as it has lanes.
        unsafe { transmute_copy(&numbers) }
    }

    /// # Safety
    /// As many numbers as a vector has are writable, and aligned to their size if `PAST_CACHES`.
    #[inline(always)]
    pub unsafe fn store<S: Simd, const PAST_CACHES: bool>(to: *mut u16, value: S::f32s) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::*;
            match S::F32_LANES {
                // SAFETY: vectors of 16 and 8 floats exist only in pulp's V4 and V3, whose features are enabled here.
                16 => unsafe {
                    let bits: __m512i = transmute_copy(&value);
                    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                    let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
                    let halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded));
                    match PAST_CACHES {
                        true => _mm256_stream_si256(to.cast(), halves),
                        false => _mm256_storeu_si256(to.cast(), halves),
                    }
                    return;
                },
                // SAFETY: as above.
                8 => unsafe {
                    let bits: __m256i = transmute_copy(&value);
                    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
                    let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
                    let words = _mm256_srli_epi32::<16>(rounded);
                    let halves = _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
                    match PAST_CACHES {
                        true => _mm_stream_si128(to.cast(), halves),
                        false => _mm_storeu_si128(to.cast(), halves),
                    }
                    return;
                },
                _ => {}
            }
        }
        #[cfg(target_arch = "aarch64")]
        if S::F32_LANES == 4 {
            use std::arch::aarch64::*;
            // SAFETY: NEON is part of aarch64.
            unsafe {
                let bits: uint32x4_t = transmute_copy(&value);
                let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
                let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
                vst1_u16(to, vshrn_n_u32::<16>(rounded));
                return;
            }
        }
        let mut numbers = [0.0f32; 16];
        // SAFETY: a vector is as many floats as it has lanes, at most sixteen.
        unsafe { numbers.as_mut_ptr().cast::<S::f32s>().write_unaligned(value) };
        for (i, &number) in numbers.iter().enumerate().take(S::F32_LANES) {
            // SAFETY: the caller's promise.
            unsafe { *to.add(i) = to_bf16(number) };
        }
    }
}

/// Evaluates `$call` with the type `$E` that stands for `$storage`.
macro_rules! with_storage {
    ($storage:expr, $E:ident => $call:expr) => {
        match $storage {
            $crate::storage::Storage::F32 => {
                type $E = $crate::storage::Full;
                $call
            }
            $crate::storage::Storage::Bf16 => {
                type $E = $crate::storage::Half;
                $call
            }
        }
    };
}
pub(crate) use with_storage;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_the_nearest_number_of_eight_bits_and_ties_go_to_even() {
        for (value, stored) in [
            (1.0, 1.0),
            (-0.0, -0.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
            (1.0 + 1.1 / 256.0, 1.0 + 2.0 / 256.0),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
        ] {
            assert_eq!(Storage::Bf16.round(value).to_bits(), f32::to_bits(stored), "{value}");
        }
        assert!(Storage::Bf16.round(f32::NAN).is_nan() && Storage::Bf16.round(-f32::NAN).is_nan());
    }

    #[test]
    fn an_element_that_is_set_can_be_got_and_its_neighbours_stay() {
        for storage in [Storage::F32, Storage::Bf16] {
            let mut data = vec![Lane::ZERO; 6];
            let value = Lane(std::array::from_fn(|i| i as f32 - 3.5));
            storage.set(&mut data, 3, value);
            let expected = |at| if at == 3 { value } else { Lane::ZERO };
            (0..6).for_each(|at| assert_eq!(storage.get(&data, at), expected(at)));
        }
    }
}
