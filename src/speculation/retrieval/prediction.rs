//! A text that the caller expects the output to resemble, as an edit resembles what is edited (OpenAI's Predicted Outputs).

use super::{RetrievalDrafter, length_feature, length_prior};
use crate::error::Result;
use crate::settings::DraftKind;
use crate::speculation::Candidate;

/// What is added to the feature until the output has left the prediction for the first time.
const FAITHFUL: u8 = 16;

/// Where the output has left the prediction, so many of its last tokens must stand there to go on with it.
const ALIKE: usize = 2;

/// Proposes what follows in the prediction, from where the output is in it.
pub struct PredictionDrafter {
    prediction: Vec<u32>,
    prompt_length: usize,
    /// The tokens of the text that were compared with the prediction.
    seen: usize,
    here: Place,
    nodes: Vec<Place>,
}

/// How the output, up to somewhere, and the prediction go together.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Where in the prediction the output goes on.
    next: usize,
    /// How many tokens in a row agreed; `None`: the output is not in the prediction.
    agreed: Option<usize>,
    /// Whether all agreed so far.
    faithful: bool,
}

impl PredictionDrafter {
    /// A prediction of what follows a prompt of so many tokens.
    pub fn new(prediction: Vec<u32>, prompt_length: usize) -> Self {
        Self {
            prediction,
            prompt_length,
            seen: prompt_length,
            here: Place {
                next: 0,
                agreed: Some(0),
                faithful: true,
            },
            nodes: Vec::new(),
        }
    }

    fn place(&self, node: Option<usize>) -> Place {
        node.map_or(self.here, |node| self.nodes[node])
    }

    /// The position after another and a token; none if the prediction has another token there.
    fn advance(&self, place: Place, token: u32) -> Place {
        let agrees = self.prediction.get(place.next) == Some(&token);
        match place.agreed {
            Some(agreed) if agrees => Place {
                next: place.next + 1,
                agreed: Some(agreed + 1),
                ..place
            },
            _ => Place {
                agreed: None,
                faithful: false,
                ..place
            },
        }
    }

    /// Where the output ends in the prediction: the next position after the one where the output left it, else the first.
    fn find(&self, output: &[u32]) -> Option<usize> {
        let wanted = output
            .len()
            .checked_sub(ALIKE)
            .map(|from| &output[from..])?;
        let mut windows = self.prediction.windows(ALIKE).enumerate();
        let ends = windows
            .by_ref()
            .filter(|(_, window)| *window == wanted)
            .map(|(start, _)| start + ALIKE);
        let ends: Vec<usize> = ends.collect();
        let onwards = ends.iter().find(|end| **end > self.here.next);
        onwards.or(ends.first()).copied()
    }
}

impl RetrievalDrafter for PredictionDrafter {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.nodes.clear();
        while self.seen < text.len() {
            self.here = self.advance(self.here, text[self.seen]);
            self.seen += 1;
            if self.here.agreed.is_none()
                && let Some(next) = self.find(&text[self.prompt_length..self.seen])
            {
                let agreed = Some(ALIKE);
                self.here = Place {
                    next,
                    agreed,
                    ..self.here
                };
            }
        }
        Ok(())
    }

    fn enter(&mut self, parent: Option<usize>, token: u32) {
        self.nodes.push(self.advance(self.place(parent), token));
    }

    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>) {
        let Place {
            next,
            agreed,
            faithful,
        } = self.place(node);
        if let (Some(agreed), Some(token)) = (agreed, self.prediction.get(next)) {
            // A caller who gives a prediction expects it to hold.
            let (place, prior) = match faithful {
                true => (FAITHFUL, length_prior(agreed + 3)),
                false => (0, length_prior(agreed)),
            };
            found.push(Candidate {
                token: *token,
                source: DraftKind::PREDICTION,
                feature: length_feature(agreed) + place,
                prior,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(lookup: &mut PredictionDrafter, text: &[u32]) -> Option<u32> {
        lookup.follow(text).unwrap();
        let mut found = Vec::new();
        lookup.candidates(None, &mut found);
        found.first().map(|candidate| candidate.token)
    }

    #[test]
    fn follows_the_prediction_and_finds_it_again() {
        let mut lookup = PredictionDrafter::new(vec![1, 2, 3, 4, 5, 6, 7, 8], 2);
        assert_eq!(next(&mut lookup, &[9, 9]), Some(1));
        assert_eq!(next(&mut lookup, &[9, 9, 1, 2]), Some(3));
        // The output goes its own way, and comes back two tokens later.
        assert_eq!(next(&mut lookup, &[9, 9, 1, 2, 70]), None);
        assert_eq!(next(&mut lookup, &[9, 9, 1, 2, 70, 5]), None);
        assert_eq!(next(&mut lookup, &[9, 9, 1, 2, 70, 5, 6]), Some(7));
        // At its end it may begin anew.
        let end = [9, 9, 1, 2, 70, 5, 6, 7, 8];
        assert_eq!(next(&mut lookup, &end), None);
        let again = [&end[..], &[1, 2]].concat();
        assert_eq!(next(&mut lookup, &again), Some(3));
    }

    #[test]
    fn nodes_follow_it_too() {
        let mut lookup = PredictionDrafter::new(vec![1, 2, 3], 1);
        lookup.follow(&[9]).unwrap();
        lookup.enter(None, 1);
        lookup.enter(Some(0), 7);
        lookup.enter(Some(0), 2);
        let of = |node| {
            let mut found = Vec::new();
            lookup.candidates(node, &mut found);
            found.first().map(|candidate| candidate.token)
        };
        let found = [None, Some(0), Some(1), Some(2)].map(of);
        assert_eq!(found, [Some(1), Some(2), None, Some(3)]);
    }

    #[test]
    fn no_prediction_proposes_nothing() {
        assert_eq!(next(&mut PredictionDrafter::new(vec![], 1), &[5]), None);
    }
}
