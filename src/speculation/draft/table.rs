//! A table of texts like the target's own: what followed the last few tokens, and how often.
//!
//! It is bounded: where it is full, the rarest entries make room.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::TokenSource;
use super::lookup::{Candidate, Lookup};
use crate::error::Result;

/// Most tokens that an entry looks back at.
pub const ORDERS: usize = 4;

/// Different tokens that an entry remembers to have followed.
const SUCCESSORS: usize = 4;

/// Slots that an entry may lie in, from the one that its hash names.
const NEIGHBOURS: usize = 8;

/// The first number of slots, and the last; each takes 40 bytes.
const FEWEST_SLOTS: usize = 1 << 12;
const MOST_SLOTS: usize = 1 << 20;

/// Counts that all requests of a decoder share.
#[derive(Debug, Clone, Default)]
pub struct Table(Arc<RwLock<Slots>>);

#[derive(Debug, Clone, Default)]
struct Slots {
    slots: Vec<Slot>,
    used: usize,
}

/// What followed some tokens, which are known by their hash.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// 0: free.
    hash: u64,
    tokens: [u32; SUCCESSORS],
    counts: [u16; SUCCESSORS],
    /// All that followed, those included that are not remembered.
    total: u32,
}

impl Table {
    /// Counts the tokens of a text from a place on.
    pub fn learn(&self, text: &[u32], from: usize) {
        let slots = &mut *self.0.write().unwrap_or_else(PoisonError::into_inner);
        for place in from.max(1)..text.len() {
            for order in 1..=ORDERS.min(place) {
                slots.count(hash(&text[place - order..place]), text[place]);
            }
        }
    }

    /// A copy that goes its own way.
    pub(in crate::speculation) fn apart(&self) -> Self {
        Self(Arc::new(RwLock::new(self.slots().clone())))
    }

    fn slots(&self) -> RwLockReadGuard<'_, Slots> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn neighbours(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let length = self.slots.len();
        (0..NEIGHBOURS.min(length)).map(move |step| (hash as usize + step) % length)
    }

    fn find(&self, hash: u64) -> Option<&Slot> {
        let mut places = self.neighbours(hash);
        places
            .find(|place| self.slots[*place].hash == hash)
            .map(|place| &self.slots[place])
    }

    fn count(&mut self, hash: u64, token: u32) {
        if 2 * self.used >= self.slots.len() && self.slots.len() < MOST_SLOTS {
            self.grow();
        }
        let mut places = self.neighbours(hash);
        let known = places.find(|place| self.slots[*place].hash == hash);
        let place = known.unwrap_or_else(|| {
            let places = self.neighbours(hash);
            let rarest = places.min_by_key(|place| self.slots[*place].total);
            let place = rarest.unwrap_or(0);
            self.used += usize::from(self.slots[place].hash == 0);
            self.slots[place] = Slot {
                hash,
                ..Slot::default()
            };
            place
        });
        self.slots[place].count(token);
    }

    fn grow(&mut self) {
        let length = (2 * self.slots.len()).max(FEWEST_SLOTS);
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); length]);
        self.used = 0;
        for slot in old.into_iter().filter(|slot| slot.hash != 0) {
            let mut places = self.neighbours(slot.hash);
            if let Some(place) = places.find(|place| self.slots[*place].hash == 0) {
                self.slots[place] = slot;
                self.used += 1;
            }
        }
    }
}

impl Slot {
    fn count(&mut self, token: u32) {
        self.total += 1;
        let known = (0..SUCCESSORS).find(|place| self.counts[*place] > 0 && self.tokens[*place] == token);
        let rarest = (0..SUCCESSORS).min_by_key(|place| self.counts[*place]);
        let place = known.or(rarest).unwrap_or(0);
        if known.is_none() {
            self.tokens[place] = token;
            self.counts[place] = 0;
        }
        self.counts[place] = self.counts[place].saturating_add(1);
        if self.counts[place] == u16::MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total /= 2;
        }
    }

    /// What followed, most often first, with its share of all that did.
    fn successors(&self) -> Vec<(u32, f64)> {
        let pairs = self.tokens.into_iter().zip(self.counts);
        let mut pairs: Vec<(u32, u16)> = pairs.filter(|pair| pair.1 > 0).collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.1));
        let share = |count: u16| f64::from(count) / f64::from(self.total);
        pairs.into_iter().map(|(token, count)| (token, share(count))).collect()
    }
}

/// Tokens' hash, never 0.
fn hash(tokens: &[u32]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for token in tokens {
        hash = (hash ^ u64::from(*token)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    hash.max(1)
}

/// Proposes what followed the last tokens most often.
pub struct TableLookup {
    table: Table,
    here: Window,
    nodes: Vec<Window>,
}

/// The last tokens, the newest last.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    tokens: [u32; ORDERS],
    length: usize,
}

impl Window {
    fn of(text: &[u32]) -> Self {
        let last = &text[text.len().saturating_sub(ORDERS)..];
        last.iter().fold(Self::default(), |window, token| window.push(*token))
    }

    fn push(mut self, token: u32) -> Self {
        self.tokens.rotate_left(1);
        self.tokens[ORDERS - 1] = token;
        self.length = (self.length + 1).min(ORDERS);
        self
    }

    fn last(&self, order: usize) -> Option<&[u32]> {
        (order <= self.length).then(|| &self.tokens[ORDERS - order..])
    }
}

impl TableLookup {
    /// From such a table.
    pub fn new(table: &Table) -> Self {
        Self {
            table: table.clone(),
            here: Window::default(),
            nodes: Vec::new(),
        }
    }
}

impl Lookup for TableLookup {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.nodes.clear();
        self.here = Window::of(text);
        Ok(())
    }

    fn enter(&mut self, parent: Option<usize>, token: u32) {
        let window = parent.map_or(self.here, |node| self.nodes[node]);
        self.nodes.push(window.push(token));
    }

    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>) {
        let first = found.len();
        let window = node.map_or(self.here, |node| self.nodes[node]);
        let slots = self.table.slots();
        for order in (1..=ORDERS).rev() {
            let slot = window.last(order).and_then(|tokens| slots.find(hash(tokens)));
            for (token, share) in slot.map(Slot::successors).unwrap_or_default() {
                if found[first..].iter().all(|other| other.token != token) {
                    found.push(Candidate {
                        token,
                        source: TokenSource::Table,
                        evidence: evidence(order, share, slot.map_or(0, |slot| slot.total)),
                        prior: 0.5 * share,
                    });
                }
            }
        }
    }
}

/// The order, the share in quarters, and whether it was counted more than once.
fn evidence(order: usize, share: f64, total: u32) -> u8 {
    let quarter = ((4.0 * share) as u8).min(3);
    (order as u8 - 1) * 8 + quarter * 2 + u8::from(total > 2)
}
