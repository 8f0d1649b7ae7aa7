//! The suffix array of a corpus: all positions of its tokens, in the order of what comes after them.
//!
//! All places where some tokens occur are neighbours in it, and so are, among them, those with the same token next. So a search
//! of one half and the other finds how often tokens occur, and what followed. A token takes 8 bytes, where an automaton of all
//! substrings takes more than 50, and a file needs not be read to be used: it is mapped.
//!
//! (Manber and Myers, 1990.)

use std::cmp::Ordering;
use std::ops::Range;
use std::path::Path;

use crate::error::Result;
use crate::files::{self, Access};
use crate::weights::MappedFile;

/// The first bytes of an index.
const MAGIC: [u8; 16] = *b"specdec corpus 1";

/// What follows them: the fingerprint of the vocabulary, the digest of the texts, and the number of tokens.
const HEADER: usize = 16 + 3 * 8;

/// The longest match. Places are in the order of one token more, so that equal ones that follow a match are neighbours.
pub(super) const DEPTH: usize = 63;

/// The bits of a token where three are compared at once.
const BITS: u32 = 21;

/// Stands after each text: no match reaches beyond its end.
pub(super) const END: u32 = (1 << BITS) - 1;

/// The most tokens: an index of 1 GiB, and three times as much memory while it is made.
pub(crate) const MAX_TOKENS: usize = 1 << 27;

/// What an index was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// That of the tokenizer's vocabulary.
    pub(crate) fingerprint: u64,
    /// Changes with the texts.
    pub(crate) digest: u64,
}

/// An index, mapped from its file.
#[derive(Debug)]
pub(crate) struct Index {
    file: MappedFile,
    tokens: usize,
}

/// Some tokens, and where they occur: a range of the suffix array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) length: usize,
    places: Range<usize>,
}

impl Index {
    /// Writes the index of texts, each of which ends with [`END`].
    pub(crate) fn write(path: &Path, origin: Origin, text: &[u32]) -> Result<()> {
        let suffixes = sorted_suffixes(text);
        let mut bytes = Vec::with_capacity(HEADER + 8 * text.len());
        bytes.extend(MAGIC);
        for number in [origin.fingerprint, origin.digest, text.len() as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(text.iter().flat_map(|token| token.to_le_bytes()));
        bytes.extend(suffixes.iter().flat_map(|place| place.to_le_bytes()));
        // Its texts can be read from it.
        files::write(path, &bytes, Access::Private)
    }

    /// Maps an index; `None`: there is none, or it was made of something else.
    pub(crate) fn open(path: &Path, origin: Origin) -> Result<Option<Self>> {
        if !path.is_file() {
            return Ok(None);
        }
        let file = MappedFile::open(path)?;
        let map = file.bytes();
        let number = |index: usize| {
            let start = 16 + 8 * index;
            let bytes = map.get(start..start + 8)?.try_into().ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        let tokens = number(2).and_then(|tokens| usize::try_from(tokens).ok());
        let tokens = tokens.filter(|tokens| {
            *tokens <= MAX_TOKENS && map.len() == HEADER + 8 * tokens && map.starts_with(&MAGIC)
        });
        let is_same = [number(0), number(1)] == [Some(origin.fingerprint), Some(origin.digest)];
        Ok(tokens
            .filter(|_| is_same)
            .map(|tokens| Self { file, tokens }))
    }

    /// How many tokens its texts have, ends included.
    pub(crate) fn len(&self) -> usize {
        self.tokens
    }

    /// Nothing, which occurs everywhere.
    pub(super) fn nothing(&self) -> Match {
        Match {
            length: 0,
            places: 0..self.tokens,
        }
    }

    /// A match with one more token; `None`: these do not occur, or are too many.
    pub(super) fn extend(&self, matched: &Match, token: u32) -> Option<Match> {
        let Match { length, places } = matched;
        if *length == DEPTH || token >= END {
            return None;
        }
        let next = |place: usize| self.after(place, *length);
        let start = first(places.clone(), |place| next(place) >= token);
        let end = first(start..places.end, |place| next(place) > token);
        (start < end).then_some(Match {
            length: length + 1,
            places: start..end,
        })
    }

    /// The longest end of a text that occurs, of at most so many tokens.
    pub(super) fn longest(&self, text: &[u32], most: usize) -> Match {
        let most = most.min(DEPTH).min(text.len());
        let tail = |length: usize| &text[text.len() - length..];
        // The end of what is copied.
        if let Some(found) = self.find(tail(most)) {
            return found;
        }
        // Most matches are short: lengths are doubled before they are halved.
        let mut best = self.nothing();
        let mut too_long = most;
        let mut length = 1;
        while length < too_long {
            match self.find(tail(length)) {
                Some(found) => best = found,
                None => too_long = length,
            }
            length *= 2;
        }
        while best.length + 1 < too_long {
            let middle = usize::midpoint(best.length, too_long);
            match self.find(tail(middle)) {
                Some(found) => best = found,
                None => too_long = middle,
            }
        }
        best
    }

    fn find(&self, tokens: &[u32]) -> Option<Match> {
        let mut tokens = tokens.iter();
        tokens.try_fold(self.nothing(), |matched, token| {
            self.extend(&matched, *token)
        })
    }

    /// What follows at up to so many places of a match, evenly spread over them.
    pub(super) fn successors(&self, matched: &Match, most: usize) -> impl Iterator<Item = u32> {
        let (length, places) = (matched.length, matched.places.clone());
        let step = places.len().div_ceil(most).max(1);
        places
            .step_by(step)
            .map(move |place| self.after(place, length))
    }

    /// The token so many tokens after a place of the suffix array; [`END`] beyond the texts.
    fn after(&self, place: usize, tokens: usize) -> u32 {
        let position = self.number(self.tokens + place) as usize;
        match position + tokens < self.tokens {
            true => self.number(position + tokens),
            false => END,
        }
    }

    fn number(&self, index: usize) -> u32 {
        let start = HEADER + 4 * index;
        let bytes = self.file.bytes().get(start..start + 4);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(END, u32::from_le_bytes)
    }
}

/// The first of some places from which on something holds; their end if it nowhere does.
fn first(places: Range<usize>, holds: impl Fn(usize) -> bool) -> usize {
    let Range { mut start, mut end } = places;
    while start < end {
        let middle = usize::midpoint(start, end);
        match holds(middle) {
            true => end = middle,
            false => start = middle + 1,
        }
    }
    start
}

/// All positions of a text, in the order of the tokens from there on: those of a longest match, and the next.
fn sorted_suffixes(text: &[u32]) -> Vec<u32> {
    let at = |position: usize| u64::from(text.get(position).copied().unwrap_or(END));
    // Most comparisons end with the first three tokens, which lie beside the position.
    let key =
        |position: usize| at(position) << (2 * BITS) | at(position + 1) << BITS | at(position + 2);
    let rest = |position: u32| {
        let start = (position as usize + 3).min(text.len());
        &text[start..(position as usize + DEPTH + 1).clamp(start, text.len())]
    };
    let positions = 0..text.len();
    let mut suffixes: Vec<(u64, u32)> = positions.map(|at| (key(at), at as u32)).collect();
    suffixes.sort_unstable_by(|a, b| match a.0.cmp(&b.0) {
        Ordering::Equal => compare(rest(a.1), rest(b.1)).then(a.1.cmp(&b.1)),
        order => order,
    });
    suffixes.into_iter().map(|(_, position)| position).collect()
}

/// The order of two ends of a text: after the shorter comes [`END`].
fn compare(a: &[u32], b: &[u32]) -> Ordering {
    let common = a.len().min(b.len());
    a[..common].cmp(&b[..common]).then(b.len().cmp(&a.len()))
}
