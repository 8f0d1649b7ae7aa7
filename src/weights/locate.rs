//! locate
#![allow(missing_docs)]
use crate::error::{Error, Result};
use crate::progress::Progress;
use std::path::PathBuf;
/// Where a model's files are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelFiles {
    Folder(PathBuf),
    Gguf(PathBuf),
}
pub struct LocateOptions<'a> {
    pub revision: Option<&'a str>,
    pub progress: &'a dyn Progress,
}
pub fn locate(model: &str, _: &LocateOptions<'_>) -> Result<ModelFiles> {
    let path = PathBuf::from(model);
    if path.is_dir() {
        Ok(ModelFiles::Folder(path))
    } else if path.is_file() {
        Ok(ModelFiles::Gguf(path))
    } else {
        Err(Error::not_found(model, "stub"))
    }
}
