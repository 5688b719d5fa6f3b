//! A bounded fuzzer: valid files, damaged in the ways that break readers, read again and again.
//!
//! Shared by the `fuzz` tests of the crates that read files. Each target runs a few thousand executions in `cargo test`, or as
//! many as `BIDST_FUZZ` says; `BIDST_LONG=1` makes it two million. The same number gives the same executions.

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One target at a time: the allocator counts for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Numbers that lengths, counts and offsets are replaced by.
const LENGTHS: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 40, i64::MAX as u64, u64::MAX];

/// Reads damaged `seeds` with `read`, which says whether they were accepted; allocation beyond `most(bytes)` fails, and so do
/// a panic and a minute for one execution.
pub fn run(
    target: &str,
    seeds: fn() -> Vec<Vec<u8>>,
    most: fn(usize) -> usize,
    repair: fn(&mut [u8]),
    read: fn(&[u8]) -> bool,
) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seeds = seeds();
    let (executions, started) = (executions(), Instant::now());
    let (mut accepted, mut slowest, mut largest) = (0u64, Duration::ZERO, 0usize);
    for execution in 0..executions {
        let mut random = Random(execution ^ target.bytes().fold(7, |hash, byte| hash * 31 + u64::from(byte)));
        let bytes = mutant(&seeds, &mut random, repair);
        let (region, begun) = (Region::new(ALLOCATOR), Instant::now());
        accepted += u64::from(read(&bytes));
        let (allocated, took) = (region.change().bytes_allocated, begun.elapsed());
        assert!(allocated <= most(bytes.len()), "{target} {execution}: {allocated} bytes for {}", bytes.len());
        assert!(took < Duration::from_secs(60), "{target} {execution}: {took:?}");
        (slowest, largest) = (slowest.max(took), largest.max(allocated));
    }
    println!(
        "{target}: {executions} executions in {:.0?}, {accepted} accepted, slowest {slowest:.1?}, most allocated {largest}",
        started.elapsed()
    );
    assert!(accepted < executions, "{target}: nothing was refused");
}

fn executions() -> u64 {
    let asked = std::env::var("BIDST_FUZZ").ok().and_then(|number| number.parse().ok());
    let long = std::env::var_os("BIDST_LONG").is_some();
    asked.unwrap_or(if long { 2_000_000 } else { 3_000 })
}

/// Twice the input and a mebibyte.
#[allow(dead_code)]
pub fn twice(bytes: usize) -> usize {
    2 * bytes + (1 << 20)
}

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn mutant(seeds: &[Vec<u8>], random: &mut Random, repair: fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(4) {
        damage(&mut bytes, seeds, random);
    }
    if random.below(2) == 0 {
        repair(&mut bytes);
    }
    bytes
}

/// A place in `bytes`: near the beginning, where headers are, half of the time.
fn place(bytes: &[u8], random: &mut Random) -> usize {
    let near = if random.below(2) == 0 { bytes.len().min(160) } else { bytes.len() };
    random.below(near)
}

fn damage(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
    }
    let at = place(bytes, random);
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => bytes[at] = bytes[at].wrapping_add([1, 255, 16, 240][random.below(4)]),
        3 => bytes.truncate(at),
        4 => {
            let end = (at + 1 + random.below(16)).min(bytes.len());
            bytes.drain(at..end);
        }
        5 => {
            let end = (at + 1 + random.below(16)).min(bytes.len());
            let again = bytes[at..end].repeat(1 + random.below(8));
            bytes.splice(at..at, again);
        }
        6 => {
            let length = LENGTHS[random.below(LENGTHS.len())];
            let width = [1, 2, 4, 8][random.below(4)];
            let number = if random.below(2) == 0 { length.to_le_bytes() } else { length.to_be_bytes() };
            let number = if random.below(2) == 0 { &number[..width] } else { &number[8 - width..] };
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
        7 => {
            // Numbers and names in text.
            let digit = bytes[at..].iter().position(u8::is_ascii_digit).map_or(at, |digit| at + digit);
            let number = LENGTHS[random.below(LENGTHS.len())].to_string();
            bytes.splice(digit..digit + 1, number.into_bytes());
        }
        _ => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len());
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
    }
}
