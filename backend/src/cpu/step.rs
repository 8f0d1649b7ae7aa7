//! The data that all layers of a step share: its segments, and the rotary embeddings at its rows' positions.

use std::sync::{Arc, Mutex, PoisonError};

use super::attention::Rotation;
use crate::{Batch, Pairing, Rope, Segment};

/// Tables of past steps, which later ones reuse.
pub(super) type ReusableTables = Arc<Mutex<Vec<Tables>>>;

/// The data that all layers of a step share.
pub struct Step {
    tables: Tables,
    reusable: ReusableTables,
}

/// Reused from step to step, so that later ones allocate nothing.
#[derive(Default)]
pub(super) struct Tables {
    segments: Vec<Segment>,
    ancestors: Vec<u64>,
    rotations: Vec<RotationTable>,
}

impl Drop for Step {
    fn drop(&mut self) {
        let tables = std::mem::take(&mut self.tables);
        self.reusable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(tables);
    }
}

/// One rotary embedding at the rows' positions.
#[derive(Default)]
struct RotationTable {
    /// Cosines and sines, `[rows][pairs]`.
    angles: Vec<(f32, f32)>,
    /// A factor on each row's queries.
    query_factors: Vec<f32>,
    pairs: usize,
    pairing: Option<Pairing>,
}

impl Step {
    pub(super) fn new(reusable: &ReusableTables, batch: Batch<'_>, ropes: &[Rope]) -> Self {
        let tables = reusable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut tables = tables.unwrap_or_default();
        tables.segments.clear();
        tables.segments.extend_from_slice(batch.segments);
        tables.ancestors.clear();
        tables.ancestors.extend_from_slice(batch.ancestors);
        tables
            .rotations
            .resize_with(ropes.len(), RotationTable::default);
        for (table, rope) in tables.rotations.iter_mut().zip(ropes) {
            let rotations = batch.rotations();
            table.angles.clear();
            table.angles.extend(
                rotations.flat_map(|(position, is_stretched)| {
                    rope.angles(position as u32, is_stretched)
                }),
            );
            table.query_factors.clear();
            let factors = batch
                .positions()
                .map(|position| rope.query_factor(position));
            table.query_factors.extend(factors);
            table.pairs = rope.frequencies.len();
            table.pairing = Some(rope.pairing);
        }
        Self {
            tables,
            reusable: reusable.clone(),
        }
    }

    pub(super) fn batch(&self) -> Batch<'_> {
        Batch {
            segments: &self.tables.segments,
            ancestors: &self.tables.ancestors,
        }
    }

    /// One of the step's rotary embeddings, by its index.
    pub(super) fn rotation(&self, rope: usize) -> Option<Rotation<'_>> {
        let table = &self.tables.rotations[rope];
        Some(Rotation {
            angles: &table.angles,
            query_factors: &table.query_factors,
            pairs: table.pairs,
            pairing: table.pairing?,
        })
    }
}
