//! Carries an algorithm's wishes for gradients at zeros to the engine, and the results back.

use bidst_engine::{EngineError, Network, ProbeRequest};
use bidst_topology::{Algorithm, LayerView, Needs, Probe};

/// What was asked for in the current step, one entry per sparsified layer.
#[derive(Debug)]
pub(crate) struct Probes {
    asked: Vec<Asked>,
}

#[derive(Clone, Debug)]
enum Asked {
    Nothing,
    Candidates(Vec<u32>),
    Everything,
}

impl Probes {
    /// For `layers` layers, nothing asked yet.
    pub fn new(layers: usize) -> Probes {
        Probes { asked: vec![Asked::Nothing; layers] }
    }

    /// Passes on what `algorithm` needs in `step` for each layer; `sparse` are the layers' indices in the network.
    ///
    /// # Errors
    /// If candidates are unsorted, out of range or active.
    pub fn request(
        &mut self,
        step: u64,
        algorithm: &dyn Algorithm,
        network: &mut Network,
        sparse: &[usize],
    ) -> Result<(), EngineError> {
        let share = algorithm.probe_share();
        for (layer, (asked, &weight)) in self.asked.iter_mut().zip(sparse).enumerate() {
            let needs = algorithm.needs(step, layer);
            let request = match needs {
                Needs::Active => ProbeRequest::None,
                Needs::Candidates(index) => ProbeRequest::Candidates(index),
                Needs::Dense => ProbeRequest::Dense,
            };
            network.set_probe(weight, request, share)?;
            asked.remember(needs);
        }
        Ok(())
    }

    /// The layers as the algorithm may see them.
    pub fn views<'a>(&'a self, network: &'a Network, sparse: &[usize]) -> Vec<LayerView<'a>> {
        let view = |(asked, &weight): (&'a Asked, &usize)| {
            let tensor = &network.weights()[weight];
            let (gradients, share) = (tensor.probe_gradients(), tensor.probed_share());
            LayerView {
                active: tensor.index(),
                weights: tensor.values(),
                gradients: tensor.gradients(),
                momentum: tensor.momentum(),
                probe: match asked {
                    Asked::Nothing => Probe::None,
                    Asked::Candidates(index) => Probe::Candidates { index, gradients, share },
                    Asked::Everything => Probe::Dense { gradients, share },
                },
            }
        };
        self.asked.iter().zip(sparse).map(view).collect()
    }

    /// Whether the gradients of all positions of a layer were asked for in this step.
    pub fn are_dense(&self, layer: usize) -> bool {
        matches!(self.asked[layer], Asked::Everything)
    }

    /// The candidates of a layer in this step.
    pub fn candidates(&self, layer: usize) -> &[u32] {
        match &self.asked[layer] {
            Asked::Candidates(index) => index,
            Asked::Nothing | Asked::Everything => &[],
        }
    }
}

impl Asked {
    /// Keeps a copy, because the algorithm may change its mind while it looks at the results. Candidates stay the same for
    /// many steps, so the copy is rarely made.
    fn remember(&mut self, needs: Needs<'_>) {
        match (self, needs) {
            (Asked::Candidates(kept), Needs::Candidates(index)) if kept == index => {}
            (asked, Needs::Candidates(index)) => *asked = Asked::Candidates(index.to_vec()),
            (asked, Needs::Active) => *asked = Asked::Nothing,
            (asked, Needs::Dense) => *asked = Asked::Everything,
        }
    }
}
