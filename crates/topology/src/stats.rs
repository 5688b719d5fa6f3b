//! What the mask did: swaps, intersection over union, in-time over-parameterisation and inspection rates, dead channels.

use crate::bits::BitSet;
use crate::state::{State, StateError};
use crate::{Change, Mask};

/// One decision in one layer, or summed over a network by [`LayerDecision::network`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerDecision {
    /// Positions grown: |M' \ M|.
    pub swaps: usize,
    /// Positions dropped: |M \ M'|; differs from `swaps` only if budget moves between layers.
    pub dropped: usize,
    /// Non-zeros after the decision.
    pub nnz: usize,
    /// Intersection over union of the masks before and after; 1 for two empty ones.
    pub iou: f64,
    /// ITOP rate R_s: share of the positions that have ever been active.
    pub itop: f64,
    /// Inspection rate R_ins: share of the positions that have ever been active or a candidate.
    pub inspected: f64,
    /// Positions of the layer.
    pub len: usize,
}

impl LayerDecision {
    /// One decision over all layers: sums, and rates weighted by positions.
    pub fn network(layers: &[LayerDecision]) -> LayerDecision {
        let sum = |f: fn(&LayerDecision) -> usize| layers.iter().map(f).sum::<usize>();
        let (swaps, dropped, nnz, len) = (sum(|l| l.swaps), sum(|l| l.dropped), sum(|l| l.nnz), sum(|l| l.len));
        let mean =
            |f: fn(&LayerDecision) -> f64| layers.iter().map(|l| f(l) * l.len as f64).sum::<f64>() / len.max(1) as f64;
        LayerDecision {
            swaps,
            dropped,
            nnz,
            iou: iou(nnz, swaps, dropped),
            itop: mean(|l| l.itop),
            inspected: mean(|l| l.inspected),
            len,
        }
    }
}

/// Of masks that share nnz − swaps positions.
fn iou(nnz: usize, swaps: usize, dropped: usize) -> f64 {
    let union = nnz + dropped;
    if union == 0 { 1.0 } else { (nnz - swaps) as f64 / union as f64 }
}

/// Channels of one layer that have no non-zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadChannels {
    /// Output channels that are the same for every input.
    pub outputs: usize,
    /// Input channels that no output channel reads (of a grouped convolution: positions within the groups).
    pub inputs: usize,
}

impl DeadChannels {
    /// Counts them in a tensor of `shape`, `[O, I, KH, KW]` or `[O, I]`, with the given active positions, sorted.
    ///
    /// # Panics
    /// If a position is outside the tensor.
    pub fn of(shape: &[usize], active: &[u32]) -> DeadChannels {
        let [outputs, inputs] = [shape[0], shape[1]];
        let kernel = shape[2..].iter().product::<usize>() as u32;
        let (mut writes, mut read) = (vec![false; outputs], vec![false; inputs]);
        let (mut output, mut first) = (0, 0);
        for &position in active {
            while position - first >= inputs as u32 * kernel {
                (output, first) = (output + 1, first + inputs as u32 * kernel);
            }
            writes[output] = true;
            read[((position - first) / kernel) as usize] = true;
        }
        let dead = |alive: &[bool]| alive.iter().filter(|&&alive| !alive).count();
        DeadChannels { outputs: dead(&writes), inputs: dead(&read) }
    }
}

/// What happened to one layer between two marks; see [`TopologyStats::take`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Since {
    /// Decisions taken.
    pub decisions: u64,
    /// Positions dropped, summed over them.
    pub dropped: u64,
    /// Positions grown.
    pub grown: u64,
    /// Positions dropped and regrown in one decision that started again at 0.
    pub reset: u64,
    /// Intersection over union of the masks at the two marks; 1 for two empty ones.
    pub iou: f64,
}

/// Cumulative statistics of one run. Three bits per position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyStats {
    layers: Vec<Layer>,
    swaps: u64,
    decisions: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Layer {
    len: usize,
    fired: BitSet,
    inspected: BitSet,
    /// The mask at the last mark.
    marked: BitSet,
    /// Decisions, dropped, grown and reset since then.
    since: [u64; 4],
}

impl Layer {
    fn rate(&self, set: &BitSet) -> f64 {
        if self.len == 0 { 0.0 } else { set.count() as f64 / self.len as f64 }
    }
}

impl TopologyStats {
    /// Statistics that have seen the first masks only.
    pub fn new(masks: &[Mask]) -> Self {
        let layer = |mask: &Mask| {
            let fired = BitSet::of(mask.len(), mask.active());
            Layer { len: mask.len(), inspected: fired.clone(), marked: fired.clone(), fired, since: [0; 4] }
        };
        Self { layers: masks.iter().map(layer).collect(), swaps: 0, decisions: 0 }
    }

    /// Notes one layer's part in a decision: the active positions before it, the (checked) change, and the candidate
    /// positions that were probed for it. If the probe was dense, call [`inspect_all`](Self::inspect_all) before.
    ///
    /// # Panics
    /// If a position is outside the layer.
    pub fn record(&mut self, layer: usize, before: &[u32], change: &Change, candidates: &[u32]) -> LayerDecision {
        let state = &mut self.layers[layer];
        state.fired.extend(&change.grown);
        state.inspected.extend(&change.grown);
        state.inspected.extend(candidates);
        let (swaps, dropped) = (change.grown.len(), change.dropped.len());
        self.swaps += swaps as u64;
        let news = [1, dropped, swaps, change.reset.len()];
        state.since.iter_mut().zip(news).for_each(|(sum, new)| *sum += new as u64);
        let nnz = before.len() + swaps - dropped;
        LayerDecision {
            swaps,
            dropped,
            nnz,
            iou: iou(nnz, swaps, dropped),
            itop: state.rate(&state.fired),
            inspected: state.rate(&state.inspected),
            len: state.len,
        }
    }

    /// What happened to a layer since this was last asked, or since the start; `active` are its positions now.
    ///
    /// # Panics
    /// If a position is outside the layer.
    pub fn take(&mut self, layer: usize, active: &[u32]) -> Since {
        let state = &mut self.layers[layer];
        let common = active.iter().filter(|&&position| state.marked.contains(position)).count();
        let union = active.len() + state.marked.count() - common;
        let iou = if union == 0 { 1.0 } else { common as f64 / union as f64 };
        state.marked = BitSet::of(state.len, active);
        let [decisions, dropped, grown, reset] = std::mem::take(&mut state.since);
        Since { decisions, dropped, grown, reset, iou }
    }

    /// Notes that every position of a layer was probed.
    pub fn inspect_all(&mut self, layer: usize) {
        let state = &mut self.layers[layer];
        state.inspected.insert_below(state.len);
    }

    /// Counts a decision, of which `changes` are the layers' parts; a refused one (all empty) does not count.
    pub fn count_decision(&mut self, changes: &[Change]) {
        self.decisions += u64::from(changes.iter().any(|change| !change.is_empty()));
    }

    /// Decisions that changed the mask.
    pub fn decisions(&self) -> u64 {
        self.decisions
    }

    /// Positions grown in the whole run.
    pub fn swaps(&self) -> u64 {
        self.swaps
    }

    /// ITOP rate R_s over all layers.
    pub fn itop(&self) -> f64 {
        self.rate(|layer| &layer.fired)
    }

    /// Inspection rate R_ins over all layers.
    pub fn inspected(&self) -> f64 {
        self.rate(|layer| &layer.inspected)
    }

    fn rate(&self, set: fn(&Layer) -> &BitSet) -> f64 {
        let hit: usize = self.layers.iter().map(|layer| set(layer).count()).sum();
        hit as f64 / self.layers.iter().map(|layer| layer.len).sum::<usize>().max(1) as f64
    }

    /// For a checkpoint.
    pub fn save(&self) -> State {
        let mut state = State::default();
        state.u64s.insert("totals".into(), vec![self.swaps, self.decisions]);
        for (i, layer) in self.layers.iter().enumerate() {
            state.u64s.insert(format!("fired.{i}"), layer.fired.words().to_vec());
            state.u64s.insert(format!("inspected.{i}"), layer.inspected.words().to_vec());
            state.u64s.insert(format!("marked.{i}"), layer.marked.words().to_vec());
            state.u64s.insert(format!("since.{i}"), layer.since.to_vec());
        }
        state
    }

    /// Takes over what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If a vector is missing or does not fit the layers; nothing is changed then.
    pub fn load(&mut self, state: &State) -> Result<(), StateError> {
        let totals = crate::state::of_length("totals", state.words("totals")?, 2)?;
        let bits = |name: String, len: usize| {
            let words = crate::state::of_length(&name, state.words(&name)?, len.div_ceil(64))?;
            BitSet::from_words(len, words).ok_or(StateError::Invalid { name, reason: "a bit beyond the layer is set" })
        };
        let mut layers = self.layers.clone();
        for (i, layer) in layers.iter_mut().enumerate() {
            layer.fired = bits(format!("fired.{i}"), layer.len)?;
            layer.inspected = bits(format!("inspected.{i}"), layer.len)?;
            layer.marked = bits(format!("marked.{i}"), layer.len)?;
            let since = format!("since.{i}");
            layer.since.copy_from_slice(crate::state::of_length(&since, state.words(&since)?, 4)?);
        }
        *self = Self { layers, swaps: totals[0], decisions: totals[1] };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_iou_follow_their_definitions() {
        let mut mask = Mask::new(20, (0..10).collect()).unwrap();
        let mut stats = TopologyStats::new(std::slice::from_ref(&mask));
        assert_eq!((stats.itop(), stats.inspected()), (0.5, 0.5));
        let change = Change { dropped: vec![0, 1], grown: vec![10, 11], ..Change::default() };
        let before = mask.clone();
        change.apply_to(&mut mask).unwrap();
        let decision = stats.record(0, before.active(), &change, &[10, 11, 12, 13]);
        stats.count_decision(&[change]);
        stats.count_decision(&[Change::default()]);
        assert_eq!((decision.swaps, decision.nnz), (2, 10));
        assert_eq!(decision.iou, before.iou(&mask));
        assert_eq!((decision.itop, decision.inspected), (0.6, 0.7));
        assert_eq!((stats.swaps(), stats.decisions()), (2, 1));
        assert_eq!(LayerDecision::network(&[decision]), decision);
        stats.inspect_all(0);
        assert_eq!(stats.inspected(), 1.0);
    }

    #[test]
    fn between_two_marks_counts_add_up_and_masks_are_compared_end_to_end() {
        let mut mask = Mask::new(20, (0..10).collect()).unwrap();
        let mut stats = TopologyStats::new(std::slice::from_ref(&mask));
        let mut decide = |stats: &mut TopologyStats, dropped: &[u32], grown: &[u32], reset: &[u32]| {
            let lists = [dropped, grown, reset].map(<[u32]>::to_vec);
            let [dropped, grown, reset] = lists;
            let change = Change { dropped, grown, reset, ..Change::default() };
            let before = mask.clone();
            change.apply_to(&mut mask).unwrap();
            stats.record(0, before.active(), &change, &[]);
            mask.active().to_vec()
        };
        decide(&mut stats, &[0, 1], &[10, 11], &[5]);
        // Position 0 comes back: 9 of 11 positions are in both masks.
        let active = decide(&mut stats, &[11], &[0], &[]);
        let mut resumed = TopologyStats::new(&[Mask::full(20).unwrap()]);
        resumed.load(&stats.save()).unwrap();
        for stats in [&mut stats, &mut resumed] {
            let first = stats.take(0, &active);
            assert_eq!(first, Since { decisions: 2, dropped: 3, grown: 3, reset: 1, iou: 9.0 / 11.0 });
            assert_eq!(stats.take(0, &active), Since { iou: 1.0, ..Since::default() });
        }
    }

    #[test]
    fn dead_channels_are_those_without_a_nonzero() {
        // Three filters over four channels of 1x2 pixels: filter 0 reads channel 1, filter 2 channels 1 and 3.
        let active = [2, 3, 18, 23];
        assert_eq!(DeadChannels::of(&[3, 4, 1, 2], &active), DeadChannels { outputs: 1, inputs: 2 });
        assert_eq!(DeadChannels::of(&[2, 3], &[0, 1, 2]), DeadChannels { outputs: 1, inputs: 0 });
        assert_eq!(DeadChannels::of(&[2, 3], &[]), DeadChannels { outputs: 2, inputs: 3 });
    }

    #[test]
    fn statistics_survive_a_checkpoint_and_refuse_a_foreign_one() {
        let masks = [Mask::new(70, vec![3, 69]).unwrap(), Mask::full(3).unwrap()];
        let mut stats = TopologyStats::new(&masks);
        stats.record(0, masks[0].active(), &Change { dropped: vec![3], grown: vec![5], ..Change::default() }, &[5, 8]);
        let saved = stats.save();
        let mut resumed = TopologyStats::new(&masks);
        resumed.load(&saved).unwrap();
        assert_eq!(resumed, stats);
        let mut foreign = TopologyStats::new(&masks[1..]);
        assert!(matches!(foreign.load(&saved), Err(StateError::Length { .. })));
        let mut damaged = saved.clone();
        damaged.u64s.insert("fired.0".into(), vec![0, 1 << 63]);
        assert!(matches!(resumed.load(&damaged), Err(StateError::Invalid { .. })));
        assert!(matches!(resumed.load(&State::default()), Err(StateError::Missing { .. })));
        assert_eq!(resumed, stats);
    }
}
