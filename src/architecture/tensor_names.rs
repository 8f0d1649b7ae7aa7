//! How checkpoints name their tensors: a table for each way.

mod gguf;
mod hugging_face;

use LayerTensor as T;

pub use gguf::GGUF;
pub use hugging_face::{
    FALCON_H1, GPT_NEOX, GPT_OSS, GPT2, GRANITE_HYBRID, LFM2, LLAMA, NEMOTRON_H,
};

/// A tensor of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ModelTensor {
    Embedding,
    Positions,
    /// The table of the layers' own inputs, and what the embedding adds to them.
    LayerInputs,
    LayerInputsProjection,
    LayerInputsNorm,
    /// From the first part of a residual stream to each of the others, and back.
    StreamProjection(usize),
    StreamUnembedding(usize),
    FinalNorm,
    Head,
    Layer(usize, LayerTensor),
}

/// A tensor of ours in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LayerTensor {
    AttentionNorm,
    Query,
    Key,
    Value,
    Output,
    QueryNorm,
    KeyNorm,
    PostAttentionNorm,
    MlpNorm,
    Gate,
    Up,
    Down,
    PostMlpNorm,
    /// What gates what is attended to, which may be a part of the query's matrix.
    QueryGate,
    DeltaInput,
    DeltaGate,
    DeltaDecay,
    DeltaStep,
    Decay,
    DecayLogarithm,
    DecayOffset,
    DeltaNorm,
    DeltaOutput,
    /// Parts of a state space's one input matrix.
    SpaceGate,
    SpaceInput,
    SpaceStep,
    SpaceNorm,
    SpaceSkip,
    SpaceOutput,
    /// Compressed queries, and queries of them.
    QueryDown,
    QueryDownNorm,
    QueryUp,
    /// Compressed keys and values, and the part of keys that is rotated.
    KeyDown,
    KeyDownNorm,
    RotaryKey,
    /// Of a head: what its keys and values are of compressed ones; the first also transposed.
    KeyUp(usize),
    TransposedKeyUp(usize),
    ValueUp(usize),
    ConvInput,
    Conv,
    ConvOutput,
    Router,
    RouterBias,
    Sinks,
    /// One of a mixture, by its number.
    Expert(usize, ExpertTensor),
    SharedExpertGate,
    SharedGate,
    SharedUp,
    SharedDown,
    /// The norm of a router that has one of its own.
    RouterNorm,
    /// A factor of each expert on its weight.
    ExpertScales,
    /// Norms of a dense MLP and of experts that stand side by side.
    ExpertsNorm,
    PostDenseNorm,
    PostExpertsNorm,
    /// Where a layer's own input enters.
    InputGate,
    InputProjection,
    InputNorm,
    LayerScale,
    /// What predicts and corrects the parts of a residual stream.
    StreamRouterNorm,
    StreamRouter,
    StreamPrediction,
    StreamCorrection,
    StreamScale,
    /// The path around attention.
    LaurelLeft,
    LaurelRight,
    LaurelNorm,
    /// Of a layer that predicts further tokens: from embedding and state to what the layer reads, their norms, and the norm
    /// before the head.
    PredictionInput,
    PredictionEmbeddingNorm,
    PredictionStateNorm,
    PredictionNorm,
    /// Its own embedding and head, mostly copies of the model's.
    PredictionEmbedding,
    PredictionHead,
}

impl LayerTensor {
    /// Whether only a layer that predicts further tokens has it.
    pub(super) fn is_of_prediction(self) -> bool {
        matches!(
            self,
            T::PredictionInput
                | T::PredictionEmbeddingNorm
                | T::PredictionStateNorm
                | T::PredictionNorm
                | T::PredictionEmbedding
                | T::PredictionHead
        )
    }
}

/// A tensor of ours in an expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ExpertTensor {
    Gate,
    Up,
    Down,
}

/// How checkpoints store the matrices of a layer's experts.
#[derive(Debug, PartialEq, Eq)]
pub enum ExpertNames {
    /// Each by itself: what precedes its number, and what follows.
    Each {
        /// Before the number.
        experts: &'static str,
        /// Of gate, up and down.
        names: [&'static str; 3],
    },
    /// Those of all experts in one tensor `[experts, out, in]`: of gate, up and down.
    Stacked([&'static str; 3]),
    /// The same with gate and up in one tensor, and no suffix after the names.
    StackedFused {
        /// `[experts, 2 * width, in]`
        gate_up: &'static str,
        /// `[experts, in, width]`
        down: &'static str,
    },
    /// gpt-oss's: gate and up in one tensor, a row of the one after a row of the other; transposed, or in two parts as MXFP4;
    /// biases under the same names.
    Interleaved {
        /// `[experts, in, 2 * width]`
        gate_up: &'static str,
        /// `[experts, width, in]`
        down: &'static str,
    },
}

/// One way to name a model's tensors.
#[derive(Debug, PartialEq, Eq)]
pub struct TensorNames {
    /// The embedding of tokens.
    pub embedding: &'static str,
    /// The embedding of positions, where there is one.
    pub positions: Option<&'static str>,
    /// The layers' own inputs: their table, projection and norm.
    pub layer_inputs: [&'static str; 3],
    /// Between the parts of a residual stream: from the first, and back.
    pub streams: [&'static str; 2],
    /// The norm after the last layer; the first that is there counts.
    pub final_norm: &'static [&'static str],
    /// The output projection; the first that is there counts.
    pub head: &'static [&'static str],
    /// What precedes a layer's number.
    pub layers: &'static str,
    /// The tensors of a layer; where one is listed twice, the first that is there counts.
    pub layer: &'static [(T, &'static str)],
    /// The tensors of a layer whose names have no suffix.
    pub bare: &'static [(T, &'static str)],
    /// The matrices of experts; the first that are there count.
    pub experts: &'static [ExpertNames],
    /// Of a delta net, in one matrix, for each key head: query, key, values, gates.
    pub grouped_qkvz: &'static str,
    /// The same: step sizes, decays.
    pub grouped_ba: &'static str,
    /// Of a state space, in one matrix: gate, input, step sizes.
    pub fused_space: &'static [&'static str],
    /// Compressed keys and values, and rotated keys, in one matrix.
    pub fused_key_down: &'static str,
    /// Of each head: keys, then values, of compressed ones, in one matrix.
    pub fused_kv_up: &'static str,
    /// Query, key and value in one matrix.
    pub fused_qkv: &'static str,
    /// Whether each head's query, key and value follow each other in it (GPT-NeoX).
    pub interleaved_qkv: bool,
    /// Gate and up in one matrix.
    pub fused_gate_up: Option<&'static str>,
    /// Those of the shared expert in one matrix.
    pub fused_shared: Option<&'static str>,
    /// Whether the matrices of layers are `[in, out]` (GPT-2).
    pub transposed: bool,
}

/// What may precede the names of the layer that predicts further tokens, where it is not numbered after the others (Qwen).
pub(super) const PREDICTION_PREFIXES: [&str; 2] = ["mtp.", "model.mtp."];

/// What precedes the names of all tensors but the head: nothing, or what a checkpoint's classes are called.
pub(super) const PREFIXES: [&str; 7] = [
    "",
    "model.",
    "transformer.",
    "gpt_neox.",
    "language_model.model.",
    "model.language_model.",
    "backbone.",
];
