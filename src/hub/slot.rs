//! Our own cache: a folder for each GGUF file, which is there whole and sound, or not at all.

use std::path::PathBuf;

use super::checksum::{Verified, is_sha256};
use super::environment::Settings;
use super::{ModelFiles, disk};
use crate::error::{Error, Result};

/// The place of one GGUF file.
pub(super) struct Slot<'a> {
    /// The model as the user named it.
    pub model: &'a str,
    pub folder: PathBuf,
    /// Where the file is gathered before it is known to be whole.
    pub partial: PathBuf,
    file: PathBuf,
    /// Holds the checksum of a file for which none is known beforehand.
    checksum_file: PathBuf,
    pinned: Option<&'a str>,
    verified: Verified,
}

impl<'a> Slot<'a> {
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

    /// Takes no file but that of this checksum.
    pub fn pinned(self, checksum: &'a str) -> Self {
        Self {
            pinned: Some(checksum),
            ..self
        }
    }

    /// The file. If it is not there or damaged, `pull` gathers it at `partial` and returns its SHA-256; of several
    /// processes at once, one pulls.
    pub fn fill(
        &self,
        settings: &Settings,
        pull: impl FnOnce(&Self) -> Result<String>,
    ) -> Result<ModelFiles> {
        if !self.is_sound()? {
            if settings.offline {
                let place = self.file.display();
                let reason = format!(
                    "it is not at {place}, and HF_HUB_OFFLINE is set; unset it to download the model"
                );
                return Err(Error::not_found(self.model, reason));
            }
            let _lock = disk::lock(&self.folder.join("lock"))?;
            if !self.is_sound()? {
                let checksum = pull(self)?;
                disk::rename(&self.partial, &self.file)?;
                disk::write(&self.checksum_file, &checksum)?;
                self.verified.record(&self.file, &checksum);
            }
        }
        Ok(ModelFiles::Gguf(self.file.clone()))
    }

    fn is_sound(&self) -> Result<bool> {
        let checksum = match self.pinned {
            Some(checksum) => checksum.to_owned(),
            None => std::fs::read_to_string(&self.checksum_file).unwrap_or_default(),
        };
        if !self.file.is_file() || !is_sha256(&checksum) {
            return Ok(false);
        }
        let sound = self.verified.is_sound(&self.file, &checksum)?;
        if !sound {
            tracing::warn!("{} is damaged: it is pulled again", self.file.display());
        }
        Ok(sound)
    }
}
