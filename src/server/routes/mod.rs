//! The handlers of the paths.

pub(super) mod completions;
pub(super) mod metrics;
pub(super) mod models;
pub(super) mod page;
mod stream;
pub(super) mod tokens;
