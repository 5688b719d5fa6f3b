//! ψ: candidates are drawn, watched through a window, and scored with the active positions at its end.

use super::layer::Layer;
use super::options::Score;
use super::window::Evidence;
use super::{Bidst, CandidateRule, Scores, trials};
use crate::{LayerView, select};

impl Bidst {
    /// Candidates per layer of `nnz` non-zeros, before what there is limits them.
    pub(super) fn wanted(&self, nnz: usize) -> usize {
        (self.candidate_ratio * nnz as f64).round() as usize
    }

    /// Candidates of a layer with as many non-zeros as it had at first.
    pub(super) fn candidates_of(&self, layer: &Layer) -> usize {
        let inactive = layer.len.saturating_sub(layer.nnz);
        if self.candidate_rule == CandidateRule::All { inactive } else { self.wanted(layer.nnz).min(inactive) }
    }

    /// Draws candidates for the next window; after the last decision, frees everything.
    pub(super) fn draw(&mut self, step: u64, layer: usize, active: &[u32]) {
        let wanted = self.wanted(active.len());
        let state = &mut self.layers[layer];
        if self.times.next(step + 1).is_some() {
            state.draw(self.candidate_rule, &self.streams, (layer, step), active, wanted);
        } else {
            state.free();
        }
    }

    /// What needs the first mask and weights, in the first step.
    pub(super) fn start(&mut self, step: u64, views: &[LayerView<'_>]) {
        self.started = true;
        for (layer, view) in views.iter().enumerate() {
            self.draw(step, layer, view.active);
            let state = &mut self.layers[layer];
            if self.params.stored_weights {
                state.store_random(layer, view, &self.streams);
            }
            if self.params.score == Score::Literal {
                // ψ₀ is the first mask itself.
                state.psi = vec![0.0; state.len];
                view.active.iter().for_each(|&position| state.psi[position as usize] = 1.0);
            }
        }
    }

    /// Eq. 11 at every position of one layer.
    pub(super) fn literal_step(&mut self, layer: usize, view: &LayerView<'_>, gradients: &[f32]) {
        let state = &mut self.layers[layer];
        let (rho, beta) = (self.rho_psi, self.params.beta);
        let mut active = view.active.iter().zip(view.weights).peekable();
        for (position, (psi, &g)) in state.psi.iter_mut().zip(gradients).enumerate() {
            let gradient = Evidence { mean: g.into(), square: f64::from(g) * f64::from(g) };
            let descent = match active.next_if(|(p, _)| **p as usize == position) {
                Some((_, &theta)) => self.rule.keep(theta.into(), gradient, 0.0),
                None => {
                    let theta = state.stored.get(position).copied().unwrap_or(0.0);
                    self.rule.grow(theta.into(), gradient, 0.0)
                }
            };
            *psi = (rho * f64::from(*psi) + beta * descent) as f32;
        }
    }

    /// ψ of one layer, before noise.
    pub(super) fn scores(&mut self, layer: usize, view: &LayerView<'_>) -> Scores {
        let state = &mut self.layers[layer];
        if self.params.score == Score::Literal {
            let of = |positions| if state.psi.is_empty() { Vec::new() } else { select::pick(&state.psi, positions) };
            return Scores { keep: of(view.active), grow: of(&state.candidates) };
        }
        let window = &state.window;
        let (samples, h, beta) = (window.samples, window.curvature(self.batch_size), self.params.beta);
        let grown = trials::grown_up(view, &state.on_trial, self.params.trial_growth).zip(window.active.evidence(samples));
        let mut keep: Vec<f32> =
            grown.map(|(theta, gradient)| (beta * self.rule.keep(theta, gradient, h)) as f32).collect();
        let seen = self.batch_size as f64 * f64::from(view.probe.share()) * samples as f64;
        let noise = if self.debias { h / seen } else { 0.0 };
        let candidates = state.candidates.iter().zip(window.candidates.evidence(samples));
        let grow = candidates.map(|(&position, gradient)| {
            let gradient = Evidence { square: gradient.square - noise, ..gradient };
            (beta * self.rule.grow(state.stored_at(position), gradient, h)) as f32
        });
        let grow = grow.collect();
        if self.rho_psi > 0.0 {
            state.psi.resize(keep.len(), 0.0);
            keep.iter_mut().zip(&state.psi).for_each(|(score, &psi)| *score += self.rho_psi as f32 * psi);
        }
        Scores { keep, grow }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::built;
    use crate::{LayerView, Probe};

    #[test]
    fn a_candidate_that_saw_only_noise_is_no_evidence_once_the_noise_is_taken_off() {
        // Minibatch gradients ±1 at the active positions: variance 2 over two steps, so the mean of two has 1.
        let grown = |debias: bool, share: f32, gradient: f32| {
            let options = format!("candidate_ratio = 0.05\nwindow = 2\ndebias = {debias}");
            let mut bidst = built(&options, 5e-4).unwrap();
            let active: Vec<u32> = (0..20).collect();
            let candidate = [gradient];
            let zeros = [0.0; 20];
            let view = LayerView {
                active: &active,
                weights: &zeros,
                gradients: &zeros,
                momentum: &zeros,
                probe: Probe::Candidates { index: &[], gradients: &candidate, share },
            };
            bidst.draw(0, 0, &active);
            for gradients in [&[1.0; 20], &[-1.0; 20]] {
                bidst.layers[0].watch(&LayerView { gradients, ..view }, false);
            }
            bidst.scores(0, &view).grow[0]
        };
        assert!(grown(false, 1.0, 0.9) > 0.0);
        assert!(grown(true, 1.0, 0.9) < 0.0);
        assert!(grown(true, 1.0, 1.1) > 0.0);
        // On half of the batch there is twice the variance.
        assert!(grown(true, 0.5, 1.3) < 0.0);
        assert!(grown(true, 0.5, 1.5) > 0.0);
    }
}
