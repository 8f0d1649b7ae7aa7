//! Keys and values of one sequence, in the precision that was asked for.

use super::attention::MAX_HEAD_ELEMENTS;
use super::cache::Cache;
use crate::error::{Error, Result};
use crate::{AttentionShape, CachePrecision};

/// Keys and values of one sequence.
pub struct KvCache(pub(super) Pages);

/// A cache's pages.
pub(super) enum Pages {
    /// Single precision.
    F32(Cache<f32>),
    /// Half precision.
    F16(Cache<u16>),
    /// Eight bits and scales.
    Q8(Cache<i8>),
}

impl KvCache {
    /// Without tokens, for layers of these shapes.
    pub(super) fn new(layers: &[AttentionShape], precision: CachePrecision) -> Result<Self> {
        let elements = layers.iter().map(|shape| shape.head_dim).max().unwrap_or(0);
        if elements > MAX_HEAD_ELEMENTS {
            let reason = format!(
                "heads of {elements} elements; this build computes with up to {MAX_HEAD_ELEMENTS}"
            );
            return Err(Error::unsupported("attention", reason));
        }
        Ok(KvCache(match precision {
            CachePrecision::F32 => Pages::F32(Cache::new(layers)),
            CachePrecision::Auto | CachePrecision::F16 => Pages::F16(Cache::new(layers)),
            CachePrecision::Q8_0 => Pages::Q8(Cache::new(layers)),
        }))
    }

    /// Makes room for `rows` tokens after the first `past`.
    pub(super) fn reserve(&mut self, past: usize, rows: usize) -> Result<()> {
        match &mut self.0 {
            Pages::F16(cache) => cache.reserve(past, rows),
            Pages::F32(cache) => cache.reserve(past, rows),
            Pages::Q8(cache) => cache.reserve(past, rows),
        }
    }

    /// A copy of the first `length` tokens.
    pub(super) fn fork(&self, length: usize) -> Self {
        Self(match &self.0 {
            Pages::F16(cache) => Pages::F16(cache.fork(length)),
            Pages::F32(cache) => Pages::F32(cache.fork(length)),
            Pages::Q8(cache) => Pages::Q8(cache.fork(length)),
        })
    }

    /// Accepts a path of the tokens after the first `past`.
    pub(super) fn accept(&mut self, past: usize, path: &[usize]) -> Result<()> {
        match &mut self.0 {
            Pages::F16(cache) => cache.accept(past, path),
            Pages::F32(cache) => cache.accept(past, path),
            Pages::Q8(cache) => cache.accept(past, path),
        }
    }
}
