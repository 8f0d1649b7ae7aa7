//! What a request wants of one forward pass of the target.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::model::Parents;
use crate::speculation::{Draft, Load, Plan};

/// A request's share of a forward pass.
pub(super) enum WorkItem {
    /// Prefills these tokens of the prompt.
    Prefill(Range<usize>),
    /// Verifies a draft.
    Verify(Pending),
}

/// A step that waits for its logits.
pub(super) struct Pending {
    pub(super) draft: Draft,
    /// The newest token, and the draft after it.
    tokens: Vec<u32>,
    /// The token that each follows; empty for a chain.
    parents: Vec<Option<usize>>,
    /// When the draft was asked for, and when it was complete.
    began: Instant,
    pub(super) proposed: Instant,
    /// Tokens that the step is expected to generate.
    expected_tokens: f64,
}

impl WorkItem {
    /// Whether it prefills the prompt.
    pub(super) fn is_prefill(&self) -> bool {
        matches!(self, Self::Prefill(_))
    }

    /// What it adds to the pass; nothing for a prefill, which costs the same whatever the others do.
    pub(super) fn load(&self) -> Load {
        match self {
            Self::Prefill(_) => Load::default(),
            Self::Verify(step) => Load {
                rows: step.tokens.len(),
                tokens: step.expected_tokens,
            },
        }
    }

    /// The tokens to append, the token that each follows, and for how many of them logits are needed.
    pub(super) fn input<'a>(&'a self, history: &'a [u32]) -> (&'a [u32], Parents<'a>, usize) {
        match self {
            Self::Prefill(chunk) => (&history[chunk.clone()], Parents::Chain, 0),
            Self::Verify(step) => (&step.tokens, step.parents(), step.tokens.len()),
        }
    }
}

impl Pending {
    /// A plan that was begun at a time and is complete now, after the newest token.
    pub(super) fn new(newest: u32, plan: Plan, began: Instant) -> Self {
        let draft = plan.draft;
        let parents = draft.parents().iter();
        let parents = parents.map(|parent| Some(row_after(*parent)));
        Self {
            tokens: [&[newest], draft.tokens()].concat(),
            parents: match draft.is_chain() {
                true => Vec::new(),
                false => std::iter::once(None).chain(parents).collect(),
            },
            draft,
            began,
            proposed: Instant::now(),
            expected_tokens: plan.estimate.tokens,
        }
    }

    /// How long drafting took.
    pub(super) fn drafting(&self) -> Duration {
        self.proposed - self.began
    }

    fn parents(&self) -> Parents<'_> {
        match &self.parents[..] {
            [] => Parents::Chain,
            parents => Parents::Tree(parents),
        }
    }
}

/// The row of logits that follows a draft's node; `None`: the newest token, which is fed before the draft.
pub(super) fn row_after(node: Option<usize>) -> usize {
    node.map_or(0, |node| node + 1)
}
