//! A text that the caller expects the output to resemble, as an edit resembles what is edited (OpenAI's Predicted Outputs).

use ahash::AHashMap;

use super::departure::Departure;
use super::{RetrievalDrafter, length_feature, length_prior};
use crate::error::Result;
use crate::settings::DraftKind;
use crate::speculation::Candidate;

/// What is added to the feature until the output departs from the prediction for the first time.
const FAITHFUL: u8 = 16;

/// After a departure, the number of the output's last tokens that must occur in the prediction to continue from there.
const MIN_MATCH: usize = 2;

/// Proposes the tokens that follow the output's position in the prediction.
pub struct PredictionDrafter {
    prediction: Vec<u32>,
    /// Where each sequence of so many tokens ends in the prediction, in order.
    ends: AHashMap<[u32; MIN_MATCH], Vec<usize>>,
    prompt_length: usize,
    /// The number of the text's tokens that were compared with the prediction.
    seen: usize,
    current: Cursor,
    nodes: Vec<Cursor>,
}

/// Where a text stands that is compared with the prediction.
#[derive(Debug, Clone, Copy)]
enum Cursor {
    /// It agrees.
    Copying(Copying),
    /// It has departed, and may come back.
    Departed(Departure),
    /// It has departed too far; the index of the prediction's token that it departed at.
    Lost(usize),
}

#[derive(Debug, Clone, Copy)]
struct Copying {
    /// The index of the next token in the prediction.
    next: usize,
    /// The number of consecutive tokens that agreed.
    agreed: usize,
    /// Whether all tokens agreed so far.
    faithful: bool,
}

impl PredictionDrafter {
    /// A drafter for a prediction of the text after a prompt of `prompt_length` tokens.
    pub fn new(prediction: Vec<u32>, prompt_length: usize) -> Self {
        let mut ends: AHashMap<[u32; MIN_MATCH], Vec<usize>> = AHashMap::new();
        let windows = prediction
            .windows(MIN_MATCH)
            .map(<[u32; MIN_MATCH]>::try_from);
        for (end, window) in (MIN_MATCH..).zip(windows.flatten()) {
            ends.entry(window).or_default().push(end);
        }
        Self {
            prediction,
            ends,
            prompt_length,
            seen: prompt_length,
            current: Cursor::Copying(Copying {
                next: 0,
                agreed: 0,
                faithful: true,
            }),
            nodes: Vec::new(),
        }
    }

    fn cursor(&self, node: Option<usize>) -> Cursor {
        node.map_or(self.current, |node| self.nodes[node])
    }

    fn copied(&self) -> impl Fn(usize) -> Option<u32> {
        |index| self.prediction.get(index).copied()
    }

    /// The cursor after one more token.
    fn advance(&self, cursor: Cursor, token: u32) -> Cursor {
        match cursor {
            Cursor::Copying(copying) if self.prediction.get(copying.next) == Some(&token) => {
                Cursor::Copying(Copying {
                    next: copying.next + 1,
                    agreed: copying.agreed + 1,
                    ..copying
                })
            }
            Cursor::Copying(copying) => {
                Cursor::Departed(Departure::new(copying.next, token, self.copied()))
            }
            Cursor::Departed(departure) => match departure.advance(token, self.copied()) {
                None => Cursor::Lost(departure.at()),
                Some(departure) => match departure.resumed() {
                    None => Cursor::Departed(departure),
                    Some((next, agreed)) => Cursor::Copying(Copying {
                        next,
                        agreed,
                        faithful: false,
                    }),
                },
            },
            Cursor::Lost(at) => Cursor::Lost(at),
        }
    }

    /// The end of the output's last tokens in the prediction: the first one after the position where the output departed, else
    /// the first one.
    fn find(&self, output: &[u32], departed: usize) -> Option<usize> {
        let suffix: &[u32; MIN_MATCH] = output.last_chunk()?;
        let ends = self.ends.get(suffix)?;
        let later = ends.partition_point(|end| *end <= departed);
        ends.get(later).or(ends.first()).copied()
    }
}

impl RetrievalDrafter for PredictionDrafter {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.nodes.clear();
        while self.seen < text.len() {
            self.current = self.advance(self.current, text[self.seen]);
            self.seen += 1;
            let departed = match self.current {
                Cursor::Copying(_) => continue,
                Cursor::Departed(departure) if departure.is_resuming() => continue,
                Cursor::Departed(departure) => departure.at(),
                Cursor::Lost(at) => at,
            };
            if let Some(next) = self.find(&text[self.prompt_length..self.seen], departed) {
                self.current = Cursor::Copying(Copying {
                    next,
                    agreed: MIN_MATCH,
                    faithful: false,
                });
            }
        }
        Ok(())
    }

    fn enter(&mut self, parent: Option<usize>, token: u32) {
        self.nodes.push(self.advance(self.cursor(parent), token));
    }

    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>) {
        let copying = match self.cursor(node) {
            Cursor::Copying(copying) => copying,
            Cursor::Departed(departure) => {
                return departure.candidates(DraftKind::PREDICTION, self.copied(), found);
            }
            Cursor::Lost(_) => return,
        };
        if let Some(token) = self.prediction.get(copying.next) {
            // A caller who gives a prediction expects it to hold.
            let (offset, prior) = match copying.faithful {
                true => (FAITHFUL, length_prior(copying.agreed + 3)),
                false => (0, length_prior(copying.agreed)),
            };
            found.push(Candidate {
                token: *token,
                source: DraftKind::PREDICTION,
                feature: length_feature(copying.agreed) + offset,
                prior,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(drafter: &mut PredictionDrafter, text: &[u32]) -> Option<u32> {
        drafter.follow(text).unwrap();
        let mut found = Vec::new();
        drafter.candidates(None, &mut found);
        found.first().map(|candidate| candidate.token)
    }

    #[test]
    fn follows_the_prediction_and_finds_it_again() {
        let mut drafter = PredictionDrafter::new(vec![1, 2, 3, 4, 5, 6, 7, 8], 2);
        assert_eq!(next(&mut drafter, &[9, 9]), Some(1));
        assert_eq!(next(&mut drafter, &[9, 9, 1, 2]), Some(3));
        // The output departs from the prediction: it may have replaced a token, or left some out.
        assert_eq!(next(&mut drafter, &[9, 9, 1, 2, 70]), Some(4));
        assert_eq!(next(&mut drafter, &[9, 9, 1, 2, 70, 5]), Some(6));
        assert_eq!(next(&mut drafter, &[9, 9, 1, 2, 70, 5, 6]), Some(7));
        // After its end, the output may repeat it from the start.
        let end = [9, 9, 1, 2, 70, 5, 6, 7, 8];
        assert_eq!(next(&mut drafter, &end), None);
        let again = [&end[..], &[1, 2]].concat();
        assert_eq!(next(&mut drafter, &again), Some(3));
    }

    #[test]
    fn what_goes_too_far_is_found_by_two_tokens() {
        let mut drafter = PredictionDrafter::new((1..=40).collect(), 0);
        let mut text = vec![1, 2, 70, 71, 72, 73, 74];
        assert_eq!(next(&mut drafter, &text), None);
        text.extend([30, 31]);
        assert_eq!(next(&mut drafter, &text[..8]), None);
        assert_eq!(next(&mut drafter, &text), Some(32));
    }

    #[test]
    fn nodes_follow_it_too() {
        let mut drafter = PredictionDrafter::new(vec![1, 2, 3], 1);
        drafter.follow(&[9]).unwrap();
        drafter.enter(None, 1);
        drafter.enter(Some(0), 7);
        drafter.enter(Some(0), 2);
        let of = |node| {
            let mut found = Vec::new();
            drafter.candidates(node, &mut found);
            found.first().map(|candidate| candidate.token)
        };
        // After 7, in place of 2.
        let found = [None, Some(0), Some(1), Some(2)].map(of);
        assert_eq!(found, [Some(1), Some(2), Some(3), Some(3)]);
    }

    #[test]
    fn no_prediction_proposes_nothing() {
        assert_eq!(next(&mut PredictionDrafter::new(vec![], 1), &[5]), None);
    }
}
