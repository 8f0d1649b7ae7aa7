//! A head on the target's hidden states.

use std::sync::Arc;

use super::cut_vocabulary::CutVocabulary;
use super::sampler::Sampler;
use super::vocabulary::scatter;
use super::{DraftLimit, Drafter};
use crate::backend::OutputTiles;
use crate::error::Result;
use crate::model::{DraftHead, HeadSequence};
use crate::speculation::Draft;

/// The maximum number of tokens whose hidden states are buffered. A head that is not used for longer begins anew with what follows,
/// as it does after a cached prefix.
const MAX_BUFFERED: usize = 1024;

/// Drafts by sampling from a head.
///
/// The head's cache has a position for each token but the first. Those of tokens that the target has processed were computed
/// from the target's features; after them come those of the last draft, which are computed again once the target has processed
/// these tokens.
pub struct HeadDrafter {
    head: Arc<dyn DraftHead>,
    sequence: Box<dyn HeadSequence>,
    sampler: Sampler,
    /// The tokens to choose among, if not all.
    cut: Option<CutVocabulary>,
    /// The text's first tokens, of which there are no features: the head does not see them.
    skipped: usize,
    /// The number of positions that were computed from the target's features.
    fed: usize,
    /// The target's features of the tokens after those.
    features: Vec<f32>,
}

impl HeadDrafter {
    /// A drafter for one request, which chooses among these tokens and those of the text, if the head has no tokens of its own.
    pub fn new(
        head: &Arc<dyn DraftHead>,
        sampler: Sampler,
        among: Option<&OutputTiles>,
    ) -> Result<Self> {
        let among = among.filter(|_| head.to_target().is_none());
        Ok(Self {
            sequence: head.begin()?,
            head: head.clone(),
            cut: among.map(|among| CutVocabulary::new(among, sampler.vocab_size())),
            sampler,
            skipped: 0,
            fed: 0,
            features: Vec::new(),
        })
    }

    /// For how many tokens there are features that it has not read.
    fn buffered(&self) -> usize {
        self.features.len() / self.head.width().max(1)
    }

    /// Feeds the tokens that the target has processed since the last call; returns whether there were any that fit the cache.
    fn catch_up(&mut self, text: &[u32]) -> Result<bool> {
        self.sequence.truncate(self.fed);
        let width = self.head.width();
        let known = self.buffered();
        let next = self.skipped + self.fed + 1;
        let new = known.min(text.len().saturating_sub(next));
        if new == 0 || new > self.sequence.room() {
            return Ok(false);
        }
        let tokens = &text[next..][..new];
        self.sequence
            .append(tokens, &self.features[..new * width])?;
        self.features.drain(..new * width);
        self.fed += new;
        Ok(true)
    }
}

impl Drafter for HeadDrafter {
    fn captured_layers(&self) -> &[usize] {
        self.head.captured_layers()
    }

    fn tokens_a_pass(&self) -> usize {
        self.head.tokens_a_pass()
    }

    fn unread(&self, _: usize) -> Option<usize> {
        Some(self.buffered())
    }

    fn skip_hidden(&mut self, tokens: usize) {
        self.skipped = tokens;
    }

    fn observe_hidden(&mut self, hidden: &[f32]) {
        if self.buffered() > MAX_BUFFERED {
            self.skipped += self.fed + self.buffered();
            self.fed = 0;
            self.features.clear();
        }
        self.features.extend_from_slice(hidden);
    }

    fn prefill(&mut self, prompt: &[u32]) -> Result<()> {
        self.catch_up(prompt).map(drop)
    }

    fn propose(&mut self, history: &[u32], limit: DraftLimit) -> Result<Draft> {
        let mut draft = Draft::default();
        if !self.catch_up(history)? {
            return Ok(draft);
        }
        if let Some(cut) = &mut self.cut {
            cut.follow(history);
        }
        // A draft after missing positions would be wrong.
        let tokens = match self.skipped + self.fed + 1 == history.len() {
            true => limit.tokens,
            false => 0,
        };
        let mut right = 1.0;
        while draft.len() < tokens {
            let among = self.cut.as_ref().map(CutVocabulary::tokens);
            let logits = self.sequence.logits(among)?;
            let confidence = self.sequence.confidence()?;
            right *= f64::from(confidence.unwrap_or(1.0));
            // The first one is drafted anyway: the planner learns from it, and may drop it.
            if !draft.is_empty() && right < limit.worth {
                break;
            }
            let scattered;
            // Scores of the target's tokens; negative infinity for those that are not drafted.
            let scores = match (&mut self.cut, self.head.to_target()) {
                (Some(cut), _) => cut.scatter(&logits),
                (None, None) => &logits,
                (None, Some(to_target)) => {
                    let tokens = to_target.iter().copied().map(Some);
                    scattered = scatter(&logits, tokens, self.sampler.vocab_size());
                    &scattered
                }
            };
            let Some(token) = self.sampler.draw(scores, history, &mut draft)? else {
                break;
            };
            let is_full = draft.len() == tokens || self.sequence.room() == 0;
            // What the head says itself counts.
            if is_full || (confidence.is_none() && self.sampler.expects(draft.len()) < limit.worth)
            {
                break;
            }
            self.sequence.draft(token)?;
        }
        self.sampler.widen(&mut draft);
        Ok(draft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelInfo;
    use crate::sampling::{Noise, Processors};
    use crate::settings::SpeculativeConfig;
    use crate::speculation::Acceptance;
    use crate::speculation::acceptance::SharedAcceptance;
    use crate::speculation::drafter::Drawing;

    /// Expects each token's feature to be the number before it, and generates the next number.
    #[derive(Default)]
    struct Numbers {
        length: usize,
        last: u32,
    }

    impl DraftHead for Numbers {
        fn captured_layers(&self) -> &[usize] {
            &[0]
        }

        fn width(&self) -> usize {
            1
        }

        fn to_target(&self) -> Option<&[u32]> {
            None
        }

        fn begin(&self) -> Result<Box<dyn HeadSequence>> {
            Ok(Box::new(Self::default()))
        }

        fn info(&self) -> ModelInfo {
            ModelInfo::default()
        }
    }

    impl HeadSequence for Numbers {
        fn append(&mut self, tokens: &[u32], features: &[f32]) -> Result<()> {
            assert_eq!(tokens.len(), features.len());
            for (token, feature) in tokens.iter().zip(features) {
                assert_eq!(*feature as u32 + 1, *token);
                self.last = *token;
                self.length += 1;
            }
            Ok(())
        }

        fn draft(&mut self, token: u32) -> Result<()> {
            self.append(&[token], &[self.last as f32])
        }

        fn logits(&mut self, _among: Option<&OutputTiles>) -> Result<Vec<f32>> {
            let mut logits = vec![0.0; 4096];
            logits[self.last as usize + 1] = 9.0;
            Ok(logits)
        }

        fn truncate(&mut self, length: usize) {
            self.length = self.length.min(length);
        }

        fn room(&self) -> usize {
            10_000
        }
    }

    fn draft() -> HeadDrafter {
        draft_of(|sampler| sampler)
    }

    fn draft_of(change: impl Fn(Sampler) -> Sampler) -> HeadDrafter {
        let head: Arc<dyn DraftHead> = Arc::new(Numbers::default());
        let config = SpeculativeConfig {
            temperature: 0.0,
            ..SpeculativeConfig::default()
        };
        let processors = Processors::new(&config, 1, None);
        let drawing = Drawing::Coupled(Noise::new(0));
        let sampler = change(Sampler::new(processors, drawing, 4096));
        HeadDrafter::new(&head, sampler, None).unwrap()
    }

    fn propose(draft: &mut HeadDrafter, text: &[u32], tokens: usize) -> Result<Draft> {
        draft.propose(text, DraftLimit { tokens, worth: 0.0 })
    }

    fn observe(draft: &mut HeadDrafter, positions: std::ops::Range<u32>) {
        positions.for_each(|position| draft.observe_hidden(&[position as f32]));
    }

    #[test]
    fn features_go_to_their_tokens() {
        let mut draft = draft();
        let text: Vec<u32> = (0..300).collect();
        observe(&mut draft, 0..100);
        draft.prefill(&text[..100]).unwrap();
        observe(&mut draft, 100..204);
        assert_eq!(
            propose(&mut draft, &text[..205], 3).unwrap().tokens(),
            [205, 206, 207]
        );
        observe(&mut draft, 204..207);
        assert_eq!(
            propose(&mut draft, &text[..208], 1).unwrap().tokens(),
            [208]
        );
        // Some features are missing.
        assert!(propose(&mut draft, &text[..240], 3).unwrap().is_empty());
    }

    #[test]
    fn a_head_drafts_from_what_follows_a_cached_prefix() {
        let mut draft = draft();
        let text: Vec<u32> = (0..300).collect();
        draft.skip_hidden(90);
        observe(&mut draft, 90..100);
        draft.prefill(&text[..100]).unwrap();
        observe(&mut draft, 100..101);
        assert_eq!(
            propose(&mut draft, &text[..102], 2).unwrap().tokens(),
            [102, 103]
        );
    }

    #[test]
    fn a_head_that_is_not_used_for_long_begins_anew_with_what_follows() {
        let mut draft = draft();
        let text: Vec<u32> = (0..2000).collect();
        observe(&mut draft, 0..200);
        draft.prefill(&text[..201]).unwrap();
        observe(&mut draft, 200..1500);
        assert!(draft.features.len() <= MAX_BUFFERED);
        let proposed = propose(&mut draft, &text[..1501], 3).unwrap();
        assert_eq!(proposed.tokens(), [1501, 1502, 1503]);
        observe(&mut draft, 1500..1502);
        let proposed = propose(&mut draft, &text[..1503], 3).unwrap();
        assert_eq!(proposed.tokens(), [1503, 1504, 1505]);
    }

    #[test]
    fn a_draft_ends_where_another_token_is_not_worth_its_cost() {
        let text: Vec<u32> = (0..100).collect();
        // At first, a sure token is taken to be right 94 % of the time, one that is not drafted yet 60 %.
        for (worth, tokens) in [(0.0, 5), (0.45, 5), (0.49, 4), (0.55, 2), (0.9, 1)] {
            let mut draft = draft_of(|sampler| {
                let acceptance = Acceptance::new(&SharedAcceptance::default(), true);
                sampler.with_alternatives(acceptance)
            });
            observe(&mut draft, 0..99);
            let drafted = draft
                .propose(&text, DraftLimit { tokens: 5, worth })
                .unwrap();
            let expected: Vec<u32> = (100..100 + tokens).collect();
            assert_eq!(drafted.first_chain(), expected, "{worth}");
        }
    }
}
