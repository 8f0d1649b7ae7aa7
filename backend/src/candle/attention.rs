//! Attention on Candle's tensors: rotary embedding, the cache of keys and values, and what rows see of it.

use candle_core::{DType, Tensor};
use candle_nn::{ops, rotary_emb};

use super::{CandleBackend, ROW_BY_ROW, Rotation};
use crate::error::Result;
use crate::{AttentionShape, Backend, Mask, Norm, Pairing, Segment, first_seen};

/// Positions by which a cache grows.
pub(super) const CACHE_STEP: usize = 256;

/// Keys and values of one sequence.
pub struct KvCache {
    /// A layer's keys and values, each `[kv_heads, capacity, head_dim]`.
    pub(super) layers: Vec<(Tensor, Tensor)>,
    pub(super) context_length: usize,
}

impl CandleBackend {
    /// Heads `[rows, heads, head_dim]`, normalized and rotated.
    pub(super) fn prepare(
        &self,
        mut heads: Tensor,
        norm: Option<&Norm<Self>>,
        rotation: Option<&Rotation>,
        rotated_first: bool,
    ) -> Result<Tensor> {
        let rotate = |heads: Tensor| match rotation {
            Some(rotation) => Self::rotate(&heads, rotation),
            None => Ok(heads),
        };
        if rotated_first {
            heads = rotate(heads)?;
        }
        if let Some(norm) = norm {
            heads = self.norm(&heads.contiguous()?, norm)?;
        }
        match rotated_first {
            true => Ok(heads),
            false => rotate(heads),
        }
    }

    /// Heads `[rows, heads, head_dim]`, rotated by their rows' positions.
    pub(super) fn rotate(x: &Tensor, rotation: &Rotation) -> Result<Tensor> {
        let head_dim = x.dim(2)?;
        let dims = 2 * rotation.cos.dim(1)?;
        let rotated = x.narrow(2, 0, dims)?.unsqueeze(0)?;
        let rotated = match rotation.pairing {
            Pairing::Halves => {
                rotary_emb::rope_thd(&rotated.contiguous()?, &rotation.cos, &rotation.sin)?
            }
            Pairing::Interleaved => {
                let heads_first = rotated.transpose(1, 2)?.contiguous()?;
                rotary_emb::rope_i(&heads_first, &rotation.cos, &rotation.sin)?.transpose(1, 2)?
            }
        };
        let rotated = rotated.squeeze(0)?;
        if dims == head_dim {
            return Ok(rotated);
        }
        Ok(Tensor::cat(
            &[&rotated, &x.narrow(2, dims, head_dim - dims)?],
            2,
        )?)
    }

    /// Scores, softmax and weighted values of queries `[kv_heads, queries, head_dim]` over keys and values
    /// `[kv_heads, positions, head_dim]`; `mask` is added to the scores, and `sinks` `[kv_heads, queries, 1]` follow them in the
    /// softmax.
    fn attend(
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        shape: &AttentionShape,
        mask: Option<&Tensor>,
        sinks: Option<&Tensor>,
    ) -> Result<Tensor> {
        // Scaled first: a product may exceed 16 bits.
        let queries = (queries * f64::from(shape.scale))?;
        let scores = queries.matmul(&keys.transpose(1, 2)?)?;
        let mut scores = scores.to_dtype(DType::F32)?;
        if let Some(cap) = shape.softcap {
            scores = softcap(&scores, cap)?;
        }
        if let Some(mask) = mask {
            scores = scores.broadcast_add(mask)?;
        }
        let positions = scores.dim(2)?;
        if let Some(sinks) = sinks {
            scores = Tensor::cat(&[&scores, sinks], 2)?;
        }
        let weights = ops::softmax_last_dim(&scores)?.narrow(2, 0, positions)?;
        let weights = if sinks.is_some() {
            weights.contiguous()?
        } else {
            weights
        };
        Ok(weights.to_dtype(values.dtype())?.matmul(values)?)
    }

    /// Attention of one segment's queries `[rows, heads, head_dim]`: `[rows, heads * head_dim]`.
    pub(super) fn attend_segment(
        &self,
        queries: &Tensor,
        (keys, values): &(Tensor, Tensor),
        seen: &Seen<'_>,
        shape: &AttentionShape,
        sinks: Option<&Tensor>,
    ) -> Result<Tensor> {
        let group = shape.heads / shape.kv_heads;
        let (rows, kv_heads, head_dim) = (seen.segment.rows, shape.kv_heads, shape.head_dim);
        let width = shape.heads * head_dim;
        // Of each head, for so many queries of each of the group's heads.
        let sinks = |queries: usize| -> Result<Option<Tensor>> {
            let Some(sinks) = sinks else {
                return Ok(None);
            };
            let sinks = sinks.to_dtype(DType::F32)?.reshape((kv_heads, group, 1))?;
            let each = sinks.broadcast_as((kv_heads, group, queries))?;
            Ok(Some(each.reshape((kv_heads, group * queries, 1))?))
        };
        if self.is_reference() && rows <= ROW_BY_ROW {
            let sinks = sinks(1)?;
            let rows = (0..rows).map(|row| {
                let queries = queries.narrow(0, row, 1)?;
                let queries = queries.reshape((kv_heads, group, head_dim))?;
                let [keys, values] = [keys, values].map(|cached| seen.gather(cached, row));
                let output = Self::attend(&queries, &keys?, &values?, shape, None, sinks.as_ref())?;
                Ok(output.reshape((1, width))?)
            });
            return Ok(Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)?);
        }
        let queries = queries
            .reshape((rows, kv_heads, group, head_dim))?
            .permute((1, 2, 0, 3))?
            .reshape((kv_heads, group * rows, head_dim))?;
        let (from, to) = (seen.first(), seen.end());
        let mask: Vec<f32> = (0..group * rows)
            .flat_map(|query| {
                (from..to).map(move |slot| match seen.sees(query % rows, slot) {
                    true => 0.0,
                    false => f32::NEG_INFINITY,
                })
            })
            .collect();
        let mask = Tensor::from_vec(mask, (1, group * rows, to - from), &self.device)?;
        let keys = keys.narrow(1, from, to - from)?;
        let values = values.narrow(1, from, to - from)?;
        let sinks = sinks(rows)?;
        let output = Self::attend(&queries, &keys, &values, shape, Some(&mask), sinks.as_ref())?;
        Ok(output
            .reshape((kv_heads, group, rows, head_dim))?
            .permute((2, 0, 1, 3))?
            .reshape((rows, width))?)
    }
}

/// The positions that the rows of a segment see.
pub(super) struct Seen<'a> {
    pub(super) segment: &'a Segment,
    pub(super) ancestors: &'a [u64],
    pub(super) window: Option<usize>,
}

impl Seen<'_> {
    /// The first position that any of the rows sees.
    fn first(&self) -> usize {
        self.first_of(self.segment.past)
    }

    /// The first position that a row at `position` sees.
    fn first_of(&self, position: usize) -> usize {
        first_seen(position, self.window)
    }

    /// The position after the last that any of the rows sees, or a tree's last slot.
    fn end(&self) -> usize {
        match self.segment.mask {
            Mask::Past => self.segment.past,
            Mask::Causal | Mask::Tree | Mask::Full => self.segment.past + self.segment.rows,
        }
    }

    /// Whether a row sees this slot of the cache.
    fn sees(&self, row: usize, slot: usize) -> bool {
        let first = self.first_of(self.segment.position(row, self.ancestors));
        if self.segment.mask != Mask::Tree || slot < self.segment.past {
            let last = self.segment.last_seen(row, self.ancestors);
            return (first..=last).contains(&slot);
        }
        let ancestor = slot - self.segment.past;
        self.ancestors[row] >> ancestor & 1 == 1
            && self.segment.position(ancestor, self.ancestors) >= first
    }

    /// The keys or values that a row sees, in the order of their positions.
    fn gather(&self, cached: &Tensor, row: usize) -> Result<Tensor> {
        let first = self.first_of(self.segment.position(row, self.ancestors));
        if self.segment.mask != Mask::Tree {
            let last = self.segment.last_seen(row, self.ancestors);
            return Ok(cached.narrow(1, first, last + 1 - first)?);
        }
        let slots = first..self.segment.past + self.segment.rows;
        let seen = slots.filter(|slot| self.sees(row, *slot));
        let seen: Vec<u32> = seen.map(|slot| slot as u32).collect();
        Ok(cached.index_select(&Tensor::new(seen, cached.device())?, 1)?)
    }
}

impl KvCache {
    /// Grows a layer to hold `length` tokens.
    fn reserve(&mut self, layer: usize, length: usize) -> Result<()> {
        let (keys, _) = &self.layers[layer];
        let (kv_heads, capacity, head_dim) = keys.dims3()?;
        if length <= capacity {
            return Ok(());
        }
        // Doubling keeps the copies' cost per token constant.
        let wanted = length.next_multiple_of(CACHE_STEP).max(2 * capacity);
        let wanted = wanted.min(self.context_length.max(length));
        let missing = (kv_heads, wanted - capacity, head_dim);
        let grow = |old: &Tensor| -> Result<Tensor> {
            let room = Tensor::zeros(missing, old.dtype(), old.device())?;
            Ok(Tensor::cat(&[old, &room], 1)?)
        };
        let (keys, values) = &self.layers[layer];
        self.layers[layer] = (grow(keys)?, grow(values)?);
        Ok(())
    }

    /// Writes keys and values `[rows, kv_heads, head_dim]` after the first `past` tokens.
    pub(super) fn append(
        &mut self,
        layer: usize,
        past: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<()> {
        self.reserve(layer, past + keys.dim(0)?)?;
        let (cached_keys, cached_values) = &self.layers[layer];
        cached_keys.slice_set(&keys.transpose(0, 1)?.contiguous()?, 1, past)?;
        cached_values.slice_set(&values.transpose(0, 1)?.contiguous()?, 1, past)?;
        Ok(())
    }
}

/// `cap * tanh(x / cap)`
pub(super) fn softcap(x: &Tensor, cap: f32) -> Result<Tensor> {
    let cap = f64::from(cap);
    Ok(((x / cap)?.tanh()? * cap)?)
}
