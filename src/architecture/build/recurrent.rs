//! Layers that are not attention, or not attention alone.

use super::Builder;
use crate::architecture::keys::{self, Key, KeyReader};
use crate::architecture::preset::{RecurrentKind, StateSpacePreset};
use crate::architecture::spec::{
    AttentionSpec, DeltaNetSpec, MixerSpec, ShortConvSpec, StateSpaceFactors, StateSpaceSpec,
};
use crate::error::Result;

impl<K: KeyReader> Builder<'_, K> {
    pub(super) fn recurrent(
        &self,
        kind: Option<RecurrentKind>,
        hidden_size: usize,
    ) -> Result<MixerSpec> {
        match kind {
            None => Ok(MixerSpec::None),
            Some(RecurrentKind::ShortConv) => {
                let taps = self.taps(&keys::CONVOLVED)?;
                Ok(MixerSpec::ShortConv(ShortConvSpec { taps }))
            }
            Some(RecurrentKind::DeltaNet { is_reordered }) => {
                let is_grouped = !(is_reordered && self.keys.is_converted());
                self.delta_net(is_grouped).map(MixerSpec::DeltaNet)
            }
            Some(RecurrentKind::StateSpace(preset)) => {
                let space = self.state_space(preset, hidden_size)?;
                Ok(MixerSpec::StateSpace(space))
            }
        }
    }

    /// Attention and a state space on the same input, with a factor on each (Falcon-H1).
    pub(super) fn side_by_side(
        &self,
        mut attention: AttentionSpec,
        preset: StateSpacePreset,
        hidden_size: usize,
    ) -> Result<MixerSpec> {
        let factor = |name| self.keys.factors::<1>(name).map(|[factor]| factor);
        // A factor on keys, and one on all that is attended with, are factors on scores and values.
        let input = factor("attention_in_multiplier")?;
        let is_one = |factor: f32| factor.to_bits() == 1.0_f32.to_bits();
        let is_biased = self.keys.flag(&keys::ATTENTION_BIAS) == Some(true);
        if is_biased && !(is_one(input) && is_one(factor("key_multiplier")?)) {
            let expected = "false where queries and keys have factors";
            return Err(self.keys.wrong(&keys::ATTENTION_BIAS, expected, &true));
        }
        attention.shape.scale *= factor("key_multiplier")? * input * input;
        attention.output_scale = factor("attention_out_multiplier")? * input;
        let mut space = self.state_space(preset, hidden_size)?;
        let input = factor("ssm_in_multiplier")?;
        let parts = self.keys.factors::<5>("ssm_multipliers")?;
        space.factors = StateSpaceFactors {
            parts: parts.map(|part| part * input),
            output: factor("ssm_out_multiplier")?,
        };
        Ok(MixerSpec::AttentionAndStateSpace(attention, space))
    }

    pub(super) fn state_space(
        &self,
        preset: StateSpacePreset,
        hidden_size: usize,
    ) -> Result<StateSpaceSpec> {
        let keys = self.keys;
        let heads = keys.required(&keys::SPACE_HEADS)?;
        let groups = keys.size_or(&keys::SPACE_GROUPS, Some(1))?;
        if !heads.is_multiple_of(groups) {
            let expected = format!("a divisor of the {heads} heads");
            return Err(keys.wrong(&keys::SPACE_GROUPS, &expected, &groups));
        }
        let head_dim = match keys.size(&keys::SPACE_HEAD_DIM)? {
            Some(dim) => dim,
            None => {
                let expanded = keys.size_or(&keys::SPACE_EXPANSION, Some(2))?;
                let expanded = expanded.saturating_mul(hidden_size);
                let all = keys.size(&keys::DELTA_INNER)?.unwrap_or(expanded);
                if !all.is_multiple_of(heads) {
                    let expected = format!("a divisor of the {all} elements of all heads");
                    return Err(keys.wrong(&keys::SPACE_HEADS, &expected, &heads));
                }
                all / heads
            }
        };
        let state_dim = keys.required(&keys::SPACE_STATE)?;
        for factors in [[heads, head_dim, state_dim], [groups, state_dim, 1]] {
            self.check_size(factors, &keys::SPACE_HEADS, heads)?;
        }
        Ok(StateSpaceSpec {
            heads,
            head_dim,
            groups,
            state_dim,
            taps: self.taps(&keys::SPACE_TAPS)?,
            finish: keys.state_space_finish(preset),
            norm_parts: if preset.norm_by_group { groups } else { 1 },
            step_limits: keys.step_limits()?,
            factors: StateSpaceFactors::ONE,
        })
    }

    pub(super) fn delta_net(&self, is_grouped: bool) -> Result<DeltaNetSpec> {
        let keys = self.keys;
        let key_heads = keys.required(&keys::DELTA_KEY_HEADS)?;
        let value_heads = keys.required(&keys::DELTA_VALUE_HEADS)?;
        if !value_heads.is_multiple_of(key_heads) {
            let expected = format!("a multiple of the {key_heads} key heads");
            return Err(keys.wrong(&keys::DELTA_VALUE_HEADS, &expected, &value_heads));
        }
        let value_dim = match keys.size(&keys::DELTA_VALUE_DIM)? {
            Some(dim) => dim,
            None => {
                let all = keys.required(&keys::DELTA_INNER)?;
                if !all.is_multiple_of(value_heads) {
                    let expected = format!("a multiple of the {value_heads} value heads");
                    return Err(keys.wrong(&keys::DELTA_INNER, &expected, &all));
                }
                all / value_heads
            }
        };
        let spec = DeltaNetSpec {
            key_heads,
            value_heads,
            key_dim: keys.required(&keys::DELTA_KEY_DIM)?,
            value_dim,
            taps: self.taps(&keys::DELTA_TAPS)?,
            is_grouped,
        };
        for factors in [
            [value_heads, value_dim, spec.key_dim],
            [key_heads, spec.key_dim, 1],
        ] {
            self.check_size(factors, &keys::DELTA_VALUE_HEADS, value_heads)?;
        }
        Ok(spec)
    }

    /// Refuses as many heads as make a state, or a token's part of it, too large.
    fn check_size(&self, factors: [usize; 3], key: &Key, heads: usize) -> Result<()> {
        let elements = factors.into_iter().try_fold(1, usize::checked_mul);
        match elements.is_some_and(|elements| elements <= keys::MAX_SIZE as usize) {
            true => Ok(()),
            false => {
                let expected = format!("heads with a state of at most {} elements", keys::MAX_SIZE);
                Err(self.keys.wrong(key, &expected, &heads))
            }
        }
    }

    /// The tokens that a convolution sees.
    pub(super) fn taps(&self, key: &Key) -> Result<usize> {
        let taps = self.keys.required(key)?;
        if taps > keys::MAX_TAPS {
            let expected = format!("at most {}", keys::MAX_TAPS);
            return Err(self.keys.wrong(key, &expected, &taps));
        }
        Ok(taps)
    }
}
