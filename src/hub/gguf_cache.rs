//! Our own cache, for GGUF files from elsewhere than a hub repository: one folder per file.

use std::path::PathBuf;

use super::ModelFiles;
use super::checksum::{Verified, is_sha256};
use super::environment::Settings;
use crate::error::{Error, Result};
use crate::files::{self, Access, Small};

/// One GGUF file of the cache.
pub(super) struct CachedGguf<'a> {
    /// The model as the user named it.
    pub model: &'a str,
    pub folder: PathBuf,
    /// The file while it is incomplete.
    pub partial: PathBuf,
    file: PathBuf,
    /// Contains the checksum of a file whose checksum is not pinned.
    checksum_file: PathBuf,
    pinned: Option<&'a str>,
    verified: Verified,
}

impl<'a> CachedGguf<'a> {
    pub fn new(model: &'a str, folder: PathBuf, settings: &Settings) -> Self {
        Self {
            model,
            partial: folder.join("model.gguf.incomplete"),
            file: folder.join("model.gguf"),
            checksum_file: folder.join("model.gguf.sha256"),
            folder,
            pinned: None,
            verified: Verified::new(&settings.own_cache),
        }
    }

    /// Accepts only a file of this checksum.
    pub fn pinned(self, checksum: &'a str) -> Self {
        Self {
            pinned: Some(checksum),
            ..self
        }
    }

    /// The file. If it is missing or corrupt, `pull` writes it to `partial` and returns its SHA-256; of several
    /// processes at once, one pulls.
    pub fn get_or_pull(
        &self,
        settings: &Settings,
        pull: impl FnOnce(&Self) -> Result<String>,
    ) -> Result<ModelFiles> {
        if !self.is_valid()? {
            if settings.offline {
                let path = self.file.display();
                let reason = format!(
                    "it is not at {path}, and HF_HUB_OFFLINE is set; unset it to download the model"
                );
                return Err(Error::not_found(self.model, reason));
            }
            let _lock = files::lock(&self.folder.join("lock"))?;
            if !self.is_valid()? {
                let checksum = pull(self)?;
                files::rename(&self.partial, &self.file)?;
                files::write(&self.checksum_file, &checksum, Access::Shared)?;
                self.verified.record(&self.file, &checksum);
            }
        }
        Ok(ModelFiles::Gguf(self.file.clone()))
    }

    fn is_valid(&self) -> Result<bool> {
        let checksum = match self.pinned {
            Some(checksum) => checksum.to_owned(),
            None => files::read_text(&self.checksum_file, Small::Settings).unwrap_or_default(),
        };
        if !self.file.is_file() || !is_sha256(&checksum) {
            return Ok(false);
        }
        let valid = self.verified.is_valid(&self.file, &checksum)?;
        if !valid {
            tracing::warn!("{} is corrupt: pulling it again", self.file.display());
        }
        Ok(valid)
    }
}
