//! What is known about a loaded model.

/// Facts about a model, for people and reports.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct ModelInfo {
    /// The family, as config.json's `model_type` names it.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of the weights in memory.
    pub bytes: u64,
    /// How most weights are stored.
    pub quantization: String,
    /// Where it computes.
    pub device: String,
    /// With which kernels.
    pub kernels: String,
    /// Threads of the processor that compute.
    pub threads: usize,
    /// Tokens that fit its context.
    pub context_length: usize,
    /// Bytes that a token's keys and values take; 0: unknown.
    pub cache_bytes_per_token: usize,
    /// Tokens that it knows.
    pub vocab_size: usize,
}
