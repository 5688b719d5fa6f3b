//! Exact selections by score: no thresholds, no full sorts.
//!
//! One order everywhere: larger scores first, equal scores (−0 and 0 are equal) by lower index, NaN after everything.
//! Indices returned are entries of the score slice, ascending.

use crate::bits::BitSet;
use crate::mask::complement;
use rand_chacha::rand_core::Rng;
use std::borrow::Borrow;
use std::cmp::Reverse;

/// The score's place in the order as an integer: larger is better, NaN is 0.
fn rank(score: f32) -> u32 {
    if score.is_nan() {
        return 0;
    }
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// Whether `a` comes strictly before `b` in the order.
pub fn better(a: f32, b: f32) -> bool {
    rank(a) > rank(b)
}

/// Score and entry in one comparable word; larger is better.
fn key(entry: usize, score: f32) -> u64 {
    u64::from(rank(score)) << 32 | u64::from(u32::MAX - entry as u32)
}

fn entry(key: u64) -> u32 {
    u32::MAX - key as u32
}

/// The keys of the `count` best scores (all if there are fewer), in any order.
fn best(scores: &[f32], count: usize) -> Vec<u64> {
    let mut keys = leading(scores, count, |score| !rank(score));
    if count < keys.len() {
        keys.select_nth_unstable_by_key(count, |&key| Reverse(key));
        keys.truncate(count);
    }
    keys
}

/// The keys of the `count` worst scores (all if there are fewer), in any order.
fn worst(scores: &[f32], count: usize) -> Vec<u64> {
    let mut keys = leading(scores, count, rank);
    if count < keys.len() {
        keys.select_nth_unstable(count);
        keys.truncate(count);
    }
    keys
}

/// The keys of the `count` scores of lowest `place`, and of others that are near: a sample tells where to stop, so that the
/// selection need not look at the rest.
fn leading(scores: &[f32], count: usize, place: impl Fn(f32) -> u32) -> Vec<u64> {
    const STEP: usize = 16;
    const MARGIN: usize = 32;
    const BLOCK: usize = 256;
    let all = || scores.iter().enumerate().map(|(entry, &score)| key(entry, score));
    let mut sample: Vec<u32> = scores.iter().step_by(STEP).map(|&score| place(score)).collect();
    let wanted = (count + count / 4) / STEP + MARGIN;
    if wanted >= sample.len() {
        return all().collect();
    }
    let limit = *sample.select_nth_unstable(wanted).1;
    let mut keys = Vec::with_capacity(2 * count);
    for (block, scores) in scores.chunks(BLOCK).enumerate() {
        // Whether a score is near cannot be predicted, so it is written first and kept afterwards.
        let (mut near, mut found) = ([0; BLOCK], 0);
        for (i, &score) in scores.iter().enumerate() {
            near[found] = key(block * BLOCK + i, score);
            found += usize::from(place(score) <= limit);
        }
        keys.extend(&near[..found]);
    }
    if keys.len() < count { all().collect() } else { keys }
}

/// The entries of keys of `len` scores, sorted.
fn entries(keys: &[u64], len: usize) -> Vec<u32> {
    let mut entries = BitSet::new(len);
    for &key in keys {
        entries.insert(entry(key));
    }
    entries.to_sorted()
}

/// The `count` best entries (all if there are fewer).
pub fn largest(scores: &[f32], count: usize) -> Vec<u32> {
    entries(&best(scores, count), scores.len())
}

/// The `count` worst entries (all if there are fewer): what [`largest`] of the others leaves over.
pub fn smallest(scores: &[f32], count: usize) -> Vec<u32> {
    entries(&worst(scores, count), scores.len())
}

/// The `count` worst entries of several layers together, per layer; equal scores go by layer, then by entry.
pub fn smallest_over(layers: &[impl Borrow<[f32]>], count: usize) -> Vec<Vec<u32>> {
    split(&smallest(&layers.concat(), count), &lens(layers))
}

/// The `count` best entries of several layers together, per layer; equal scores go by layer, then by entry.
pub fn largest_over(layers: &[impl Borrow<[f32]>], count: usize) -> Vec<Vec<u32>> {
    split(&largest(&layers.concat(), count), &lens(layers))
}

fn lens(layers: &[impl Borrow<[f32]>]) -> Vec<usize> {
    layers.iter().map(|layer| layer.borrow().len()).collect()
}

/// Sorted entries of all layers laid end to end, as entries of each layer; `lens` are the layers' lengths.
pub fn split(entries: &[u32], lens: &[usize]) -> Vec<Vec<u32>> {
    let mut entries = entries.iter().peekable();
    let mut start = 0;
    let of_layer = |&len: &usize| {
        let (first, end) = (start, start + len as u32);
        start = end;
        std::iter::from_fn(|| entries.next_if(|&&entry| entry < end)).map(|entry| entry - first).collect()
    };
    lens.iter().map(of_layer).collect()
}

/// The absolute values.
pub fn magnitudes(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| value.abs()).collect()
}

/// The `count` positions whose weights are smallest in magnitude; `weights` is aligned with `active`.
pub fn smallest_weights(active: &[u32], weights: &[f32], count: usize) -> Vec<u32> {
    pick(active, &smallest(&magnitudes(weights), count))
}

/// The `count` positions outside the sorted set `kept` at which `values`, one per position, are largest in magnitude.
pub fn largest_outside(kept: &[u32], values: &[f32], count: usize) -> Vec<u32> {
    let open = complement(values.len(), kept);
    let magnitudes: Vec<f32> = open.iter().map(|&at| values[at as usize].abs()).collect();
    pick(&open, &largest(&magnitudes, count))
}

/// How many of `grow` are among the `keep.len()` best of both together; equal scores favour `keep`.
pub fn intruders(keep: &[f32], grow: &[f32]) -> usize {
    let incumbents = keep.iter().map(|&score| u64::from(rank(score)) << 1 | 1);
    let mut union: Vec<u64> = incumbents.chain(grow.iter().map(|&score| u64::from(rank(score)) << 1)).collect();
    if keep.len() < union.len() {
        union.select_nth_unstable_by_key(keep.len(), |&key| Reverse(key));
        union.truncate(keep.len());
    }
    union.iter().filter(|&key| key & 1 == 0).count()
}

/// Entries to drop (of the keep scores) and to grow (of the grow scores), equally many in sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swaps {
    /// Entries of the keep scores.
    pub dropped: Vec<u32>,
    /// Entries of the grow scores.
    pub grown: Vec<u32>,
}

/// What one layer brings to an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Scores of the active positions.
    pub keep: &'a [f32],
    /// Scores of the candidates.
    pub grow: &'a [f32],
    /// Most entries that may be dropped.
    pub cap: usize,
    /// Fewest active positions that must remain.
    pub floor: usize,
}

/// Swaps the best candidate for the worst active position, the second best for the second worst, and so on, while
/// `worth` holds for the pair's scores (grow, keep), at most `cap` times. `worth` must not become true again along the
/// way.
pub fn exchange(keep: &[f32], grow: &[f32], cap: usize, worth: impl Fn(f32, f32) -> bool) -> Swaps {
    let cap = cap.min(keep.len()).min(grow.len());
    let (mut out, mut into) = (worst(keep, cap), best(grow, cap));
    // Bisection for the first pair that does not pay; what comes before it is partitioned on the way, never sorted.
    let (mut paying, mut end) = (0, cap);
    while paying < end {
        let middle = (end - paying) / 2;
        let worst = *out[paying..end].select_nth_unstable(middle).1;
        let best = *into[paying..end].select_nth_unstable_by_key(middle, |&key| Reverse(key)).1;
        match worth(grow[entry(best) as usize], keep[entry(worst) as usize]) {
            true => paying += middle + 1,
            false => end = paying + middle,
        }
    }
    out.truncate(paying);
    into.truncate(paying);
    Swaps { dropped: entries(&out, keep.len()), grown: entries(&into, grow.len()) }
}

/// [`exchange`] over all layers together: of the best candidates, as many as all caps allow, each in turn replaces the
/// worst active position that may still go. A layer at its floor gives up a position only to itself. Costs
/// (candidates) × (layers).
pub fn exchange_between(offers: &[Offer<'_>], worth: impl Fn(f32, f32) -> bool) -> Vec<Swaps> {
    let candidates = offers.iter().map(|offer| offer.grow.len()).sum();
    let worst: Vec<Vec<u64>> =
        offers.iter().map(|offer| ascending_worst(offer.keep, offer.cap.min(candidates))).collect();
    let mut nnz: Vec<usize> = offers.iter().map(|offer| offer.keep.len()).collect();
    let mut gone = vec![0; offers.len()];
    let mut grown = vec![Vec::new(); offers.len()];
    for (into, candidate) in best_of_all(offers, worst.iter().map(Vec::len).sum()) {
        let donor = (0..offers.len())
            .filter(|&layer| gone[layer] < worst[layer].len() && (layer == into || nnz[layer] > offers[layer].floor))
            .min_by_key(|&layer| (worst[layer][gone[layer]] >> 32, layer));
        let Some(donor) = donor else { continue };
        let out = worst[donor][gone[donor]];
        if worth(offers[into].grow[entry(candidate) as usize], offers[donor].keep[entry(out) as usize]) {
            gone[donor] += 1;
            nnz[donor] -= 1;
            nnz[into] += 1;
            grown[into].push(candidate);
        }
    }
    let swaps = worst.iter().zip(gone).zip(grown).zip(offers);
    swaps
        .map(|(((worst, gone), grown), offer)| Swaps {
            dropped: entries(&worst[..gone], offer.keep.len()),
            grown: entries(&grown, offer.grow.len()),
        })
        .collect()
}

fn ascending_worst(scores: &[f32], count: usize) -> Vec<u64> {
    let mut keys = worst(scores, count);
    keys.sort_unstable();
    keys
}

/// The `count` best candidates of all layers as (layer, key), best first; equal scores by layer, then by entry.
fn best_of_all(offers: &[Offer<'_>], count: usize) -> Vec<(usize, u64)> {
    let mut pool = Vec::new();
    for (layer, offer) in offers.iter().enumerate() {
        pool.extend(best(offer.grow, count).into_iter().map(|key| (layer, key)));
    }
    let order = |&(layer, key): &(usize, u64)| (Reverse(key >> 32), layer, Reverse(key));
    if count < pool.len() {
        pool.select_nth_unstable_by_key(count, order);
        pool.truncate(count);
    }
    pool.sort_unstable_by_key(order);
    pool
}

/// The inactive positions with these ranks (ascending) among the inactive positions; `active` is sorted. Linear in
/// both, whatever the size of the layer.
pub fn inactive_at(active: &[u32], ranks: &[u32]) -> Vec<u32> {
    let mut passed = 0;
    ranks
        .iter()
        .map(|&rank| {
            while passed < active.len() && active[passed] <= rank + passed as u32 {
                passed += 1;
            }
            rank + passed as u32
        })
        .collect()
}

/// `count` inactive positions of a layer of `len`, uniformly (all of them if there are fewer).
pub fn random_inactive(rng: &mut impl Rng, len: usize, active: &[u32], count: usize) -> Vec<u32> {
    let inactive = len - active.len();
    inactive_at(active, &crate::rng::choose(rng, inactive, count.min(inactive)))
}

/// The values at some of the `active` positions, all sorted; `values` is aligned with `active`.
pub fn at<T: Copy>(active: &[u32], values: &[T], positions: &[u32]) -> Vec<T> {
    let mut rest = positions.iter().peekable();
    let pairs = active.iter().zip(values);
    pairs.filter(|(position, _)| rest.next_if_eq(position).is_some()).map(|(_, &value)| value).collect()
}

/// The entries of `values` at `entries`.
pub fn pick<T: Copy>(values: &[T], entries: &[u32]) -> Vec<T> {
    entries.iter().map(|&entry| values[entry as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAN: f32 = f32::NAN;

    #[test]
    fn ties_go_to_the_lower_index_and_nan_comes_last() {
        let scores = [1.0, NAN, 2.0, 1.0, -0.0, 0.0, f32::NEG_INFINITY];
        assert_eq!(largest(&scores, 2), [0, 2]);
        assert_eq!(largest(&scores, 4), [0, 2, 3, 4]);
        assert_eq!(smallest(&scores, 1), [1]);
        assert_eq!(smallest(&scores, 3), [1, 5, 6]);
        assert_eq!(largest(&scores, 9).len(), 7);
    }

    #[test]
    fn layers_are_compared_as_if_they_were_one_and_keep_their_own_entries() {
        let layers = [vec![0.3, 0.1], vec![], vec![0.2, 0.9, 0.1]];
        assert_eq!(smallest_over(&layers, 2), [vec![1], vec![], vec![2]]);
        assert_eq!(smallest_over(&layers, 1), [vec![], vec![], vec![2]]);
        assert_eq!(smallest_over(&layers, 9), [vec![0, 1], vec![], vec![0, 1, 2]]);
        assert_eq!(largest_over(&layers, 2), [vec![0], vec![], vec![1]]);
    }

    #[test]
    fn values_are_found_by_position() {
        assert_eq!(at(&[2, 5, 7, 9], &['a', 'b', 'c', 'd'], &[5, 9]), ['b', 'd']);
    }

    #[test]
    fn weights_leave_and_positions_enter_by_magnitude() {
        assert_eq!(smallest_weights(&[2, 5, 7], &[-0.1, 0.3, 0.2], 2), [2, 7]);
        assert_eq!(largest_outside(&[1, 2], &[0.5, 9.0, 9.0, -2.0, 0.1], 2), [0, 3]);
    }

    #[test]
    fn an_exchange_swaps_only_worthwhile_pairs_up_to_the_cap() {
        let keep = [5.0, 1.0, 4.0, 2.0];
        let grow = [3.0, 0.5, 6.0, NAN];
        let better = |grow: f32, keep: f32| grow > keep;
        assert_eq!(exchange(&keep, &grow, 4, better), Swaps { dropped: vec![1, 3], grown: vec![0, 2] });
        assert_eq!(exchange(&keep, &grow, 1, better), Swaps { dropped: vec![1], grown: vec![2] });
        assert_eq!(exchange(&keep, &[1.0, 1.0], 4, better), Swaps::default());
        assert_eq!(exchange(&keep, &grow, 4, |_, _| true).grown, [0, 1, 2, 3]);
    }

    #[test]
    fn an_exchange_between_layers_moves_budget_but_not_below_the_floor() {
        let offers = [
            Offer { keep: &[0.1, 0.2, 0.3], grow: &[0.05, 0.15], cap: 3, floor: 2 },
            Offer { keep: &[9.0, 8.0], grow: &[7.0, 6.0, 5.0], cap: 2, floor: 1 },
        ];
        let swaps = exchange_between(&offers, |grow, keep| grow > keep);
        assert_eq!(swaps[0], Swaps { dropped: vec![0], grown: vec![] });
        assert_eq!(swaps[1], Swaps { dropped: vec![], grown: vec![0] });
        let alone = exchange_between(&[Offer { floor: 3, ..offers[0] }], |grow, keep| grow > keep);
        assert_eq!(alone[0], Swaps { dropped: vec![0], grown: vec![1] });
    }

    fn any_score() -> impl Strategy<Value = f32> {
        prop_oneof![4 => (-3i8..3).prop_map(f32::from), 1 => any::<f32>()]
    }

    proptest! {
        #[test]
        fn selection_agrees_with_a_full_stable_sort(scores in prop::collection::vec(any_score(), 0..60), count in 0usize..70) {
            let mut order: Vec<u32> = (0..scores.len() as u32).collect();
            order.sort_by_key(|&entry| Reverse(rank(scores[entry as usize])));
            let split = count.min(scores.len());
            let mut best = order[..split].to_vec();
            best.sort_unstable();
            prop_assert_eq!(largest(&scores, count), best);
            let mut worst = order[scores.len() - split..].to_vec();
            worst.sort_unstable();
            prop_assert_eq!(smallest(&scores, count), worst);
        }

        #[test]
        fn a_selection_from_many_agrees_with_a_full_sort(seed: u64, count in 0usize..3000, coarse: bool) {
            let drawn = (0..3000).map(|i| crate::rng::at(seed, i) as u32);
            let scores: Vec<f32> = drawn.map(|bits| if coarse { (bits % 7) as f32 } else { f32::from_bits(bits) }).collect();
            let mut order: Vec<u32> = (0..scores.len() as u32).collect();
            order.sort_by_key(|&entry| Reverse(rank(scores[entry as usize])));
            let (best, rest) = order.split_at_mut(count);
            best.sort_unstable();
            prop_assert_eq!(&largest(&scores, count)[..], &*best);
            rest.sort_unstable();
            prop_assert_eq!(&smallest(&scores, scores.len() - count)[..], &*rest);
        }

        #[test]
        fn an_uncapped_exchange_is_the_top_k_of_the_union(
            keep in prop::collection::vec(any_score(), 0..30), grow in prop::collection::vec(any_score(), 0..30),
        ) {
            let swaps = exchange(&keep, &grow, usize::MAX, |grow, keep| rank(grow) > rank(keep));
            let union: Vec<f32> = keep.iter().chain(&grow).copied().collect();
            let top = largest(&union, keep.len());
            let grown: Vec<u32> =
                top.iter().filter(|&&e| e as usize >= keep.len()).map(|&e| e - keep.len() as u32).collect();
            prop_assert_eq!(swaps.grown.len(), intruders(&keep, &grow));
            prop_assert_eq!(swaps.dropped.len(), swaps.grown.len());
            prop_assert_eq!(swaps.grown, grown);
        }

        #[test]
        fn one_layer_exchanges_with_itself_like_an_exchange_within(
            keep in prop::collection::vec(any_score(), 0..30), grow in prop::collection::vec(any_score(), 0..30), cap in 0usize..30,
        ) {
            let better = |grow: f32, keep: f32| grow > keep;
            let offer = Offer { keep: &keep, grow: &grow, cap, floor: keep.len() };
            let between = exchange_between(&[offer], better);
            prop_assert_eq!(&between[0], &exchange(&keep, &grow, cap, better));
        }

        #[test]
        fn inactive_ranks_name_the_complement(active in prop::collection::btree_set(0u32..50, 0..50)) {
            let active: Vec<u32> = active.into_iter().collect();
            let inactive = complement(50, &active);
            let ranks: Vec<u32> = (0..inactive.len() as u32).collect();
            prop_assert_eq!(inactive_at(&active, &ranks), inactive);
        }
    }
}
