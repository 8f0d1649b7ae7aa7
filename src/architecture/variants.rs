//! The ways in which families' layers differ.

/// What transforms each token by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlpSpec {
    /// `down(activation(gate(x)) * up(x))`
    Gated,
    /// `down(activation(up(x)))`
    Plain,
}

/// Where the norms of mixer and MLP stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlacement {
    /// On what they read.
    Before,
    /// On what they read, and on what they return before it joins the residual stream (Gemma).
    BeforeAndAfter,
    /// On what they return (OLMo 2).
    After,
}

impl NormPlacement {
    /// Whether there is a norm on what mixer and MLP read.
    pub fn before(self) -> bool {
        self != Self::After
    }

    /// Whether there is a norm on what mixer and MLP return.
    pub fn after(self) -> bool {
        self != Self::Before
    }
}

/// Norms on queries and keys, before they are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKeyNorm {
    /// There are none.
    None,
    /// On each head (Qwen3, Gemma 3).
    PerHead,
    /// On all query heads together, and on all key heads (OLMo 2).
    Whole,
}

/// How a layer's two halves meet the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// The mixer first, then the MLP on its result.
    Sequential,
    /// Mixer and MLP both read the layer's input (GPT-NeoX).
    Parallel,
}

/// Which linear layers have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Biases {
    /// Those for which the checkpoint holds one.
    AsStored,
    /// Query, key and value; the others as stored.
    Qkv,
    /// All of them.
    All,
}
