//! Recurrent layers of backends that compute them on the host.

use std::sync::Arc;

use super::super::map::{Parts, map_rows};
use super::super::pool::Pool;
use super::super::rows::{BufferPool, Rows};
use super::super::tier::Tier;
use super::recur;
use crate::error::{Error, Result};
use crate::{Batch, HostRows, Recurrence, RecurrentState, RowMap};

/// Recurrent layers of backends that compute them on the host.
pub(crate) struct HostRecurrence {
    tier: Tier,
    buffers: Arc<BufferPool>,
}

impl HostRecurrence {
    /// On one thread, with the best instructions: all compute the same bits.
    pub(crate) fn new() -> Self {
        let mut available = Tier::ALL.iter().filter(|tier| tier.is_available());
        Self {
            tier: available.next_back().copied().unwrap_or(Tier::Scalar),
            buffers: Arc::default(),
        }
    }

    /// [`Backend::recur`]
    pub(crate) fn recur(
        &self,
        inputs: &[f32],
        recurrence: &Recurrence,
        states: &mut [&mut RecurrentState],
        batch: Batch<'_>,
    ) -> Result<Rows> {
        let one_by_one = |items: usize, work: &(dyn Fn(usize) + Sync)| (0..items).for_each(work);
        let memory = (self.tier, &self.buffers);
        recur(inputs, recurrence, states, batch, memory, &one_by_one)
    }

    /// [`Backend::map_rows`] of parts of so many rows.
    pub(crate) fn map_rows(&self, parts: &[HostRows], rows: usize, map: &RowMap) -> Result<Rows> {
        let parts = parts.iter().map(|part| {
            let values = part.values();
            Rows::of_values(&self.buffers, values, values.len() / rows.max(1))
        });
        let parts: Vec<Rows> = parts.collect();
        let Some((x, more)) = parts.split_first() else {
            return Err(Error::Compute("a map of rows without any".into()));
        };
        let mut output = Rows::new(&self.buffers, rows, map.width(x.width));
        let work = Parts { map, more };
        map_rows(x, &mut output, &work, self.tier, &Pool::shared(Some(1)));
        Ok(output)
    }
}
