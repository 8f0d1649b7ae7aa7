//! Cohere's models.

use super::*;

/// Command R7B and Command A.
pub(super) static COHERE2: Preset = Preset {
    models: "Command R7B and Command A",
    model_types: &["cohere2"],
    gguf: "cohere2",
    norm: NormKind::Layer(1e-5),
    norm_biases: false,
    residual: Residual::ParallelOneNorm,
    positions: Positions::RotaryIfSliding,
    pairing: Pairing::Interleaved,
    sliding: SlidingLayers::AllButEvery(4),
    logit_scale: LogitScale::Factor,
    ..LLAMA
};
