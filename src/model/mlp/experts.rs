//! A mixture of experts: gated MLPs of which each token passes through a few, chosen by a router.

use crate::architecture::names::{ExpertTensor, LayerTensor};
use crate::architecture::{ExpertGroups, ExpertsSpec, RouterSpec, Scores, SharedExpertSpec};
use crate::backend::{Backend, Expert, Gating, Linear, Norm, Routes};
use crate::error::Result;
use crate::model::host::{read, sigmoid};
use crate::model::loader::Loader;
use crate::model::norms::Norms;

/// The experts of a layer.
pub(in crate::model) struct MixtureOfExperts<B: Backend> {
    spec: ExpertsSpec,
    pub(super) norms: Norms<B>,
    router: Linear<B>,
    /// Its own norm on what the layer reads.
    router_norm: Option<Norm<B>>,
    /// Factors on the experts' weights.
    expert_scales: Option<Vec<f32>>,
    /// What is added to the scores for the choice.
    router_bias: Option<Vec<f32>>,
    /// The shared one comes last.
    experts: Vec<Expert<B>>,
    /// The product whose sigmoid weighs the shared expert.
    shared_gate: Option<Linear<B>>,
    gating: Gating,
    hidden_size: usize,
}

impl<B: Backend> MixtureOfExperts<B> {
    /// Brings the weights of layer `index` to the backend.
    pub(super) fn load(
        loader: &mut Loader<'_, B>,
        index: usize,
        spec: ExpertsSpec,
        norms: Norms<B>,
    ) -> Result<Self> {
        use LayerTensor as T;
        let (hidden, width) = (loader.spec.hidden_size, spec.width);
        let mut experts = Vec::with_capacity(spec.count + 1);
        for expert in 0..spec.count {
            let mut matrix = |tensor, outputs, inputs| {
                loader.layer_linear(index, T::Expert(expert, tensor), outputs, inputs)
            };
            let gate = spec
                .is_gated
                .then(|| matrix(ExpertTensor::Gate, width, hidden));
            experts.push(Expert {
                gate: gate.transpose()?,
                up: matrix(ExpertTensor::Up, width, hidden)?,
                down: matrix(ExpertTensor::Down, hidden, width)?,
            });
        }
        let shared_gate = match spec.shared {
            Some(SharedExpertSpec {
                width,
                is_gated: is_weighted,
            }) => {
                let gate = spec
                    .is_gated
                    .then(|| loader.layer_linear(index, T::SharedGate, width, hidden));
                experts.push(Expert {
                    gate: gate.transpose()?,
                    up: loader.layer_linear(index, T::SharedUp, width, hidden)?,
                    down: loader.layer_linear(index, T::SharedDown, hidden, width)?,
                });
                let gate = is_weighted
                    .then(|| loader.exact_layer_linear(index, T::SharedExpertGate, 1, hidden));
                gate.transpose()?
            }
            None => None,
        };
        let router_bias = match spec.router.biased {
            true => Some(loader.layer_values(index, T::RouterBias, &[spec.count])?),
            false => None,
        };
        let (router_norm, expert_scales) = match spec.router.is_normed {
            true => {
                let mut weights = loader.layer_values(index, T::RouterNorm, &[hidden])?;
                let scale = (hidden as f32).powf(-0.5);
                for weight in &mut weights {
                    *weight *= scale;
                }
                let scales = loader.layer_values(index, T::ExpertScales, &[spec.count])?;
                (Some(loader.norm_of_values(weights)?), Some(scales))
            }
            false => (None, None),
        };
        Ok(Self {
            spec,
            norms,
            router_norm,
            expert_scales,
            router_bias,
            router: loader.exact_layer_linear(index, T::Router, spec.count, hidden)?,
            experts,
            shared_gate,
            gating: spec
                .gating
                .unwrap_or(Gating::Product(loader.spec.activation)),
            hidden_size: hidden,
        })
    }

    /// The residual stream with what the experts make of `x`.
    pub(super) fn forward(
        &self,
        backend: &B,
        x: &B::Activations,
        residual: &B::Activations,
    ) -> Result<B::Activations> {
        self.norms.add(backend, self.sums(backend, x)?, residual)
    }

    /// Of each row the weighted sum of what its experts make of it.
    pub(super) fn sums(&self, backend: &B, x: &B::Activations) -> Result<B::Activations> {
        let normed = match &self.norms.before {
            Some(norm) => &backend.norm(x, norm)?,
            None => x,
        };
        let routes = match &self.router_norm {
            Some(norm) => self.route(backend, &backend.norm(x, norm)?)?,
            None => self.route(backend, normed)?,
        };
        let (experts, width) = (&self.experts, self.hidden_size);
        Ok(backend.experts(normed, width, experts, &routes, self.gating)?)
    }

    /// The experts of each row.
    fn route(&self, backend: &B, x: &B::Activations) -> Result<Routes> {
        let logits = read(backend, backend.linear(x, &self.router)?)?;
        let logits = logits.chunks_exact(self.spec.count);
        let rows = logits.len();
        let mut routes = Routes::new(rows, self.experts.len());
        for (row, logits) in logits.enumerate() {
            let bias = self.router_bias.as_deref();
            for (expert, weight) in choose(logits, self.spec.chosen, self.spec.router, bias) {
                let scale = self.expert_scales.as_ref().map_or(1.0, |own| own[expert]);
                routes.add(row, expert, weight * scale);
            }
        }
        if let Some(gate) = &self.shared_gate {
            let logits = read(backend, backend.linear(x, gate)?)?;
            for (row, logit) in logits.into_iter().enumerate() {
                routes.add(row, self.spec.count, sigmoid(logit));
            }
        } else if self.spec.shared.is_some() {
            for row in 0..rows {
                routes.add(row, self.spec.count, 1.0);
            }
        }
        Ok(routes)
    }
}

/// What each logit counts.
fn scores(logits: &[f32], scores: Scores) -> Vec<f32> {
    match scores {
        Scores::Sigmoid => logits.iter().map(|logit| sigmoid(*logit)).collect(),
        Scores::Softmax => {
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exponentials = logits.iter().map(|logit| libm::expf(logit - largest));
            let exponentials: Vec<f32> = exponentials.collect();
            let total: f32 = exponentials.iter().sum();
            exponentials.into_iter().map(|one| one / total).collect()
        }
    }
}

/// The chosen experts and their weights: those with the largest scores, of equal ones the first.
fn choose(
    logits: &[f32],
    chosen: usize,
    router: RouterSpec,
    bias: Option<&[f32]>,
) -> Vec<(usize, f32)> {
    let scores = scores(logits, router.scores);
    let biased = |expert: usize| scores[expert] + bias.map_or(0.0, |bias| bias[expert]);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    if let Some(groups) = router.groups {
        order = of_best_groups(&order, groups, biased);
    }
    order.sort_by(|a, b| biased(*b).total_cmp(&biased(*a)));
    order.truncate(chosen);
    let divisor = router.normalized.map_or(1.0, |epsilon| {
        order.iter().map(|expert| scores[*expert]).sum::<f32>() + epsilon
    });
    let weight = |expert: usize| scores[expert] / divisor * router.scale;
    order
        .into_iter()
        .map(|expert| (expert, weight(expert)))
        .collect()
}

/// The experts of the groups whose best scores have the largest sums; of equal ones the first.
fn of_best_groups(
    experts: &[usize],
    groups: ExpertGroups,
    score: impl Fn(usize) -> f32,
) -> Vec<usize> {
    let size = experts.len() / groups.count.max(1);
    let sum_of_best = |experts: &[usize]| {
        let mut best: Vec<f32> = experts.iter().map(|expert| score(*expert)).collect();
        best.sort_by(|a, b| b.total_cmp(a));
        best.iter().take(groups.counted).sum::<f32>()
    };
    let mut best: Vec<(f32, &[usize])> = experts
        .chunks(size.max(1))
        .map(|group| (sum_of_best(group), group))
        .collect();
    best.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut chosen: Vec<usize> = best[..groups.chosen.min(best.len())]
        .iter()
        .flat_map(|(_, group)| group.iter().copied())
        .collect();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: RouterSpec = RouterSpec {
        scores: Scores::Softmax,
        biased: false,
        normalized: Some(0.0),
        scale: 1.0,
        groups: None,
        is_normed: false,
    };

    #[test]
    fn the_largest_logits_choose_and_weigh() {
        let logits = [1.0, 3.0, 2.0, 3.0_f32];
        assert_eq!(choose(&logits, 2, ROUTER, None), [(1, 0.5), (3, 0.5)]);
        let total: f32 = logits.iter().map(|logit| (logit - 3.0).exp()).sum();
        let normalized = None;
        let weighed = choose(
            &logits,
            2,
            RouterSpec {
                normalized,
                ..ROUTER
            },
            None,
        );
        for ((expert, weight), expected) in weighed.into_iter().zip([1, 3]) {
            assert_eq!(expert, expected);
            assert!((weight - 1.0 / total).abs() < 1e-6);
        }
    }

    #[test]
    fn a_bias_chooses_and_does_not_weigh() {
        let router = RouterSpec {
            scores: Scores::Sigmoid,
            biased: true,
            normalized: Some(1.0),
            scale: 2.0,
            groups: None,
            is_normed: false,
        };
        let chosen = choose(&[0.0, 5.0, 0.0], 2, router, Some(&[0.0, -10.0, 1.0]));
        // 2 * 0.5 / (0.5 + 0.5 + 1)
        assert_eq!(chosen, [(2, 0.5), (0, 0.5)]);
    }

    #[test]
    fn experts_lie_in_the_groups_with_the_best_scores() {
        // The largest logit lies in a group whose second is small.
        let logits = [5.0, -9.0, 2.0, 3.0, 1.0, 1.0];
        for (counted, expected) in [(2, [3, 2]), (1, [0, 1])] {
            let router = RouterSpec {
                scores: Scores::Sigmoid,
                groups: Some(ExpertGroups {
                    count: 3,
                    chosen: 1,
                    counted,
                }),
                ..ROUTER
            };
            let chosen = choose(&logits, 2, router, None);
            let experts: Vec<usize> = chosen.into_iter().map(|(expert, _)| expert).collect();
            assert_eq!(experts, expected, "{counted}");
        }
    }
}
