//! Token recycling: proposes what the target considered most probable after a token when it last occurred.
//!
//! (2408.08696.)

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::RetrievalDrafter;
use crate::error::Result;
use crate::model::LogitsRow;
use crate::settings::DraftKind;
use crate::speculation::Candidate;

/// The number of successors that are stored for a token.
const SUCCESSORS: usize = 8;

/// An unused entry: no token has this id.
const NONE: u32 = u32::MAX;

/// The most probable successors of each token when it last occurred; all requests of a decoder share them.
#[derive(Debug, Clone, Default)]
pub struct Successors(Arc<Mutex<Vec<[u32; SUCCESSORS]>>>);

impl Successors {
    /// Stores the successors of a token, most probable first.
    fn store(&self, token: u32, successors: &[u32]) {
        let table = &mut *self.table();
        let index = token as usize;
        if table.len() <= index {
            table.resize(index + 1, [NONE; SUCCESSORS]);
        }
        let mut row = [NONE; SUCCESSORS];
        for (entry, token) in row.iter_mut().zip(successors) {
            *entry = *token;
        }
        table[index] = row;
    }

    /// An independent copy.
    pub(in crate::speculation) fn apart(&self) -> Self {
        Self(Arc::new(Mutex::new(self.table().clone())))
    }

    fn of(&self, token: u32) -> [u32; SUCCESSORS] {
        let row = self.table().get(token as usize).copied();
        row.unwrap_or([NONE; SUCCESSORS])
    }

    fn table(&self) -> MutexGuard<'_, Vec<[u32; SUCCESSORS]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Proposes the successors of each token.
pub struct RecyclingDrafter {
    successors: Successors,
    last: Option<u32>,
    nodes: Vec<u32>,
}

impl RecyclingDrafter {
    /// Uses and updates the successors of all requests.
    pub fn new(successors: &Successors) -> Self {
        Self {
            successors: successors.clone(),
            last: None,
            nodes: Vec::new(),
        }
    }
}

impl RetrievalDrafter for RecyclingDrafter {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.nodes.clear();
        self.last = text.last().copied();
        Ok(())
    }

    fn learn(&mut self, text: &[u32], logits: LogitsRow<'_>) -> Result<()> {
        if let Some(last) = text.last() {
            self.successors.store(*last, &logits.top_k(SUCCESSORS)?);
        }
        Ok(())
    }

    fn enter(&mut self, _parent: Option<usize>, token: u32) {
        self.nodes.push(token);
    }

    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>) {
        let token = node.map_or(self.last, |node| Some(self.nodes[node]));
        let Some(token) = token else { return };
        let successors = self.successors.of(token);
        for (rank, token) in (0..).zip(successors).filter(|(_, token)| *token != NONE) {
            found.push(Candidate {
                token,
                source: DraftKind::RECYCLING,
                feature: rank,
                prior: if rank == 0 {
                    0.35
                } else {
                    0.1 / f64::from(rank)
                },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(drafter: &RecyclingDrafter, node: Option<usize>) -> Vec<u32> {
        let mut found = Vec::new();
        drafter.candidates(node, &mut found);
        found.into_iter().map(|candidate| candidate.token).collect()
    }

    #[test]
    fn what_was_likely_last_is_proposed_to_all_requests() {
        let successors = Successors::default();
        let mut drafter = RecyclingDrafter::new(&successors);
        drafter
            .learn(&[5, 3], LogitsRow::from(&[0.0, 2.0, 1.0, 0.5][..]))
            .unwrap();
        drafter
            .learn(&[5, 1], LogitsRow::from(&[9.0, 0.0, 0.0, 0.0][..]))
            .unwrap();
        let mut other = RecyclingDrafter::new(&successors);
        other.follow(&[7, 3]).unwrap();
        other.enter(None, 1);
        other.enter(None, 2);
        assert_eq!(found(&other, None), [1, 2, 3, 0]);
        assert_eq!(found(&other, Some(0))[0], 0);
        assert!(found(&other, Some(1)).is_empty());
    }
}
