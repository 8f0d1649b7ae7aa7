//! Models from a hub's repositories, through the cache.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::cache::RepositoryCache;
use super::checksum::{Checksum, Verified};
use super::choice::{self, Choice};
use super::download::Download;
use super::environment::Settings;
use super::error::{FetchError, FetchResult};
use super::http::Client;
use super::name::{HubName, stays_inside};
use super::{LocateOptions, ModelFiles};
use crate::error::{Error, Result};
use crate::files::{self, Small};
use crate::json;

/// The revision when none is named.
const DEFAULT_REVISION: &str = "main";
/// For a small file of any size.
const MAX_WAIT: Duration = Duration::from_secs(120);
/// The slowest connection on which small files arrive in time.
const MIN_BYTES_PER_SECOND: u64 = 16 << 10;
/// Longer than any commit or `ETag` of the hub.
const MAX_NAME_BYTES: usize = 96;

/// Finds the model of that name: asks the hub for its files, and downloads those that are not in the cache.
pub(super) fn locate(
    model: &str,
    name: &HubName,
    options: &LocateOptions<'_>,
    settings: &Settings,
) -> Result<ModelFiles> {
    let revision = options.revision.unwrap_or(DEFAULT_REVISION);
    if !stays_inside(revision) {
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
        Err(failure @ (FetchError::Unreachable(_) | FetchError::Unavailable(_))) => {
            let outage = format!("{} {failure}", pull.client.endpoint());
            let found = pull.cached(&format!(
                "{outage}; go online, or name a folder or a .gguf file"
            ))?;
            tracing::warn!("{outage}: using {model} from the cache");
            Ok(found)
        }
        Err(failure) => Err(pull.explain(failure)),
    }
}

/// The hub's description of a repository.
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

/// The index of sharded weights: which file holds which tensor.
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
    fn pull(&self) -> FetchResult<ModelFiles> {
        let description = self.describe()?;
        let commit = &description.sha;
        let names: Vec<String> = description
            .siblings
            .iter()
            .map(|sibling| sibling.rfilename.clone())
            .filter(|name| stays_inside(name))
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
        if let Some(index) = chosen.index() {
            let shards = self.shards(commit, index, &names)?;
            shards.iter().try_for_each(fetch)?;
        }
        self.cache.set_commit(self.revision, commit)?;
        if self.options.with_head
            && let Err(error) = chosen.head(&names).iter().try_for_each(fetch)
        {
            // The model is whole without it.
            let reason = self.explain(error);
            tracing::warn!("the draft head beside {} is not used: {reason}", self.model);
        }
        Ok(self.files(commit, &chosen))
    }

    fn describe(&self) -> FetchResult<Description> {
        let answer = self.client.describe(&self.name.repository, self.revision)?;
        let description: Description = serde_json::from_slice(&answer).map_err(|error| {
            FetchError::Invalid(format!(
                "the description of the repository is not valid ({error})"
            ))
        })?;
        if !is_file_name(&description.sha) {
            return Err(FetchError::Invalid(format!(
                "{:?} is not the name of a commit",
                description.sha
            )));
        }
        Ok(description)
    }

    /// The files of sharded weights, by an index in the cache.
    fn shards(&self, commit: &str, index: &str, names: &[String]) -> Result<Vec<String>> {
        let file = self.cache.snapshot(commit).join(index);
        let text = files::read(&file, Small::Vocabulary)?;
        let index: ShardIndex = json::parse(&file, &text)?;
        let mut shards: Vec<String> = index.weight_map.into_values().collect();
        shards.sort();
        shards.dedup();
        match shards.iter().find(|shard| !names.contains(shard)) {
            Some(missing) => Err(Error::corrupt(
                &file,
                format!(
                    "it names {missing:?}, which is not one of the model's files; pull the model again"
                ),
            )),
            None => Ok(shards),
        }
    }

    /// Downloads a file of the commit unless a valid one is in the cache.
    fn fetch(&self, commit: &str, name: &str, size: Option<u64>) -> FetchResult<()> {
        if self.is_cached(commit, name, size)? {
            return Ok(());
        }
        let url = self.client.file_url(&self.name.repository, commit, name);
        let head = self.client.head(&url).map_err(|failure| match failure {
            FetchError::Missing => {
                FetchError::Invalid(format!("the hub lists {name}, but does not have it"))
            }
            other => other,
        })?;
        if !is_file_name(&head.etag) {
            return Err(FetchError::Invalid(format!(
                "{name} has the invalid ETag {:?}",
                head.etag
            )));
        }
        let size = head.size.or(size);
        check_size(name, size)?;
        let blob = self.cache.blob(&head.etag);
        let _lock = self.cache.lock(&head.etag)?;
        if !self.is_valid(&blob, size)? {
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
    ) -> FetchResult<()> {
        if let Some(folder) = blob.parent() {
            files::create_folder(folder)?;
        }
        let partial = self.cache.partial(etag);
        let download = Download {
            client: &self.client,
            url,
            label: &format!("{} {name}", self.name.repository),
            size,
            name: etag,
            time: (!is_weights(name)).then(|| time_for(size)),
            progress: self.options.progress,
        };
        download.complete(&partial)?;
        files::rename(&partial, blob)?;
        if Checksum::of_name(etag).is_some() {
            self.verified.record(blob, etag);
        }
        Ok(())
    }

    fn is_cached(&self, commit: &str, name: &str, size: Option<u64>) -> Result<bool> {
        match self.cache.snapshot(commit).join(name).canonicalize() {
            Ok(blob) => self.is_valid(&blob, size),
            Err(_) => Ok(false),
        }
    }

    /// Whether a blob has the size and, if its name is a checksum, that checksum.
    fn is_valid(&self, blob: &Path, size: Option<u64>) -> Result<bool> {
        let Ok(metadata) = blob.metadata() else {
            return Ok(false);
        };
        let name = blob
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let valid =
            size.is_none_or(|size| size == metadata.len()) && self.verified.is_valid(blob, name)?;
        if !valid {
            tracing::warn!("{} is corrupt", blob.display());
        }
        Ok(valid)
    }

    /// The model from an earlier download; `advice` ends the error if it is incomplete.
    fn cached(&self, advice: &str) -> Result<ModelFiles> {
        let absent = |what: &str| {
            let cache = self.cache.folder().display();
            Error::not_found(
                self.model,
                format!("{what} in the cache at {cache}, and {advice}"),
            )
        };
        let commit = self
            .cache
            .commit(self.revision)
            .filter(|commit| self.cache.snapshot(commit).is_dir())
            .ok_or_else(|| absent(&format!("no revision {:?}", self.revision)))?;
        let names = self.cache.files(&commit)?;
        let chosen = choice::choose(self.model, &names, self.name.quantization.as_deref())
            .map_err(|_| absent("some of its files are missing"))?;
        let mut files = chosen.files().to_vec();
        if let Some(index) = chosen.index() {
            let shards = self.shards(&commit, index, &names);
            files.extend(shards.map_err(|_| absent("some of its weights are missing"))?);
        }
        for name in files {
            if !self.is_cached(&commit, &name, None)? {
                return Err(absent(&format!("{name} is corrupt")));
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

    fn explain(&self, failure: FetchError) -> Error {
        let (endpoint, repository) = (self.client.endpoint(), &self.name.repository);
        let reason = match failure {
            FetchError::Local(error) => return error,
            FetchError::Missing if self.revision == DEFAULT_REVISION => {
                format!(
                    "it is not a path, and {endpoint} has no repository {repository:?}; check the name"
                )
            }
            FetchError::Missing => format!(
                "{endpoint} has no repository {repository:?} with a revision {:?}; check both names",
                self.revision
            ),
            FetchError::Denied(status) if self.client.has_token() => format!(
                "{endpoint} refuses it to your token (status {status}); accept the model's terms at {endpoint}/{repository}, or set HF_TOKEN to a token that may read it"
            ),
            FetchError::Denied(status) => format!(
                "{endpoint} refuses it (status {status}): it is gated, private, or does not exist; set HF_TOKEN to a token that may read it"
            ),
            other => format!("{endpoint} {other}; check HF_ENDPOINT"),
        };
        Error::not_found(self.model, reason)
    }
}

fn is_weights(name: &str) -> bool {
    ["gguf", "safetensors", "bin"]
        .iter()
        .any(|extension| choice::has_extension(name, extension))
}

/// Refuses a small file that could not be read afterwards.
fn check_size(name: &str, size: Option<u64>) -> FetchResult<()> {
    let max_bytes = Small::Vocabulary.max_bytes();
    match size {
        Some(size) if size > max_bytes && !is_weights(name) => Err(FetchError::Invalid(format!(
            "{name} has {size} bytes: expected at most {max_bytes}"
        ))),
        _ => Ok(()),
    }
}

/// The most time that a small file may take: a hub that sends a byte now and then would be waited for without end.
fn time_for(size: Option<u64>) -> Duration {
    let size = size.unwrap_or(Small::Vocabulary.max_bytes());
    MAX_WAIT + Duration::from_secs(size / MIN_BYTES_PER_SECOND)
}

/// Whether a name sent by a server may become a file's name in the cache.
fn is_file_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name.chars().all(allowed)
        && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_a_server_stay_in_the_cache() {
        assert!(is_file_name("607a30d783dfa663caf39e06633721c8d4cfcd7e"));
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
            assert!(!is_file_name(hostile), "{hostile:?}");
        }
    }
}
