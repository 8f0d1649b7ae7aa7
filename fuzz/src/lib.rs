//! What the fuzz targets share.
//!
//! An input is the text of one or several files, divided by zero bytes ([`parts`]): a person can read it, and JSON never holds
//! one. [`Folder`] holds the files, [`mutate`] changes JSON as JSON, [`answer`] uses a model, and [`catch_panics`] is for
//! targets whose code may catch a panic of a library.

mod answer;
mod archive;
mod folder;
mod models;
mod mutate;
mod panics;
mod parts;
mod weights;

pub use answer::{answer, check_error, settings};
pub use archive::archive;
pub use folder::Folder;
pub use models::{model, pair};
pub use mutate::mutate;
pub use panics::{catch_panics, reported};
pub use parts::parts;
pub use weights::{filler, read_tensors, safetensors};
