//! The attention of a model, and of each of its layers.

use super::Builder;
use crate::architecture::keys::{self, KeyReader, LayerHeads, RopeFor};
use crate::architecture::preset::AttentionScale;
use crate::architecture::spec::{KeyValueSource, LatentSpec, LayerSpec};
use crate::architecture::variants::QueryKeyNorm;
use crate::backend::AttentionShape;
use crate::error::Result;

impl<K: KeyReader> Builder<'_, K> {
    pub(super) fn attention(&self, hidden_size: usize, layers: usize) -> Result<AttentionShape> {
        let keys = self.keys;
        let heads = keys.required(&keys::HEADS)?;
        let kv_heads = match self.preset.heads_by_sliding {
            true => keys.layer_size(&keys::KV_HEADS, 0, layers)?,
            false => keys.size(&keys::KV_HEADS)?,
        };
        let kv_heads = kv_heads.unwrap_or(heads);
        self.check_kv_heads(heads, kv_heads)?;
        let share = hidden_size / heads;
        let head_dim = keys.size_or(&keys::HEAD_DIM, Some(share))?;
        self.check_head_dim(head_dim)?;
        keys.check(self.preset, head_dim)?;
        let inverse_root = |width: f64| width.powf(-0.5);
        let scale = match self.preset.attention_scale {
            AttentionScale::HeadDim => inverse_root(head_dim as f64),
            AttentionScale::QueryScalar { largest } => {
                inverse_root(keys.query_scalar(head_dim, share, layers == largest)?)
            }
            AttentionScale::Stated => keys
                .number(&keys::ATTENTION_SCALE)?
                .unwrap_or(inverse_root(head_dim as f64)),
            AttentionScale::One => 1.0,
        };
        Ok(AttentionShape {
            heads,
            kv_heads,
            head_dim,
            scale: match keys.flag(&keys::SCALED_ATTENTION) {
                Some(false) => 1.0,
                _ => scale as f32,
            },
            softcap: keys.cap(&keys::ATTENTION_SOFTCAP, self.preset.attention_softcap)?,
        })
    }

    /// The heads of a layer's attention.
    pub(super) fn shape_of(
        &self,
        of_model: AttentionShape,
        layer: usize,
        slides: bool,
    ) -> Result<AttentionShape> {
        let mut shape = of_model;
        if self.keys.flag(&keys::SCALED_BY_LAYER) == Some(true) {
            shape.scale /= (layer + 1) as f32;
        }
        if self.preset.heads_by_sliding {
            let LayerHeads { head_dim, kv_heads } = self.keys.heads_of(layer, slides)?;
            shape.head_dim = head_dim.unwrap_or(shape.head_dim);
            shape.kv_heads = kv_heads.unwrap_or(shape.kv_heads);
            self.check_kv_heads(shape.heads, shape.kv_heads)?;
            self.check_head_dim(shape.head_dim)?;
        }
        Ok(shape)
    }

    fn check_kv_heads(&self, heads: usize, kv_heads: usize) -> Result<()> {
        if heads.is_multiple_of(kv_heads) {
            return Ok(());
        }
        let expected = format!("a divisor of the {heads} query heads");
        Err(self.keys.wrong(&keys::KV_HEADS, &expected, &kv_heads))
    }

    fn check_head_dim(&self, head_dim: usize) -> Result<()> {
        match head_dim.is_multiple_of(2) {
            true => Ok(()),
            false => Err(self
                .keys
                .wrong(&keys::HEAD_DIM, "an even number", &head_dim)),
        }
    }

    /// Refuses layers whose heads differ where they share rotary embeddings, or keys and values.
    pub(super) fn check_heads(&self, layers: &[LayerSpec]) -> Result<()> {
        let shapes = |layer: usize| Some(layers.get(layer)?.mixer.attention()?.shape);
        let attentions = || layers.iter().filter_map(|layer| layer.mixer.attention());
        for attention in attentions() {
            let shape = attention.shape;
            let first = attentions().find(|other| other.rope == attention.rope);
            let differs = attention.rope.is_some()
                && first.is_some_and(|first| first.shape.head_dim != shape.head_dim);
            if differs {
                let expected = "the same in all layers with the same rotary embedding";
                return Err(self.keys.wrong(&keys::HEAD_DIM, expected, &shape.head_dim));
            }
            let KeyValueSource::Layer(lender) = attention.source else {
                continue;
            };
            let lent = shapes(lender).map(|shape| (shape.head_dim, shape.kv_heads));
            if lent != Some((shape.head_dim, shape.kv_heads)) {
                let expected = "as many as in the layer whose keys and values are used";
                return Err(self.keys.wrong(&keys::KV_HEADS, expected, &shape.kv_heads));
            }
        }
        Ok(())
    }

    /// How many of the last layers use the keys and values of earlier ones.
    pub(super) fn sharing_layers(&self, layers: usize) -> Result<usize> {
        let key = &keys::SHARED_KEYS;
        if !self.preset.may_share_keys || self.keys.says_none(key) {
            return Ok(0);
        }
        let sharing = self.count(key)?.unwrap_or(0);
        if sharing > layers {
            let expected = format!("no more than the {layers} layers");
            return Err(self.keys.wrong(key, &expected, &sharing));
        }
        Ok(sharing)
    }

    pub(super) fn window(&self) -> Result<Option<usize>> {
        if self.keys.says_none(&keys::WINDOW) {
            return Ok(None);
        }
        let window = self.keys.size(&keys::WINDOW)?;
        Ok(window.or(self.preset.window))
    }

    /// Attention over compressed keys and values.
    pub(super) fn latent(&self, heads: usize) -> Result<LatentSpec> {
        let keys = self.keys;
        let query_rank = match keys.says_none(&keys::QUERY_RANK) {
            true => None,
            false => keys.size(&keys::QUERY_RANK)?,
        };
        let rotary_dim = keys.required(&keys::ROTARY_DIM)?;
        let plain_dim = match keys.size(&keys::PLAIN_DIM)? {
            Some(dim) => dim,
            None => {
                let older = keys.size(&keys::WHOLE_DIM_OF_HEAD)?;
                let whole = keys.size_or(&keys::WHOLE_DIM, older)?;
                whole
                    .checked_sub(rotary_dim)
                    .filter(|dim| *dim > 0)
                    .ok_or_else(|| {
                        let expected = format!("more than the {rotary_dim} that are rotated");
                        keys.wrong(&keys::WHOLE_DIM, &expected, &whole)
                    })?
            }
        };
        if !rotary_dim.is_multiple_of(2) {
            return Err(keys.wrong(&keys::ROTARY_DIM, "an even number", &rotary_dim));
        }
        let context_length = keys.required(&keys::CONTEXT_LENGTH)?;
        let rope = keys.rope(RopeFor::Full, self.preset, rotary_dim, context_length)?;
        let root = ((plain_dim + rotary_dim) as f64).powf(-0.5);
        Ok(LatentSpec {
            heads,
            query_rank,
            rank: keys.required(&keys::KEY_RANK)?,
            plain_dim,
            rotary_dim,
            value_dim: keys.size_or(&keys::VALUE_DIM, keys.size(&keys::VALUE_DIM_OF_HEAD)?)?,
            scale: (root * rope.latent_scale) as f32,
            rope: 0,
        })
    }

    pub(super) fn query_key_norm(&self) -> Result<QueryKeyNorm> {
        Ok(match self.preset.query_key_norm {
            _ if self.preset.may_lack_query_key_norm && self.keys.lacks_query_key_norm() => {
                QueryKeyNorm::None
            }
            // Converters make weights of the factor.
            QueryKeyNorm::Unweighted { .. } if self.keys.is_converted() => QueryKeyNorm::PerHead,
            QueryKeyNorm::Unweighted { query } => {
                let stated = self.keys.number(&keys::QUERY_NORM_FACTOR)?;
                QueryKeyNorm::Unweighted {
                    query: stated.map_or(query, |factor| factor as f32),
                }
            }
            norm => norm,
        })
    }
}
