//! A batch cut into the steps that compute it.

use std::ops::Range;

use smallvec::SmallVec;

use crate::error::Result;
use crate::model::language_model::Extend;
use crate::model::tree::Parents;

/// Most rows computed at once in prefilling; bounds the memory of a step.
pub(super) const MAX_STEP_ROWS: usize = 512;

/// What a step needs for each of its rows; on the stack, while they are as few as when decoding.
pub(super) type PerRow<T> = SmallVec<[T; 32]>;
/// What a step needs for each of its sequences.
pub(super) type PerSequence<T> = SmallVec<[T; 8]>;

/// A run of tokens of one sequence of a batch that is computed in one step.
pub(super) struct Chunk {
    /// Index into the batch.
    pub(super) sequence: usize,
    /// Indices into the tokens to append.
    pub(super) tokens: Range<usize>,
}

/// The chunks of one step.
type Chunks = PerSequence<Chunk>;

/// Cuts a batch into steps and computes them; a sequence appears once in a step.
///
/// What a sequence gets doesn't depend on the batch it is in, where the backend can do so. So rows whose logits are wanted
/// are computed few enough at a time to be exact; and those before them, unless larger steps are as good, as many as
/// memory allows, but apart from other sequences. A chunk of wanted rows of a sequence that starts at a token ends before
/// `wanted_end` of both.
pub(super) fn for_each_step(
    batch: &[Extend<'_>],
    batch_invariant_rows: usize,
    wanted_end: impl Fn(usize, usize) -> usize,
    mut compute: impl FnMut(&[Chunk]) -> Result<()>,
) -> Result<()> {
    // A tree is computed at once, and is small.
    let first_shared = |extend: &Extend<'_>| match extend.parents {
        Parents::Chain if batch_invariant_rows < MAX_STEP_ROWS => extend.tokens.len() - extend.rows,
        Parents::Chain | Parents::Tree(_) => 0,
    };
    for (sequence, extend) in batch.iter().enumerate() {
        let end = first_shared(extend);
        for start in (0..end).step_by(MAX_STEP_ROWS) {
            let tokens = start..end.min(start + MAX_STEP_ROWS);
            compute(&[Chunk { sequence, tokens }])?;
        }
    }
    let max_rows = MAX_STEP_ROWS.min(batch_invariant_rows);
    let (mut chunks, mut room) = (Chunks::new(), max_rows);
    for (sequence, extend) in batch.iter().enumerate() {
        let mut rest = first_shared(extend)..extend.tokens.len();
        while !rest.is_empty() {
            let needed = match extend.parents {
                Parents::Chain => 1,
                Parents::Tree(_) => rest.len(),
            };
            if room < needed {
                compute(&chunks)?;
                (chunks, room) = (Chunks::new(), max_rows);
            }
            let end = match extend.parents {
                Parents::Chain => rest.end.min(wanted_end(sequence, rest.start)),
                Parents::Tree(_) => rest.end,
            };
            let tokens = rest.start..end.min(rest.start.saturating_add(room));
            room -= tokens.len();
            rest.start = tokens.end;
            let is_cut = tokens.end == end && !rest.is_empty();
            chunks.push(Chunk { sequence, tokens });
            if is_cut {
                // A sequence appears once in a step.
                compute(&chunks)?;
                (chunks, room) = (Chunks::new(), max_rows);
            }
        }
    }
    if chunks.is_empty() {
        return Ok(());
    }
    compute(&chunks)
}
