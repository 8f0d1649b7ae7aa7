//! What the sequences of all heads do: keys and values of their own, features that come in, passes of one segment.

use crate::architecture::ModelSpec;
use crate::backend::{AttentionShape, Backend, Batch, Mask, Segment, StorageType};
use crate::error::{Error, Result};
use crate::model::pass::Pass;

/// A cache for a head's keys and values, which are few: they are held as those of unquantized weights.
pub(super) fn kv_cache<B: Backend>(
    backend: &B,
    layers: &[AttentionShape],
    context_length: usize,
) -> Result<B::KvCache> {
    let precision = backend.cache_precision(StorageType::F32);
    Ok(backend.kv_cache(layers, precision, context_length)?)
}

/// Fails unless there are tokens, at least one, each with so many values of the target's hidden states.
pub(super) fn check_features(tokens: &[u32], features: &[f32], width: usize) -> Result<()> {
    if tokens.is_empty() || features.len() != tokens.len() * width {
        let (found, rows) = (features.len(), tokens.len());
        let reason = format!("{found} features where {rows} rows of {width} were due");
        return Err(Error::Compute(reason));
    }
    Ok(())
}

/// The target's hidden states of some tokens, at least one, as rows of this width.
pub(super) fn captured<B: Backend>(
    backend: &B,
    tokens: &[u32],
    features: &[f32],
    width: usize,
) -> Result<B::Activations> {
    check_features(tokens, features, width)?;
    Ok(backend.rows(features, width)?)
}

/// Runs some rows after the first `past` tokens of a cache.
pub(super) fn run<B: Backend, T>(
    (backend, spec): (&B, &ModelSpec),
    cache: &mut B::KvCache,
    past: usize,
    (rows, mask): (usize, Mask),
    work: impl FnOnce(&mut Pass<'_, '_, B>) -> Result<T>,
) -> Result<T> {
    let segments = [Segment {
        past,
        first_row: 0,
        rows,
        mask,
        provisional: 0,
        is_stretched: false,
    }];
    let batch = Batch {
        segments: &segments,
        ancestors: &[],
    };
    let step = backend.begin(batch, &spec.ropes)?;
    let mut pass = Pass {
        backend,
        step: &step,
        batch,
        caches: &mut [cache],
        states: &mut [],
        inputs: None,
    };
    work(&mut pass)
}

/// The error of a sequence that is asked for what follows before it has a token.
pub(super) fn no_last_token() -> Error {
    Error::Compute("a head has no last token".into())
}
