//! Models from a hub's repositories, through the cache.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cache::RepositoryCache;
use super::checksum::{Verified, is_sha256};
use super::choice::{self, Choice};
use super::disk;
use super::download::Download;
use super::environment::Settings;
use super::http::{Client, Failure, Fetched};
use super::name::HubName;
use super::{LocateOptions, ModelFiles};
use crate::error::{Error, Result};

/// The revision that is meant where none is named.
const DEFAULT_REVISION: &str = "main";
/// Longer than any commit or content's name.
const MAX_PATH_PART: usize = 96;

/// Finds the model of that name: asks the hub which files it has, and downloads those that are not in the cache.
pub(super) fn locate(
    model: &str,
    name: &HubName,
    options: &LocateOptions<'_>,
    settings: &Settings,
) -> Result<ModelFiles> {
    let revision = options.revision.unwrap_or(DEFAULT_REVISION);
    if !disk::stays_inside(revision) {
        return Err(Error::invalid(
            "revision",
            revision,
            "a branch, tag or commit",
        ));
    }
    let pull = Pull {
        model,
        name,
        revision,
        options,
        client: Client::new(settings),
        cache: RepositoryCache::new(&settings.hub_cache, &name.repository),
        verified: Verified::new(&settings.own_cache),
    };
    if settings.offline {
        return pull.cached("HF_HUB_OFFLINE is set; unset it to download the model");
    }
    match pull.pull() {
        Ok(files) => Ok(files),
        Err(failure @ (Failure::Unreachable(_) | Failure::Unavailable(_))) => {
            let outage = format!("{} {failure}", pull.client.endpoint());
            let found = pull.cached(&format!(
                "{outage}; go online, or name a folder or a .gguf file"
            ))?;
            tracing::warn!("{outage}: {model} is taken from the cache as it is");
            Ok(found)
        }
        Err(failure) => Err(pull.explain(failure)),
    }
}

/// What the hub says of a repository.
#[derive(Deserialize)]
struct Description {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

/// The file that lists the shards.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: std::collections::BTreeMap<String, String>,
}

struct Pull<'a> {
    model: &'a str,
    name: &'a HubName,
    revision: &'a str,
    options: &'a LocateOptions<'a>,
    client: Client,
    cache: RepositoryCache,
    verified: Verified,
}

impl Pull<'_> {
    fn pull(&self) -> Fetched<ModelFiles> {
        let description = self.describe()?;
        let commit = &description.sha;
        let names: Vec<String> = description
            .siblings
            .iter()
            .map(|sibling| sibling.rfilename.clone())
            .filter(|name| disk::stays_inside(name))
            .collect();
        let fetch = |name: &String| {
            let sibling = description
                .siblings
                .iter()
                .find(|sibling| sibling.rfilename == *name);
            self.fetch(commit, name, sibling.and_then(|sibling| sibling.size))
        };
        let chosen = choice::choose(self.model, &names, self.name.quantization.as_deref())?;
        chosen.files().iter().try_for_each(fetch)?;
        if matches!(chosen, Choice::ShardedFolder(_)) {
            self.shards(commit, &names)?.iter().try_for_each(fetch)?;
        }
        self.cache.set_commit(self.revision, commit)?;
        Ok(self.files(commit, &chosen))
    }

    fn describe(&self) -> Fetched<Description> {
        let answer = self.client.describe(&self.name.repository, self.revision)?;
        let description: Description = serde_json::from_slice(&answer).map_err(|error| {
            Failure::Unexpected(format!("it does not describe the repository ({error})"))
        })?;
        if !is_path_part(&description.sha) {
            return Err(Failure::Unexpected(format!(
                "it names no commit but {:?}",
                description.sha
            )));
        }
        Ok(description)
    }

    /// The files that the weights are spread over, by the index in the cache.
    fn shards(&self, commit: &str, names: &[String]) -> Result<Vec<String>> {
        let file = self.cache.snapshot(commit).join(choice::INDEX);
        let text = std::fs::read(&file).map_err(|error| Error::io(&file, error))?;
        let index: ShardIndex = serde_json::from_slice(&text)
            .map_err(|error| Error::corrupt(&file, error.to_string()))?;
        let mut shards: Vec<String> = index.weight_map.into_values().collect();
        shards.sort();
        shards.dedup();
        match shards.iter().find(|shard| !names.contains(shard)) {
            Some(missing) => Err(Error::corrupt(
                &file,
                format!(
                    "it names {missing:?}, which is not among the model's files here; pull the model again"
                ),
            )),
            None => Ok(shards),
        }
    }

    /// Sees to it that a file of the commit is in the cache, and sound.
    fn fetch(&self, commit: &str, name: &str, size: Option<u64>) -> Fetched<()> {
        if self.is_cached(commit, name, size)? {
            return Ok(());
        }
        let url = self.client.file_url(&self.name.repository, commit, name);
        let head = self.client.head(&url).map_err(|failure| match failure {
            Failure::Missing => {
                Failure::Unexpected(format!("it lists {name}, but does not have it"))
            }
            other => other,
        })?;
        if !is_path_part(&head.etag) {
            return Err(Failure::Unexpected(format!(
                "{name} has the odd ETag {:?}",
                head.etag
            )));
        }
        let size = head.size.or(size);
        let blob = self.cache.blob(&head.etag);
        let _lock = self.cache.lock(&head.etag)?;
        if !self.is_sound(&blob, size)? {
            self.download(&url, name, &head.etag, size, &blob)?;
        }
        self.cache.link(&head.etag, commit, name)?;
        Ok(())
    }

    fn download(
        &self,
        url: &str,
        name: &str,
        etag: &str,
        size: Option<u64>,
        blob: &Path,
    ) -> Fetched<()> {
        if let Some(folder) = blob.parent() {
            disk::create_folder(folder)?;
        }
        let partial = self.cache.partial(etag);
        let download = Download {
            client: &self.client,
            url,
            label: &format!("{} {name}", self.name.repository),
            size,
            sha256: is_sha256(etag).then_some(etag),
            progress: self.options.progress,
        };
        download.fill(&partial)?;
        disk::rename(&partial, blob)?;
        if is_sha256(etag) {
            self.verified.record(blob, etag);
        }
        Ok(())
    }

    fn is_cached(&self, commit: &str, name: &str, size: Option<u64>) -> Result<bool> {
        match self.cache.snapshot(commit).join(name).canonicalize() {
            Ok(blob) => self.is_sound(&blob, size),
            Err(_) => Ok(false),
        }
    }

    /// Whether a blob has its size and, where its name is its checksum, that checksum.
    fn is_sound(&self, blob: &Path, size: Option<u64>) -> Result<bool> {
        let Ok(metadata) = blob.metadata() else {
            return Ok(false);
        };
        let name = blob
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let sound = size.is_none_or(|size| size == metadata.len())
            && (!is_sha256(name) || self.verified.is_sound(blob, name)?);
        if !sound {
            tracing::warn!("{} is damaged", blob.display());
        }
        Ok(sound)
    }

    /// The model as an earlier download left it; `otherwise` says why nothing else can be done.
    fn cached(&self, otherwise: &str) -> Result<ModelFiles> {
        let absent = |what: &str| {
            let place = self.cache.folder().display();
            Error::not_found(
                self.model,
                format!("{what} in the cache at {place}, and {otherwise}"),
            )
        };
        let commit = self
            .cache
            .commit(self.revision)
            .filter(|commit| self.cache.snapshot(commit).is_dir())
            .ok_or_else(|| absent(&format!("no revision {:?}", self.revision)))?;
        let names = self.cache.files(&commit)?;
        let chosen = choice::choose(self.model, &names, self.name.quantization.as_deref())
            .map_err(|_| absent("not all its files are"))?;
        let mut files = chosen.files().to_vec();
        if matches!(chosen, Choice::ShardedFolder(_)) {
            let shards = self.shards(&commit, &names);
            files.extend(shards.map_err(|_| absent("not all its weights are"))?);
        }
        for name in files {
            if !self.is_cached(&commit, &name, None)? {
                return Err(absent(&format!("a damaged {name} was")));
            }
        }
        Ok(self.files(&commit, &chosen))
    }

    fn files(&self, commit: &str, chosen: &Choice) -> ModelFiles {
        let snapshot: PathBuf = self.cache.snapshot(commit);
        match chosen {
            Choice::Gguf(parts) => ModelFiles::Gguf(snapshot.join(&parts[0])),
            Choice::Folder(_) | Choice::ShardedFolder(_) => ModelFiles::Folder(snapshot),
        }
    }

    fn explain(&self, failure: Failure) -> Error {
        let (endpoint, repository) = (self.client.endpoint(), &self.name.repository);
        let reason = match failure {
            Failure::Local(error) => return error,
            Failure::Missing if self.revision == DEFAULT_REVISION => {
                format!(
                    "it is no path here, and {endpoint} has no repository {repository:?}; check the name"
                )
            }
            Failure::Missing => format!(
                "{endpoint} has no repository {repository:?} with a revision {:?}; check both names",
                self.revision
            ),
            Failure::Denied(status) if self.client.has_token() => format!(
                "{endpoint} refuses it to your token (status {status}); accept the model's terms at {endpoint}/{repository}, or set HF_TOKEN to a token that may read it"
            ),
            Failure::Denied(status) => format!(
                "{endpoint} refuses it (status {status}): it is gated, private, or does not exist; set HF_TOKEN to a token that may read it"
            ),
            other => format!("{endpoint} {other}; check HF_ENDPOINT"),
        };
        Error::not_found(self.model, reason)
    }
}

/// Whether a server's word may name a file in the cache.
fn is_path_part(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !word.is_empty()
        && word.len() <= MAX_PATH_PART
        && word.chars().all(plain)
        && !word.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_names_cannot_lead_out_of_the_cache() {
        assert!(is_path_part("607a30d783dfa663caf39e06633721c8d4cfcd7e"));
        for hostile in [
            "",
            "..",
            ".hidden",
            "a/b",
            "a\\b",
            "a b",
            "a\0",
            &"a".repeat(200),
        ] {
            assert!(!is_path_part(hostile), "{hostile:?}");
        }
    }
}
