//! Token recycling: what the target found likely behind a token, the last time that it stood somewhere.
//!
//! (2408.08696.)

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TokenSource;
use super::lookup::{Candidate, Lookup};
use crate::error::Result;

/// How many successors are kept.
pub const SUCCESSORS: usize = 8;

/// What no token is: a place that was not filled.
const NONE: u32 = u32::MAX;

/// The likeliest successors of every token, as they were found last; all requests of a decoder share them.
#[derive(Debug, Clone, Default)]
pub struct Successors(Arc<Mutex<Vec<[u32; SUCCESSORS]>>>);

impl Successors {
    /// Remembers what follows a token, likeliest first.
    pub fn remember(&self, token: u32, likeliest: &[u32]) {
        let table = &mut *self.table();
        let place = token as usize;
        if table.len() <= place {
            table.resize(place + 1, [NONE; SUCCESSORS]);
        }
        let mut row = [NONE; SUCCESSORS];
        for (slot, token) in row.iter_mut().zip(likeliest) {
            *slot = *token;
        }
        table[place] = row;
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
pub struct RecyclingLookup {
    successors: Successors,
    last: Option<u32>,
    nodes: Vec<u32>,
}

impl RecyclingLookup {
    /// With what other requests found.
    pub fn new(successors: &Successors) -> Self {
        Self {
            successors: successors.clone(),
            last: None,
            nodes: Vec::new(),
        }
    }
}

impl Lookup for RecyclingLookup {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.nodes.clear();
        self.last = text.last().copied();
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
                source: TokenSource::Recycling,
                evidence: rank,
            });
        }
    }
}
