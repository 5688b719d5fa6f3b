//! Which number format each tensor has in memory.
//!
//! A convolution's input, output and gradients are stored alike, and so are the terms of a value: such tensors form a
//! family. The family of the logits (the linear layers) is f32 always, and so is what is flat; they are small.

use super::{Plan, StepPlan};
use bidst_kernels::{PoolKind, Storage};
use std::collections::BTreeSet;

/// Fills in the storage of all values and tensors, `wanted` wherever it may be.
pub(super) fn plan(plan: &mut Plan, wanted: Storage) {
    let mut family: Vec<usize> = (0..plan.tensors.len()).collect();
    for value in &plan.values {
        for tensor in value.terms.iter().map(|term| term.tensor).chain(value.stored) {
            unite(&mut family, value.terms[0].tensor, tensor);
        }
    }
    for step in &plan.steps {
        if let StepPlan::Conv(conv) = step {
            unite(&mut family, plan.values[conv.input].terms[0].tensor, conv.output);
        }
    }
    let flat =
        |step: &StepPlan| if let StepPlan::Flatten(flatten) = step { Some(family[flatten.output]) } else { None };
    let mut full: BTreeSet<usize> = plan.steps.iter().filter_map(flat).collect();
    full.insert(family[plan.values[plan.output].terms[0].tensor]);
    // A maximum must be found again in its window: a step that only reads f32 does not store less.
    for step in &plan.steps {
        if let StepPlan::Pool(step) = step
            && step.pool.kind == PoolKind::Max
            && full.contains(&family[plan.values[step.input].terms[0].tensor])
        {
            full.insert(family[step.output]);
        }
    }
    let storage = |family: &usize| if full.contains(family) { Storage::F32 } else { wanted };
    plan.storages = family.iter().map(storage).collect();
    for value in &mut plan.values {
        value.storage = plan.storages[value.terms[0].tensor];
    }
    for step in &mut plan.steps {
        if let StepPlan::Pool(step) = step {
            step.pool.storage = [plan.values[step.input].storage, plan.storages[step.output]];
        }
    }
}

/// Makes two tensors members of one family, which goes by the smaller number.
fn unite(family: &mut [usize], a: usize, b: usize) {
    let (kept, gone) = (family[a].min(family[b]), family[a].max(family[b]));
    family.iter_mut().filter(|family| **family == gone).for_each(|family| *family = kept);
}
