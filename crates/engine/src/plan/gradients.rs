//! Who contributes to the gradient of a value, who finishes it, and which buffer holds it meanwhile.
//!
//! The backward pass walks the steps from the last to the first, so "available before step s" means "made at a step
//! behind s". A convolution can finish a value's gradient (activation mask, residual, sums for batch norm) in its
//! epilogue if it is the last to contribute; otherwise the value's own step does it.

use super::{BufferId, Contribution, GradientPass, GradientPlan, NormId, Plan, StepPlan, ValueId};
use std::cmp::Reverse;

/// Fills in all gradient fields of the plan.
pub(super) fn plan(plan: &mut Plan) {
    let needed = needed(plan);
    let mut live = Vec::new();
    for value in (0..plan.values.len()).filter(|&value| needed[value]) {
        let buffer = live.len();
        live.push(value_interval(plan, value));
        plan.values[value].gradient = Some(GradientPlan { buffer, pass: None });
    }
    for norm in 0..plan.norms.len() {
        if let Some(interval) = norm_interval(plan, norm, &needed) {
            plan.norms[norm].gradient = Some(live.len());
            live.push(interval);
        }
    }
    for value in (0..plan.values.len()).filter(|&value| needed[value]) {
        plan_value(plan, value);
    }
    share_buffers(plan, &live);
}

/// When a buffer is in use, in steps, and how many lanes per tile it takes.
struct Interval {
    first_write: usize,
    last_read: usize,
    len: usize,
}

/// Values whose gradient somebody wants; dead values (merged into others) are not among them.
fn needed(plan: &Plan) -> Vec<bool> {
    let mut needed = vec![false; plan.values.len()];
    for step in &plan.steps {
        let StepPlan::Value(value) = *step else { continue };
        needed[value] = plan.values[value].terms.iter().any(|term| {
            let made_from = match (term.of, producer(plan, term.tensor)) {
                (Some(of), _) => needed[of],
                (None, Some((_, None))) => true,
                (None, Some((_, Some(input)))) => needed[input],
                (None, None) => false,
            };
            made_from || term.norm.is_some()
        });
    }
    needed
}

/// The step that makes a tensor, with the value it passes the gradient on to if it has no weights of its own.
fn producer(plan: &Plan, tensor: usize) -> Option<(usize, Option<ValueId>)> {
    plan.steps.iter().enumerate().find_map(|(at, step)| match step {
        StepPlan::Conv(conv) if conv.output == tensor => Some((at, None)),
        StepPlan::Pool(pool) if pool.output == tensor => Some((at, Some(pool.input))),
        StepPlan::Flatten(flatten) if flatten.output == tensor => Some((at, Some(flatten.input))),
        _ => None,
    })
}

fn value_interval(plan: &Plan, id: ValueId) -> Interval {
    let value = &plan.values[id];
    let loss = (id == plan.output).then_some(plan.steps.len());
    let writers = plan.inputs().filter(|&(_, input)| input == id).map(|(at, _)| at);
    let reads = value.terms.iter().map(|term| match term.of {
        Some(of) => plan.values[of].step,
        None => producer(plan, term.tensor).map_or(0, |(at, _)| at),
    });
    Interval {
        first_write: writers.chain(loss).chain([value.step]).max().unwrap_or(0),
        last_read: reads.min().unwrap_or(0),
        len: value.lanes(),
    }
}

/// A norm needs a buffer of its own unless a convolution forms the tensor's gradient while packing it.
fn norm_interval(plan: &Plan, id: NormId, needed: &[bool]) -> Option<Interval> {
    let norm = &plan.norms[id];
    let last_read = match (plan.values[norm.value].terms[norm.branch].of, producer(plan, norm.tensor)) {
        (Some(of), _) if needed[of] => plan.values[of].step,
        (None, Some((at, Some(input)))) if needed[input] => at,
        _ => return None,
    };
    Some(Interval { first_write: norm_step(plan, id), last_read, len: plan.values[norm.value].lanes() })
}

fn norm_step(plan: &Plan, id: NormId) -> usize {
    let is_it = |step: &StepPlan| matches!(step, StepPlan::Norm(norm) if *norm == id);
    plan.steps.iter().position(is_it).expect("every norm has its step")
}

fn plan_value(plan: &mut Plan, id: ValueId) {
    let step = plan.values[id].step;
    let adds = adds(plan, id);
    let writers: Vec<usize> = plan.inputs().filter(|&(_, input)| input == id).map(|(at, _)| at).rev().collect();
    let from_loss = id == plan.output;
    let last = writers.last().copied();
    let by_convolution = last.is_some_and(|at| {
        let conv = matches!(plan.steps[at], StepPlan::Conv(_));
        conv && adds.len() <= 1 && adds.iter().all(|&(_, made)| at < made)
    });
    for (i, &at) in writers.iter().enumerate() {
        let finishes = by_convolution && Some(at) == last;
        let contribution = Contribution {
            accumulate: from_loss || i > 0,
            finish: finishes.then(|| adds.first().map(|&(buffer, _)| buffer)),
        };
        match &mut plan.steps[at] {
            StepPlan::Conv(conv) => conv.input_gradient = Some(contribution),
            StepPlan::Pool(pool) => pool.input_gradient = Some(contribution),
            StepPlan::Flatten(flatten) => flatten.input_gradient = Some(contribution),
            StepPlan::Norm(_) | StepPlan::Value(_) => {}
        }
    }
    debug_assert!(adds.iter().all(|&(_, made)| step < made));
    let accumulate = from_loss || !writers.is_empty();
    let adds = adds.into_iter().map(|(buffer, _)| buffer).collect();
    if let Some(gradient) = &mut plan.values[id].gradient {
        gradient.pass = (!by_convolution).then_some(GradientPass { accumulate, adds });
    }
}

/// Gradients that reach the value as they are, each with the step that makes it.
fn adds(plan: &Plan, id: ValueId) -> Vec<(BufferId, usize)> {
    let mut adds = Vec::new();
    for reader in plan.values.iter().filter(|reader| reader.gradient.is_some()) {
        for term in reader.terms.iter().filter(|term| term.of == Some(id)) {
            match (term.norm, &reader.gradient) {
                (Some(norm), _) => adds.extend(plan.norms[norm].gradient.map(|buffer| (buffer, norm_step(plan, norm)))),
                (None, Some(gradient)) => adds.push((gradient.buffer, reader.step)),
                (None, None) => {}
            }
        }
    }
    adds
}

/// Gives buffers whose times do not meet the same memory.
fn share_buffers(plan: &mut Plan, live: &[Interval]) {
    let mut order: Vec<usize> = (0..live.len()).collect();
    order.sort_by_key(|&buffer| (Reverse(live[buffer].first_write), buffer));
    let (mut slot_of, mut last_reads) = (vec![0; live.len()], Vec::new());
    for buffer in order {
        let interval = &live[buffer];
        let free = (0..last_reads.len()).filter(|&slot| last_reads[slot] > interval.first_write);
        let slot = free.min_by_key(|&slot| plan.buffers[slot].abs_diff(interval.len)).unwrap_or_else(|| {
            plan.buffers.push(0);
            last_reads.push(0);
            last_reads.len() - 1
        });
        plan.buffers[slot] = plan.buffers[slot].max(interval.len);
        last_reads[slot] = interval.last_read;
        slot_of[buffer] = slot;
    }
    rename(plan, |buffer| slot_of[buffer]);
}

fn rename(plan: &mut Plan, slot: impl Fn(BufferId) -> BufferId) {
    for gradient in plan.values.iter_mut().filter_map(|value| value.gradient.as_mut()) {
        gradient.buffer = slot(gradient.buffer);
        gradient.pass.iter_mut().flat_map(|pass| &mut pass.adds).for_each(|add| *add = slot(*add));
    }
    for buffer in plan.norms.iter_mut().filter_map(|norm| norm.gradient.as_mut()) {
        *buffer = slot(*buffer);
    }
    for step in &mut plan.steps {
        if let StepPlan::Conv(conv) = step
            && let Some(Contribution { finish: Some(Some(add)), .. }) = &mut conv.input_gradient
        {
            *add = slot(*add);
        }
    }
}
