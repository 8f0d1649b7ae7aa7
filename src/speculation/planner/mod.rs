//! The planner: how much each step drafts, and with which drafter, from measured costs and measured acceptance.
//!
//! # State
//!
//! What is known before a step, all of it measured while running:
//!
//! - [`Costs`](cost::Costs): seconds of a forward pass by its rows and its context length, seconds of a drafted token by
//!   drafter. The requests of a decoder share them.
//! - [`Acceptance`](super::Acceptance): how often a drafter's candidate turns out to be the target's token, by the drafter, by a feature of the
//!   candidate (the length of an n-gram match, the position in a model's draft), and by its rank among the candidates for
//!   the same position. A request keeps counts of its own and starts from those of earlier requests.
//!
//! # Estimate
//!
//! A draft is a tree of tokens. If the target reaches its nodes with probabilities `S_1`, `S_2`, ..., the step generates
//! `1 + S_1 + S_2 + ...` tokens in expectation, and costs the drafting plus one pass over one row more than there are nodes. The
//! quotient, tokens per cost, is the step's *rate* ([`StepEstimate`](estimate::StepEstimate)); the unit of cost is a plain
//! step, one row without a draft, so a plain step has rate 1 and the rate is the expected speedup.
//!
//! # Choice
//!
//! [`RetrievalDrafters::grow`] adds candidates to the tree in the order of the probability that the target reaches them, and
//! keeps the prefix of that order with the best rate. Retrieval costs next to nothing, so it is tried at each step. A model
//! or a head ([`CostedDrafter`](costed::CostedDrafter)) costs time per token: from the acceptance of each position the
//! planner first computes the best number of tokens to draft and its rate, and runs the drafter only if that rate beats the
//! retrieval tree's. It stops earlier where the tokens that it has drafted are so unsure that another one is not worth its cost at
//! that rate ([`DraftLimit`](super::DraftLimit)). What it drafts then competes, node by node, with the retrieved candidates. A rate must be 2 % above a plain
//! step's to be chosen; otherwise the step drafts nothing.
//!
//! # A worked example
//!
//! Passes over 1, 2, 3, 4 rows cost 1.00, 1.10, 1.20, 1.35 plain steps. The text repeats itself, and a match of 5 tokens
//! proposes the chain *a b c*. Matches of that length were right 80 % of the time, so the nodes are reached with 0.80, 0.64, 0.51.
//!
//! | nodes | tokens | cost | rate |
//! |---|---|---|---|
//! | 0 | 1.00 | 1.00 | 1.00 |
//! | 1 | 1.80 | 1.10 | 1.64 |
//! | 2 | 2.44 | 1.20 | 2.03 |
//! | 3 | 2.95 | 1.35 | 2.19 |
//!
//! All three are drafted. Had matches of that length been right 20 % of the time, the rates would be 1.09, 1.03, 0.92: one
//! token would be drafted. At 11 % the best rate is 1.01, below the margin of 2 %: nothing would be drafted.
//!
//! In a batch, the pass also computes rows for other requests ([`Load`]). The rate is then that of the whole pass: all tokens
//! over its cost. A further row delays every request, so drafts get shorter as the batch fills.

mod controller;
mod cost;
mod costed;
mod drafted;
mod estimate;
mod retrieval_tree;
mod statistics;

pub use controller::Controller;
pub use estimate::Load;
pub use retrieval_tree::{Plan, RetrievalDrafters};
pub use statistics::DraftingStatistics;
