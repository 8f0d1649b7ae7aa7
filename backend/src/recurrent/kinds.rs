//! The kinds of recurrences: what a token does to a layer's state, and what it gets out of it.
//!
//! A state's blocks are sixteen lanes wide: channels of a convolution, columns of a matrix. What is not a multiple of sixteen
//! is filled up with zeros.

use std::ops::Range;

/// Channels or columns of a block.
const LANES: usize = 16;

/// What a token does to a layer's state, and what it gets out of it.
#[derive(Debug, Clone)]
pub enum Recurrence {
    /// `silu` of a convolution over the last tokens.
    Convolution(Convolution),
    /// A gated convolution over the last tokens (LFM2).
    ShortConv(ShortConv),
    /// The delta rule (Yang et al., 2412.06464).
    DeltaRule(DeltaRule),
    /// A selective state space (Mamba-2: Dao & Gu, 2405.21060).
    StateSpace(StateSpace),
}

/// `silu(sum of taps * x)`, each channel by itself.
#[derive(Debug, Clone)]
pub struct Convolution {
    /// The taps.
    pub taps: Taps,
}

/// `C * (sum of taps * (B * u))` with the inputs `[B | C | u]`, each channel by itself. The state holds `B * u`.
#[derive(Debug, Clone)]
pub struct ShortConv {
    /// The taps.
    pub taps: Taps,
}

/// The taps of a convolution over the last tokens. A state holds these tokens' values, the latest last: `[taps][16]` a block.
#[derive(Debug, Clone)]
pub struct Taps {
    pub(crate) channels: usize,
    /// `[taps][channels, filled up]`: the last one is the present token's.
    pub(crate) values: Vec<f32>,
    /// `[channels, filled up]`
    pub(crate) bias: Vec<f32>,
}

/// Of each head, `S <- decay S; S <- S + k (step (v - S^T k))^T; o = S^T q`, with the inputs `[q | k | v | decay | step]`.
#[derive(Debug, Clone, Copy)]
pub struct DeltaRule {
    /// Heads of queries and keys.
    pub key_heads: usize,
    /// Heads of values, a multiple of those.
    pub value_heads: usize,
    /// Elements of a query, or a key.
    pub key_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
    /// Whether value heads that follow each other share a key head; else each follows those of the other key heads.
    pub is_grouped: bool,
}

/// Of each head, `S <- decay S + step x B^T; y = S C + skip x`, with the inputs `[x | B | C | decay | step]`.
#[derive(Debug, Clone)]
pub struct StateSpace {
    /// Heads of x.
    pub heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Heads of B and C: heads that follow each other share one.
    pub groups: usize,
    /// Elements of B, or C, of a head.
    pub state_dim: usize,
    /// What of x is added to a head's output.
    pub skip: Vec<f32>,
}

impl Recurrence {
    /// Number of the state's independent blocks.
    pub fn blocks(&self) -> usize {
        match self {
            Self::Convolution(Convolution { taps }) | Self::ShortConv(ShortConv { taps }) => {
                taps.channels.div_ceil(LANES)
            }
            Self::DeltaRule(rule) => rule.value_heads * rule.value_dim.div_ceil(LANES),
            Self::StateSpace(space) => space.heads * space.head_dim.div_ceil(LANES),
        }
    }

    /// Values of a block's state.
    pub fn state_width(&self) -> usize {
        match self {
            Self::Convolution(Convolution { taps }) | Self::ShortConv(ShortConv { taps }) => {
                taps.count() * LANES
            }
            Self::DeltaRule(rule) => rule.key_dim * LANES,
            Self::StateSpace(space) => space.state_dim * LANES,
        }
    }

    /// Values of a token's inputs.
    pub fn input_width(&self) -> usize {
        match self {
            Self::Convolution(Convolution { taps }) => taps.channels,
            Self::ShortConv(ShortConv { taps }) => 3 * taps.channels,
            Self::DeltaRule(rule) => rule.channels() + 2 * rule.value_heads,
            Self::StateSpace(space) => space.channels() + 2 * space.heads,
        }
    }

    /// Values of a token's outputs.
    pub fn output_width(&self) -> usize {
        match self {
            Self::Convolution(Convolution { taps }) | Self::ShortConv(ShortConv { taps }) => {
                taps.channels
            }
            Self::DeltaRule(rule) => rule.value_heads * rule.value_dim,
            Self::StateSpace(space) => space.heads * space.head_dim,
        }
    }

    /// Outputs of a head; a convolution has one.
    fn head_width(&self) -> usize {
        match self {
            Self::Convolution(Convolution { taps }) | Self::ShortConv(ShortConv { taps }) => {
                taps.channels
            }
            Self::DeltaRule(rule) => rule.value_dim,
            Self::StateSpace(space) => space.head_dim,
        }
    }

    /// Blocks of a head, which follow each other.
    pub(crate) fn blocks_of_head(&self) -> usize {
        self.head_width().div_ceil(LANES)
    }

    /// Which of a token's outputs neighbouring blocks of a head have.
    pub(crate) fn outputs_of(&self, blocks: Range<usize>) -> Range<usize> {
        let width = self.head_width();
        let (head, within) = head_of(blocks.start, width);
        let first = head * width + within;
        first..first + (blocks.len() * LANES).min(width - within)
    }
}

/// The head that a block is of, and which of the head's `width` values is the block's first.
pub(crate) fn head_of(block: usize, width: usize) -> (usize, usize) {
    let blocks = width.div_ceil(LANES);
    (block / blocks, block % blocks * LANES)
}

impl Taps {
    /// From `[channels][taps]`, as checkpoints store them, the last tap the present token's.
    pub fn new(channels: usize, stored: &[f32], bias: Option<&[f32]>) -> Self {
        let padded = channels.next_multiple_of(LANES);
        let count = stored.len() / channels.max(1);
        let mut values = vec![0.0; count * padded];
        for (channel, taps) in stored.chunks_exact(count.max(1)).enumerate() {
            for (tap, value) in taps.iter().enumerate() {
                values[tap * padded + channel] = *value;
            }
        }
        let mut padded_bias = bias.unwrap_or_default().to_vec();
        padded_bias.resize(padded, 0.0);
        Self {
            channels,
            values,
            bias: padded_bias,
        }
    }

    /// The same for values that are multiplied by a factor of each channel before.
    #[must_use]
    pub fn scaled(mut self, factors: &[f32]) -> Self {
        let padded = self.padded();
        for taps in self.values.chunks_exact_mut(padded.max(1)) {
            for (tap, factor) in taps.iter_mut().zip(factors) {
                *tap *= factor;
            }
        }
        self
    }

    /// Channels, filled up.
    pub(crate) fn padded(&self) -> usize {
        self.bias.len()
    }

    fn count(&self) -> usize {
        self.values.len() / self.padded().max(1)
    }
}

impl DeltaRule {
    /// Elements of all queries, or all keys.
    pub fn key_width(&self) -> usize {
        self.key_heads * self.key_dim
    }

    /// Elements of queries, keys and values together.
    pub fn channels(&self) -> usize {
        2 * self.key_width() + self.value_heads * self.value_dim
    }

    /// The key head of a value head.
    pub fn key_head(&self, value_head: usize) -> usize {
        match self.is_grouped {
            true => value_head / (self.value_heads / self.key_heads),
            false => value_head % self.key_heads,
        }
    }
}

impl StateSpace {
    /// Elements of x, B and C together.
    pub fn channels(&self) -> usize {
        self.heads * self.head_dim + 2 * self.groups * self.state_dim
    }
}
