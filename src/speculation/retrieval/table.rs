//! An n-gram table of texts like the target's own: what followed the last few tokens, and how often.
//!
//! Its size is bounded: if it is full, new entries replace the rarest ones.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::RetrievalDrafter;
use crate::error::{Error, Result};
use crate::files::{self, Access};
use crate::settings::DraftKind;
use crate::speculation::Candidate;

/// The first bytes of a table's file.
const MAGIC: &[u8; 16] = b"specdec table 1\n";

/// Phrases of SmolLM2's answers to questions of its own, and how many tokens its vocabulary has (`benches/default_table.py`).
const SMOLLM2: (&[u8], usize) = (include_bytes!("smollm2.table"), 49_152);

/// The maximum number of tokens in an entry's n-gram.
pub const ORDERS: usize = 4;

/// The number of different successors that an entry stores.
const SUCCESSORS: usize = 4;

/// The number of slots that are probed for an entry, starting at that of its hash.
const NEIGHBOURS: usize = 8;

/// The first and the maximum number of slots; each takes 40 bytes.
const MIN_SLOTS: usize = 1 << 12;
const MAX_SLOTS: usize = 1 << 20;

/// Counts that all requests of a decoder share.
#[derive(Debug, Clone, Default)]
pub struct Table(Arc<RwLock<Slots>>);

#[derive(Debug, Clone, Default)]
struct Slots {
    slots: Vec<Slot>,
    used: usize,
}

/// The successors of an n-gram, which is identified by its hash.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// 0: free.
    hash: u64,
    tokens: [u32; SUCCESSORS],
    counts: [u16; SUCCESSORS],
    /// The count of all successors, including those that are not stored.
    total: u32,
}

impl Table {
    /// What models of a vocabulary draft from before anything is learned: the table that comes with the default model, or an
    /// empty one.
    pub fn of_vocabulary(tokens: usize, fingerprint: impl FnOnce() -> u64) -> Self {
        let (table, own) = SMOLLM2;
        let mut slots = Slots::default();
        if tokens != own || slots.read(table, fingerprint()).is_err() {
            return Self::default();
        }
        Self(Arc::new(RwLock::new(slots)))
    }

    /// Counts the tokens of a text from an index on.
    pub fn learn(&self, text: &[u32], from: usize) {
        let slots = &mut *self.0.write().unwrap_or_else(PoisonError::into_inner);
        for index in from.max(1)..text.len() {
            for order in 1..=ORDERS.min(index) {
                slots
                    .entry(hash(&text[index - order..index]))
                    .count(text[index]);
            }
        }
    }

    /// Whether nothing was learned.
    pub fn is_empty(&self) -> bool {
        self.slots().used == 0
    }

    /// Writes the table to a file, with the fingerprint of its vocabulary.
    ///
    /// The file has the 16 bytes "specdec table 1\\n", the fingerprint (u64) and the number of entries (u64); then, for each
    /// entry, its hash (u64), 4 tokens (u32), their counts (u16) and the total (u32). All numbers are little-endian.
    pub fn save(&self, path: &Path, fingerprint: u64) -> Result<()> {
        let mut bytes = Vec::new();
        // The lock is released before the disk is written.
        let encoded = self.slots().write(&mut bytes, fingerprint);
        encoded.map_err(|error| Error::io(path, error))?;
        // Parts of the texts can be recovered from a table.
        files::write(path, &bytes, Access::Private)
    }

    /// Replaces the contents by those of a file, which must be for a vocabulary with that fingerprint.
    pub fn load(&self, path: &Path, fingerprint: u64) -> Result<()> {
        let file = files::open(path)?;
        let mut slots = Slots::default();
        slots
            .read(BufReader::new(file), fingerprint)
            .map_err(|error| {
                let reason = match error.kind() {
                    io::ErrorKind::UnexpectedEof => "the table ends too early".to_owned(),
                    _ => error.to_string(),
                };
                Error::CorruptModel {
                    file: path.to_owned(),
                    reason,
                }
            })?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = slots;
        Ok(())
    }

    /// An independent copy.
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
        (0..NEIGHBOURS.min(length)).map(move |step| (hash as usize % length + step) % length)
    }

    fn find(&self, hash: u64) -> Option<&Slot> {
        let mut indices = self.neighbours(hash);
        indices
            .find(|index| self.slots[*index].hash == hash)
            .map(|index| &self.slots[index])
    }

    /// The entry of a hash: if there is none, a new one that replaces the rarest of its neighbours.
    fn entry(&mut self, hash: u64) -> &mut Slot {
        if 2 * self.used >= self.slots.len() && self.slots.len() < MAX_SLOTS {
            self.grow();
        }
        let mut indices = self.neighbours(hash);
        let known = indices.find(|index| self.slots[*index].hash == hash);
        let index = known.unwrap_or_else(|| {
            let indices = self.neighbours(hash);
            let rarest = indices.min_by_key(|index| self.slots[*index].total);
            let index = rarest.unwrap_or(0);
            self.used += usize::from(self.slots[index].hash == 0);
            self.slots[index] = Slot {
                hash,
                ..Slot::default()
            };
            index
        });
        &mut self.slots[index]
    }

    fn grow(&mut self) {
        let length = (2 * self.slots.len()).max(MIN_SLOTS);
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); length]);
        self.used = 0;
        for slot in old.into_iter().filter(|slot| slot.hash != 0) {
            let mut indices = self.neighbours(slot.hash);
            if let Some(index) = indices.find(|index| self.slots[*index].hash == 0) {
                self.slots[index] = slot;
                self.used += 1;
            }
        }
    }
}

impl Slots {
    fn write(&self, file: &mut impl Write, fingerprint: u64) -> io::Result<()> {
        file.write_all(MAGIC)?;
        file.write_all(&fingerprint.to_le_bytes())?;
        file.write_all(&(self.used as u64).to_le_bytes())?;
        for slot in self.slots.iter().filter(|slot| slot.hash != 0) {
            file.write_all(&slot.hash.to_le_bytes())?;
            for token in slot.tokens {
                file.write_all(&token.to_le_bytes())?;
            }
            for count in slot.counts {
                file.write_all(&count.to_le_bytes())?;
            }
            file.write_all(&slot.total.to_le_bytes())?;
        }
        Ok(())
    }

    fn read(&mut self, mut file: impl Read, fingerprint: u64) -> io::Result<()> {
        let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
        if read::<16>(&mut file)? != *MAGIC {
            return Err(invalid("no table that `specdec tune --learn` wrote"));
        }
        if u64::from_le_bytes(read(&mut file)?) != fingerprint {
            return Err(invalid(
                "a table for another vocabulary: learn one with this model",
            ));
        }
        let entries = u64::from_le_bytes(read(&mut file)?);
        if entries > MAX_SLOTS as u64 {
            return Err(invalid("more entries than a table holds"));
        }
        for _ in 0..entries {
            let mut slot = Slot {
                hash: u64::from_le_bytes(read(&mut file)?),
                ..Slot::default()
            };
            for token in &mut slot.tokens {
                *token = u32::from_le_bytes(read(&mut file)?);
            }
            for count in &mut slot.counts {
                *count = u16::from_le_bytes(read(&mut file)?);
            }
            let counted: u32 = slot.counts.into_iter().map(u32::from).sum();
            slot.total = u32::from_le_bytes(read(&mut file)?).max(counted);
            if slot.hash == 0 {
                return Err(invalid("an entry without a hash"));
            }
            *self.entry(slot.hash) = slot;
        }
        match file.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(invalid("bytes after the table's end")),
        }
    }
}

fn read<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Slot {
    fn count(&mut self, token: u32) {
        self.total = self.total.saturating_add(1);
        let known =
            (0..SUCCESSORS).find(|index| self.counts[*index] > 0 && self.tokens[*index] == token);
        let rarest = (0..SUCCESSORS).min_by_key(|index| self.counts[*index]);
        let index = known.or(rarest).unwrap_or(0);
        if known.is_none() {
            self.tokens[index] = token;
            self.counts[index] = 0;
        }
        self.counts[index] = self.counts[index].saturating_add(1);
        if self.counts[index] == u16::MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total /= 2;
        }
    }

    /// The successors, most frequent first, each with its share of the total.
    fn successors(&self) -> Vec<(u32, f64)> {
        let pairs = self.tokens.into_iter().zip(self.counts);
        let mut pairs: Vec<(u32, u16)> = pairs.filter(|pair| pair.1 > 0).collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.1));
        let share = |count: u16| f64::from(count) / f64::from(self.total);
        pairs
            .into_iter()
            .map(|(token, count)| (token, share(count)))
            .collect()
    }
}

/// The hash of some tokens, never 0.
fn hash(tokens: &[u32]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for token in tokens {
        hash = (hash ^ u64::from(*token)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    hash.max(1)
}

/// Proposes what followed the last tokens most often.
pub struct TableDrafter {
    table: Table,
    current: Window,
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
        last.iter()
            .fold(Self::default(), |window, token| window.push(*token))
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

impl TableDrafter {
    /// A drafter for a table.
    pub fn new(table: &Table) -> Self {
        Self {
            table: table.clone(),
            current: Window::default(),
            nodes: Vec::new(),
        }
    }
}

impl RetrievalDrafter for TableDrafter {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.nodes.clear();
        self.current = Window::of(text);
        Ok(())
    }

    fn enter(&mut self, parent: Option<usize>, token: u32) {
        let window = parent.map_or(self.current, |node| self.nodes[node]);
        self.nodes.push(window.push(token));
    }

    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>) {
        let first = found.len();
        let window = node.map_or(self.current, |node| self.nodes[node]);
        let slots = self.table.slots();
        for order in (1..=ORDERS).rev() {
            let slot = window
                .last(order)
                .and_then(|tokens| slots.find(hash(tokens)));
            for (token, share) in slot.map(Slot::successors).unwrap_or_default() {
                if found[first..].iter().all(|other| other.token != token) {
                    found.push(Candidate {
                        token,
                        source: DraftKind::TABLE,
                        feature: feature(order, share, slot.map_or(0, |slot| slot.total)),
                        prior: 0.5 * share,
                    });
                }
            }
        }
    }
}

/// The order, the share in quarters, and whether the n-gram was counted more than twice.
fn feature(order: usize, share: f64, total: u32) -> u8 {
    let quarter = ((4.0 * share) as u8).min(3);
    (order as u8 - 1) * 8 + quarter * 2 + u8::from(total > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(table: &Table, text: &[u32]) -> Vec<u32> {
        let mut drafter = TableDrafter::new(table);
        drafter.follow(text).unwrap();
        let mut found = Vec::new();
        drafter.candidates(None, &mut found);
        found.into_iter().map(|candidate| candidate.token).collect()
    }

    fn learned() -> Table {
        let table = Table::default();
        table.learn(&[1, 2, 3, 1, 2, 3, 9, 2, 4], 0);
        table
    }

    #[test]
    fn longer_contexts_and_more_frequent_successors_come_first() {
        let table = learned();
        assert_eq!(found(&table, &[1, 2]), [3, 4]);
        assert_eq!(found(&table, &[9, 2]), [4, 3]);
        assert!(found(&table, &[7]).is_empty());
        assert!(!table.is_empty() && Table::default().is_empty());
    }

    #[test]
    fn nodes_continue_their_parents() {
        let table = learned();
        let mut drafter = TableDrafter::new(&table);
        drafter.follow(&[7, 1]).unwrap();
        drafter.enter(None, 2);
        drafter.enter(Some(0), 3);
        let mut candidates = Vec::new();
        drafter.candidates(Some(1), &mut candidates);
        let tokens: Vec<u32> = candidates.iter().map(|c| c.token).collect();
        assert_eq!(tokens[0], 1);
    }

    #[test]
    fn files_hold_the_whole_table_and_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        let table = learned();
        table.save(&path, 5).unwrap();
        let other = Table::default();
        other.load(&path, 5).unwrap();
        for text in [&[1, 2][..], &[9, 2], &[3]] {
            assert_eq!(found(&other, text), found(&table, text));
        }
        let refused = |bytes: &[u8], fingerprint: u64| {
            std::fs::write(&path, bytes).unwrap();
            other.load(&path, fingerprint).unwrap_err().to_string()
        };
        let bytes = std::fs::read(&path).unwrap();
        assert!(refused(&bytes, 6).contains("another vocabulary"));
        assert!(refused(b"no table at all, but a text", 5).contains("no table"));
        assert!(refused(&bytes[..bytes.len() - 1], 5).contains("ends too early"));
        assert!(refused(&[&bytes[..], b"x"].concat(), 5).contains("after the table"));
        let mut many = bytes.clone();
        many[24..32].fill(255);
        assert!(refused(&many, 5).contains("more entries"));
        assert_eq!(found(&other, &[1, 2]), [3, 4]);
    }

    #[test]
    fn every_hash_has_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        for hash in [1, u64::MAX - 1, u64::MAX] {
            let entry: Vec<u8> = [&hash.to_le_bytes()[..], &[1; 28]].concat();
            let header = [&MAGIC[..], &5_u64.to_le_bytes(), &1_u64.to_le_bytes()].concat();
            let file = [header, entry].concat();
            std::fs::write(&path, &file).unwrap();
            let table = Table::default();
            table.load(&path, 5).unwrap();
            assert!(table.slots().find(hash).is_some());
            table.save(&path, 5).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), file);
        }
    }

    #[test]
    fn a_full_table_forgets_rare_entries() {
        let table = Table::default();
        for _ in 0..50 {
            table.learn(&[1, 2], 0);
        }
        let many: Vec<u32> = (0..2_000_000)
            .map(|index: u32| index.wrapping_mul(2_654_435_761))
            .collect();
        table.learn(&many, 0);
        assert_eq!(found(&table, &[1])[0], 2);
        assert!(table.slots().slots.len() <= MAX_SLOTS);
    }
}
