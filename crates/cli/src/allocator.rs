//! Large buffers go back to the system as soon as they are freed.
//!
//! From the first large buffer that is freed on, glibc takes buffers up to that size from its heap, and keeps there what they leave. A
//! decision's buffers would then stay beside those of the next checkpoint, though the two never meet: a tenth of the peak.
#![allow(unsafe_code)]

/// To be called before there are threads and buffers.
pub fn hand_back_large_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Buffers from this size on are mapped and unmapped one by one.
        const LARGE: i32 = 4 << 20;
        /// What the heap may keep at its end: what every step takes and leaves.
        const SPARE: i32 = 64 << 20;
        // SAFETY: sets two limits of the allocator, which checks them, and touches no memory that is in use.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_TRIM_THRESHOLD, SPARE);
        }
    }
}
