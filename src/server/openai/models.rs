//! `/v1/models` and `/health`.

use schemars::JsonSchema;
use serde::Serialize;

use super::respond::Object;
use crate::model::ModelInfo;

/// The served model.
#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct Model {
    pub(in crate::server) id: String,
    pub(in crate::server) object: Object,
    /// When the server started, in seconds since 1970.
    pub(in crate::server) created: u64,
    pub(in crate::server) owned_by: &'static str,
    /// The maximum number of tokens of prompt and answer together.
    pub(in crate::server) max_model_len: usize,
    /// Facts about the model.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub(in crate::server) meta: ModelInfo,
}

/// The list of models: it has one.
#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct ModelList {
    pub(in crate::server) object: Object,
    pub(in crate::server) data: Vec<Model>,
}

/// The health of the server.
#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct Health {
    pub(in crate::server) status: Status,
}

/// Whether requests are answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::server) enum Status {
    Ok,
}

impl Health {
    pub(in crate::server) const OK: Self = Self { status: Status::Ok };
}
