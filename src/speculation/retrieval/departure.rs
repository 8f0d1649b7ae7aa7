//! Where a text may come back to another one that it copied and has departed from: an edit leaves out, replaces or inserts a
//! few tokens, and copies on.

use super::{Candidate, DraftKind};
use crate::speculation::candidate::MAX_FEATURES;

/// How many of the copied text's tokens an edit may leave out.
const REACH: usize = 32;

/// How many tokens an edit may insert, or put in the place of others.
const MAX_EDITED: usize = 4;

/// A guess that so many tokens have confirmed holds.
const CONFIRMED: usize = 2;

/// The first feature of guesses, after those of other candidates; each kind of edit has [`CONFIRMED`] of them.
const FIRST_FEATURE: u8 = 32;
const _: () = assert!(FIRST_FEATURE as usize + EDIT_PRIORS.len() * CONFIRMED <= MAX_FEATURES);

/// What an edit may have done: it left tokens out, replaced as many as there are, or inserted them; and how likely it is taken to
/// be, before anything is measured, that the text goes on accordingly.
const EDIT_PRIORS: [f64; 3] = [0.35, 0.4, 0.3];

/// The prior of a guess that a token has confirmed.
const CONFIRMED_PRIOR: f64 = 0.7;

/// A departure from a copied text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure {
    /// The index of the first token that was not copied.
    at: usize,
    /// How many tokens there are since then.
    edited: usize,
    /// For each of [`EDIT_PRIORS`], if it is possible.
    guesses: [Option<Guess>; EDIT_PRIORS.len()],
}

/// That the text goes on with the copied one at an index.
#[derive(Debug, Clone, Copy)]
struct Guess {
    next: usize,
    /// How many tokens did so since the departure.
    agreed: usize,
}

impl Departure {
    /// The text has `token` where the copied one has another, at an index.
    pub(super) fn new(at: usize, token: u32, copied: impl Fn(usize) -> Option<u32>) -> Self {
        Self::after(at, 1, token, copied)
    }

    /// The index of the first token that was not copied.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn after(at: usize, edited: usize, token: u32, copied: impl Fn(usize) -> Option<u32>) -> Self {
        let mut later = at + 1..at + 1 + REACH;
        let found = later.find(|index| copied(*index) == Some(token));
        let goes_on = |next| Some(Guess { next, agreed: 0 });
        let left_out = found.map(|index| Guess {
            next: index + 1,
            agreed: 0,
        });
        Self {
            at,
            edited,
            guesses: [left_out, goes_on(at + edited), goes_on(at)],
        }
    }

    /// After one more token; `None`: the text has gone too far.
    pub(super) fn advance(self, token: u32, copied: impl Fn(usize) -> Option<u32>) -> Option<Self> {
        let agree = |guess: Guess| {
            (copied(guess.next) == Some(token)).then_some(Guess {
                next: guess.next + 1,
                agreed: guess.agreed + 1,
            })
        };
        let guesses = self.guesses.map(|guess| guess.and_then(agree));
        let edited = self.edited + 1;
        if guesses.iter().any(Option::is_some) {
            return Some(Self {
                edited,
                guesses,
                ..self
            });
        }
        if let Some((next, _)) = self.resumed() {
            return Some(Self::new(next, token, copied));
        }
        (edited <= MAX_EDITED).then(|| Self::after(self.at, edited, token, copied))
    }

    /// The index at which the text goes on with the copied one, and how many tokens show it; `None`: fewer than two.
    pub(super) fn resumed(&self) -> Option<(usize, usize)> {
        let mut guesses = self.guesses.iter().flatten();
        let confirmed = guesses.find(|guess| guess.agreed >= CONFIRMED);
        confirmed.map(|guess| (guess.next, guess.agreed))
    }

    /// Whether a token has shown where the text goes on.
    pub(super) fn is_resuming(&self) -> bool {
        self.guesses.iter().flatten().any(|guess| guess.agreed > 0)
    }

    /// Appends what each guess says about the next token, unless it was found before.
    pub(super) fn candidates(
        &self,
        source: DraftKind,
        copied: impl Fn(usize) -> Option<u32>,
        found: &mut Vec<Candidate>,
    ) {
        let first = found.iter().position(|other| other.source == source);
        let first = first.unwrap_or(found.len());
        for (kind, guess) in self.guesses.iter().enumerate() {
            let Some(guess) = guess else { continue };
            let Some(token) = copied(guess.next) else {
                continue;
            };
            if found[first..].iter().any(|other| other.token == token) {
                continue;
            }
            let agreed = guess.agreed.min(CONFIRMED - 1);
            found.push(Candidate {
                token,
                source,
                feature: FIRST_FEATURE + (kind * CONFIRMED + agreed) as u8,
                prior: match agreed {
                    0 => EDIT_PRIORS[kind],
                    _ => CONFIRMED_PRIOR,
                },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPIED: [u32; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

    fn copied(index: usize) -> Option<u32> {
        COPIED.get(index).copied()
    }

    /// What may come after tokens that stand where token 3 was.
    fn after(tokens: &[u32]) -> Option<Vec<u32>> {
        let mut departure = Departure::new(3, tokens[0], copied);
        for token in &tokens[1..] {
            departure = departure.advance(*token, copied)?;
        }
        let mut found = Vec::new();
        departure.candidates(DraftKind::NGRAM, copied, &mut found);
        Some(found.iter().map(|candidate| candidate.token).collect())
    }

    #[test]
    fn an_edit_leaves_out_replaces_or_inserts() {
        assert_eq!(after(&[6]), Some(vec![7, 4, 3]));
        assert_eq!(after(&[50]), Some(vec![4, 3]));
        assert_eq!(after(&[50, 51]), Some(vec![5, 3]));
        // One token confirms a guess, and refutes the others.
        assert_eq!(after(&[6, 7]), Some(vec![8]));
        assert_eq!(after(&[50, 4]), Some(vec![5]));
        assert_eq!(after(&[50, 3]), Some(vec![4]));
        assert_eq!(after(&[50, 51, 52, 53]), Some(vec![7, 3]));
        assert_eq!(after(&[50, 51, 52, 53, 54]), None);
        // Tokens that seemed to confirm one count.
        assert_eq!(after(&[50, 4, 99]), Some(vec![6, 3]));
        // What two tokens have confirmed is departed from anew.
        assert_eq!(after(&[50, 4, 5, 99]), Some(vec![7, 6]));
    }

    #[test]
    fn two_tokens_end_it() {
        let departure = Departure::new(3, 50, copied);
        let departure = departure.advance(4, copied).unwrap();
        assert!(departure.resumed().is_none() && departure.is_resuming());
        let departure = departure.advance(5, copied).unwrap();
        assert_eq!(departure.resumed(), Some((6, 2)));
        assert_eq!(departure.at(), 3);
    }
}
