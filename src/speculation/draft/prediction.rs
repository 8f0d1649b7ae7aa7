//! A text that the caller expects the output to resemble, as an edit resembles what is edited (OpenAI's Predicted Outputs).

use super::{Draft, DraftSource, Prospect, TokenSource};
use crate::error::Result;
use crate::sampling::Distribution;

/// What speaks for the prediction where the output begins.
const FIRST_EVIDENCE: usize = 8;

/// Where the output has left the prediction, so many of its last tokens must stand there again to go on.
const ALIKE: usize = 3;

/// Drafts what follows in the prediction, from where the output is in it.
pub struct PredictionDraft {
    prediction: Vec<u32>,
    prompt_length: usize,
    /// Tokens of the history that were compared with the prediction.
    seen: usize,
    /// Where in the prediction the output goes on, as far as is known.
    place: usize,
    /// How many tokens in a row agreed; 0: the output has left the prediction.
    agreed: usize,
}

impl PredictionDraft {
    /// A prediction of what follows a prompt of so many tokens.
    pub fn new(prediction: Vec<u32>, prompt_length: usize) -> Self {
        Self {
            prediction,
            prompt_length,
            seen: prompt_length,
            place: 0,
            agreed: FIRST_EVIDENCE,
        }
    }

    fn follow(&mut self, history: &[u32]) {
        while self.seen < history.len() {
            self.seen += 1;
            let written = &history[self.prompt_length..self.seen];
            let agrees = self.agreed > 0 && self.prediction.get(self.place) == written.last();
            if agrees {
                self.place += 1;
                self.agreed += 1;
            } else {
                self.find(written);
            }
        }
    }

    /// Looks for the end of what was written: onwards from where it left the prediction, and then in all of it.
    fn find(&mut self, written: &[u32]) {
        self.agreed = 0;
        let Some(wanted) = written
            .len()
            .checked_sub(ALIKE)
            .map(|from| &written[from..])
        else {
            return;
        };
        let mut windows = self.prediction.windows(ALIKE);
        let onwards = self.place.saturating_sub(ALIKE);
        let behind = windows
            .clone()
            .skip(onwards)
            .position(|window| window == wanted);
        let place = behind.map(|place| place + onwards);
        if let Some(place) = place.or_else(|| windows.position(|window| window == wanted)) {
            self.place = place + ALIKE;
            self.agreed = ALIKE;
        }
    }
}

impl DraftSource for PredictionDraft {
    fn prospect(&mut self, history: &[u32]) -> Result<Prospect> {
        self.follow(history);
        let left = self.prediction.len() - self.place;
        Ok(Prospect {
            source: TokenSource::Prediction,
            tokens: if self.agreed > 0 { left } else { 0 },
            evidence: self.agreed,
        })
    }

    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft> {
        let tokens = self.prospect(history)?.tokens.min(limit);
        let mut draft = Draft::default();
        for token in &self.prediction[self.place..self.place + tokens] {
            draft.push(*token, Distribution::Point(*token), TokenSource::Prediction);
        }
        Ok(draft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn propose(draft: &mut PredictionDraft, history: &[u32]) -> Vec<u32> {
        draft.propose(history, 3).unwrap().tokens().to_vec()
    }

    #[test]
    fn follows_the_prediction_and_finds_it_again() {
        let mut draft = PredictionDraft::new(vec![1, 2, 3, 4, 5, 6, 7, 8], 2);
        assert_eq!(propose(&mut draft, &[9, 9]), [1, 2, 3]);
        assert_eq!(propose(&mut draft, &[9, 9, 1, 2]), [3, 4, 5]);
        // The output goes its own way, and comes back three tokens later.
        assert!(propose(&mut draft, &[9, 9, 1, 2, 70]).is_empty());
        assert!(propose(&mut draft, &[9, 9, 1, 2, 70, 4, 5]).is_empty());
        assert_eq!(propose(&mut draft, &[9, 9, 1, 2, 70, 4, 5, 6]), [7, 8]);
        assert!(propose(&mut draft, &[9, 9, 1, 2, 70, 4, 5, 6, 7, 8]).is_empty());
        // And begins anew.
        let again = [9, 9, 1, 2, 70, 4, 5, 6, 7, 8, 1, 2, 3];
        assert_eq!(propose(&mut draft, &again), [4, 5, 6]);
    }

    #[test]
    fn no_prediction_proposes_nothing() {
        assert!(propose(&mut PredictionDraft::new(vec![], 1), &[5]).is_empty());
    }
}
