//! MLPs: their widths, and mixtures of experts.

use super::Builder;
use crate::architecture::keys::{self, KeyReader};
use crate::architecture::preset::{ExpertsPreset, SharedExpert};
use crate::architecture::variants::{ExpertGroups, ExpertsSpec, RouterSpec, SharedExpertSpec};
use crate::backend::Gating;
use crate::error::{Error, Result};

impl<K: KeyReader> Builder<'_, K> {
    /// The width of a layer's MLP without experts.
    pub(super) fn mlp_width(
        &self,
        layer: usize,
        layers: usize,
        hidden_size: usize,
        experts: Option<ExpertsSpec>,
    ) -> Result<usize> {
        let default = self.preset.mlp_ratio.map(|ratio| ratio * hidden_size);
        let key = &keys::INTERMEDIATE_SIZE;
        // Where no layer has experts, what stands beside them elsewhere is the MLP (Granite 4).
        let beside = self
            .preset
            .experts
            .filter(|own| own.shared == SharedExpert::Ungated);
        let shared = match (beside, experts) {
            (Some(_), None) => self.keys.size(&keys::SHARED_EXPERT_WIDTH)?,
            _ => None,
        };
        let stated = match shared {
            None => self.keys.layer_size(key, layer, layers)?,
            shared => shared,
        };
        let width = stated.or(default).ok_or_else(|| self.keys.missing(key))?;
        match self.preset.adjusted_width {
            true => self.keys.adjusted(width),
            false => Ok(width),
        }
    }

    /// The mixtures of experts of the layers that have them.
    pub(super) fn experts(&self) -> Result<Option<ExpertsSpec>> {
        let Some(preset) = &self.preset.experts else {
            return Ok(None);
        };
        let keys = self.keys;
        if self.preset.may_lack_experts && self.count(&keys::EXPERTS)?.is_none() {
            return Ok(None);
        }
        if self.count(&keys::LATENT_SIZE)?.is_some() {
            let expected = "none: experts on a narrower stream are not supported";
            return Err(keys.wrong(&keys::LATENT_SIZE, expected, &"stated"));
        }
        let count = keys.required(&keys::EXPERTS)?;
        if count > keys::MAX_EXPERTS {
            let expected = format!("at most {}", keys::MAX_EXPERTS);
            return Err(keys.wrong(&keys::EXPERTS, &expected, &count));
        }
        let chosen = keys.required(&keys::CHOSEN_EXPERTS)?;
        if chosen > count {
            let expected = format!("at most the {count} experts");
            return Err(keys.wrong(&keys::CHOSEN_EXPERTS, &expected, &chosen));
        }
        let width = match keys.size(&keys::EXPERT_WIDTH)? {
            Some(width) => width,
            None => keys.required(&keys::INTERMEDIATE_SIZE)?,
        };
        let normalized = match preset.states_normalized {
            true => keys.flag(&keys::NORMALIZED_EXPERTS),
            false => None,
        };
        let scale = match preset.states_scale {
            true => keys.number(&keys::ROUTER_SCALE)?,
            false => None,
        };
        Ok(Some(ExpertsSpec {
            count,
            chosen,
            width,
            is_gated: preset.gated,
            router: RouterSpec {
                scores: preset.scores,
                biased: keys.flag(&keys::BIASED_ROUTER).unwrap_or(preset.biased),
                normalized: normalized
                    .unwrap_or(preset.normalized)
                    .then_some(preset.epsilon),
                scale: scale.unwrap_or(1.0) as f32,
                groups: self.expert_groups(preset, count, chosen)?,
                is_normed: preset.beside_dense,
            },
            gating: match preset.gating {
                Some(Gating::Clamped { limit, alpha }) => {
                    let number = |key, default| {
                        let number = keys.number(key)?.map(|number| number as f32);
                        Ok::<_, Error>(number.unwrap_or(default))
                    };
                    Some(Gating::Clamped {
                        limit: number(&keys::EXPERT_LIMIT, limit)?,
                        alpha: number(&keys::EXPERT_ALPHA, alpha)?,
                    })
                }
                product => product,
            },
            shared: self.shared_expert(preset, width)?,
        }))
    }

    pub(super) fn shared_expert(
        &self,
        preset: &ExpertsPreset,
        width: usize,
    ) -> Result<Option<SharedExpertSpec>> {
        match preset.shared {
            SharedExpert::None => Ok(None),
            kind @ (SharedExpert::Gated | SharedExpert::Ungated) => Ok(Some(SharedExpertSpec {
                width: self.keys.required(&keys::SHARED_EXPERT_WIDTH)?,
                is_gated: kind == SharedExpert::Gated,
            })),
            SharedExpert::Times => {
                if self.keys.says_none(&keys::SHARED_EXPERTS) {
                    return Ok(None);
                }
                let times = self.keys.required(&keys::SHARED_EXPERTS)?;
                if times > keys::MAX_EXPERTS {
                    let expected = format!("at most {}", keys::MAX_EXPERTS);
                    return Err(self.keys.wrong(&keys::SHARED_EXPERTS, &expected, &times));
                }
                Ok(Some(SharedExpertSpec {
                    width: times * width,
                    is_gated: false,
                }))
            }
        }
    }

    /// The groups that a token's experts lie in, of families whose experts may be grouped.
    pub(super) fn expert_groups(
        &self,
        preset: &ExpertsPreset,
        experts: usize,
        chosen: usize,
    ) -> Result<Option<ExpertGroups>> {
        let groups = self.keys.size(&keys::EXPERT_GROUPS)?.unwrap_or(1);
        if groups == 1 || !self.keys.groups_experts() {
            return Ok(None);
        }
        if !experts.is_multiple_of(groups) {
            let expected = format!("a divisor of the {experts} experts");
            return Err(self.keys.wrong(&keys::EXPERT_GROUPS, &expected, &groups));
        }
        let of_groups = self.keys.required(&keys::CHOSEN_GROUPS)?;
        if of_groups > groups || of_groups * (experts / groups) < chosen {
            let expected = format!("at most {groups}, with at least {chosen} experts in them");
            return Err(self.keys.wrong(&keys::CHOSEN_GROUPS, &expected, &of_groups));
        }
        Ok(Some(ExpertGroups {
            count: groups,
            chosen: of_groups,
            counted: preset.counted_of_group,
        }))
    }
}
