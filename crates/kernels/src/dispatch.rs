//! The instruction set is chosen at run time; every kernel is written once over [`pulp::Simd`].

use crate::layout::{LANES, Lane};
use pulp::{Simd, WithSimd};

/// Environment variable that forces an instruction set: `scalar`, `avx2`, `avx512` or `neon`.
pub const ENVIRONMENT: &str = "BIDST_SIMD";

/// A family of vector instructions that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// One number at a time; runs everywhere.
    Scalar,
    /// AVX2 with FMA, 8 lanes.
    Avx2,
    /// AVX-512 F/VL/BW/DQ/CD, 16 lanes.
    Avx512,
    /// NEON, 4 lanes.
    Neon,
}

impl InstructionSet {
    const ALL: [InstructionSet; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Scalar];

    /// What this machine has, fastest first; the last one is always [`InstructionSet::Scalar`].
    pub fn available() -> Vec<InstructionSet> {
        Self::ALL.into_iter().filter(|set| set.is_available()).collect()
    }

    /// The name used by [`ENVIRONMENT`] and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// The set called `name`, if this machine has it.
    ///
    /// # Errors
    /// A sentence that names the available sets.
    pub fn parse(name: &str) -> Result<InstructionSet, String> {
        let available = Self::available();
        available.iter().copied().find(|set| set.name() == name).ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|set| set.name()).collect();
            format!("instruction set {name:?} is not available here; this machine has {}", names.join(", "))
        })
    }

    /// The set forced by [`ENVIRONMENT`], else the fastest available.
    ///
    /// # Errors
    /// As [`InstructionSet::parse`].
    pub fn from_environment() -> Result<InstructionSet, String> {
        match std::env::var(ENVIRONMENT) {
            Ok(name) if !name.is_empty() => Self::parse(&name).map_err(|why| format!("{ENVIRONMENT}: {why}")),
            _ => Ok(Self::available()[0]),
        }
    }

    fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => pulp::aarch64::Neon::try_new().is_some(),
            _ => false,
        }
    }

    /// Runs `op` compiled for this instruction set; one that the machine lacks falls back to scalar code.
    pub(crate) fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if let Some(simd) = pulp::x86::V4::try_new() => Simd::vectorize(simd, op),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if let Some(simd) = pulp::x86::V3::try_new() => Simd::vectorize(simd, op),
            #[cfg(target_arch = "aarch64")]
            Self::Neon if let Some(simd) = pulp::aarch64::Neon::try_new() => Simd::vectorize(simd, op),
            _ => op.with_simd(pulp::Scalar::new()),
        }
    }
}

/// Vectors of `S` in one [`Lane`].
#[inline(always)]
pub(crate) const fn parts<S: Simd>() -> usize {
    LANES / S::F32_LANES
}

/// # Safety
/// `from` is readable for one vector.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: the caller's promise; the read is unaligned-safe.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}

/// # Safety
/// `to` is writable for one vector.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd>(to: *mut f32, value: S::f32s) {
    // SAFETY: the caller's promise; the write is unaligned-safe.
    unsafe { to.cast::<S::f32s>().write_unaligned(value) }
}

/// Stores past the caches: what is written is not read again before it would have been evicted anyway.
///
/// # Safety
/// `to` is writable for one vector and aligned to it. [`fence`] comes before another thread reads it.
#[inline(always)]
pub(crate) unsafe fn stream<S: Simd>(to: *mut f32, value: S::f32s) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm256_stream_ps, _mm512_stream_ps};
        use std::mem::transmute_copy;
        match S::F32_LANES {
            // SAFETY: vectors of 16 and 8 floats exist only in pulp's V4 and V3, whose features are enabled here.
            16 => return unsafe { _mm512_stream_ps(to, transmute_copy(&value)) },
            // SAFETY: as above.
            8 => return unsafe { _mm256_stream_ps(to, transmute_copy(&value)) },
            _ => {}
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store::<S>(to, value) }
}

/// The sums over the lanes of four vectors, by a tree of shuffles where there is one.
#[inline(always)]
pub(crate) fn lane_sums<S: Simd>(simd: S, vectors: [S::f32s; 4]) -> [f32; 4] {
    #[cfg(target_arch = "x86_64")]
    if S::F32_LANES == 16 {
        use std::arch::x86_64::*;
        // SAFETY: vectors of 16 floats exist only in pulp's V4, whose features are enabled here.
        return unsafe {
            let [a, b, c, d]: [__m512; 4] = std::mem::transmute_copy(&vectors);
            let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xDD>(a, b));
            let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xDD>(c, d));
            // Four lanes of each vector are left, side by side.
            let quarters = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xDD>(ab, cd));
            let pairs = _mm512_add_ps(quarters, _mm512_permute_ps::<0x4E>(quarters));
            let sums = _mm512_add_ps(pairs, _mm512_permute_ps::<0xB1>(pairs));
            let first_of_four = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
            std::mem::transmute::<__m128, [f32; 4]>(_mm512_castps512_ps128(_mm512_permutexvar_ps(first_of_four, sums)))
        };
    }
    let mut sums = [0.0; 4];
    for (sum, vector) in sums.iter_mut().zip(vectors) {
        *sum = simd.reduce_sum_f32s(vector);
    }
    sums
}

/// Asks for a cache line ahead of its use, into L1 if it is `NEAR`, else into L2; any address will do.
#[inline(always)]
pub(crate) fn prefetch<const NEAR: bool>(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch of an address that cannot be read does nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        match NEAR {
            true => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
            false => _mm_prefetch::<_MM_HINT_T1>(at.cast()),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Makes what was written by [`stream`] visible to other threads.
#[inline(always)]
pub(crate) fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// Start of a slice of lanes as a pointer to floats.
#[inline(always)]
pub(crate) fn floats(lanes: &[Lane]) -> *const f32 {
    lanes.as_ptr().cast()
}

/// Start of a mutable slice of lanes as a pointer to floats.
#[inline(always)]
pub(crate) fn floats_mut(lanes: &mut [Lane]) -> *mut f32 {
    lanes.as_mut_ptr().cast()
}

/// Calls `$f::<…, T>` with the constant `T` equal to `$t` (1 to 8).
macro_rules! with_tile {
    ($t:expr, $T:ident => $call:expr) => {
        match $t {
            1 => {
                const $T: usize = 1;
                $call
            }
            2 => {
                const $T: usize = 2;
                $call
            }
            3 => {
                const $T: usize = 3;
                $call
            }
            4 => {
                const $T: usize = 4;
                $call
            }
            5 => {
                const $T: usize = 5;
                $call
            }
            6 => {
                const $T: usize = 6;
                $call
            }
            7 => {
                const $T: usize = 7;
                $call
            }
            _ => {
                const $T: usize = 8;
                $call
            }
        }
    };
}
pub(crate) use with_tile;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_instruction_set_is_refused_by_name() {
        let message = InstructionSet::parse("mmx").unwrap_err();
        assert!(message.contains("mmx") && message.contains("scalar"), "{message}");
        assert_eq!(InstructionSet::parse("scalar"), Ok(InstructionSet::Scalar));
    }
}
