//! The texts that drafts are looked up in: the files of a folder, as tokens, in an index that is made once.
//!
//! The index lies in our cache, one for each folder and vocabulary, and is made again when a file has changed.

pub(crate) mod kept;

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::error::{Error, Result};
use crate::files;
use crate::hash::fnv;
use crate::hub;
use crate::progress::Progress;
use crate::speculation::retrieval::{Corpus, CorpusIndex, CorpusOrigin, MAX_CORPUS_TOKENS};
use crate::text::Tokenizer;
use kept::About;

/// Larger files are data, and not read.
const MAX_FILE: u64 = 64 << 20;

/// Bytes that are tokenized at once at least: a tokenizer takes many times as much memory.
const PART: usize = 1 << 20;

/// The texts of a folder, or of a single file.
pub(super) fn open(path: &Path, tokenizer: &Tokenizer, progress: &dyn Progress) -> Result<Corpus> {
    let path = path
        .canonicalize()
        .map_err(|source| Error::io(path, source))?;
    let found = find(&path);
    let described = found.iter().flat_map(|(file, metadata)| {
        let modified = metadata.modified().ok();
        let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let numbers = [
            metadata.len(),
            modified.map_or(0, |time| time.as_nanos() as u64),
        ];
        let name = file.as_os_str().as_encoded_bytes().to_vec();
        name.into_iter()
            .chain([0])
            .chain(numbers.into_iter().flat_map(u64::to_le_bytes))
    });
    let origin = CorpusOrigin {
        fingerprint: tokenizer.fingerprint(),
        digest: fnv(described),
    };
    let name = path.as_os_str().as_encoded_bytes().iter().copied();
    let name = fnv(name.chain(origin.fingerprint.to_le_bytes()));
    let file = kept::index(&format!("{name:016x}"));
    if let Some(index) = CorpusIndex::open(&file, origin)? {
        tracing::info!("corpus: {} tokens of {}", index.len(), path.display());
        return Ok(Corpus::new(index));
    }
    let _lock = files::lock(&file.with_extension("lock"))?;
    // Another process may have made it meanwhile.
    if let Some(index) = CorpusIndex::open(&file, origin)? {
        return Ok(Corpus::new(index));
    }
    let text = tokens(&path, &found, tokenizer, progress)?;
    About::write(&file, &path)?;
    CorpusIndex::write(&file, origin, &text)?;
    let index = CorpusIndex::open(&file, origin)?;
    let index = index.ok_or_else(|| Error::corrupt(&file, "it changed while it was written"))?;
    Ok(Corpus::new(index))
}

/// The files of a folder and of those in it, in the order of their names. Hidden ones, links, those too large for texts, and our own
/// cache are left out, and so is what can't be read.
fn find(path: &Path) -> Vec<(PathBuf, Metadata)> {
    let cache = hub::own_cache().canonicalize().ok();
    let mut found = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(metadata) = path.symlink_metadata() else {
            unread(&path);
            continue;
        };
        if metadata.is_file() && metadata.len() <= MAX_FILE {
            found.push((path, metadata));
        } else if metadata.is_dir() && Some(&path) != cache.as_ref() {
            let Ok(entries) = path.read_dir() else {
                unread(&path);
                continue;
            };
            let entries = entries.flatten();
            let shown =
                entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
            open.extend(shown.map(|entry| entry.path()));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

fn unread(path: &Path) {
    tracing::warn!(
        "{} can't be read: it is not part of the corpus",
        path.display()
    );
}

/// The tokens of all files that are text.
fn tokens(
    path: &Path,
    found: &[(PathBuf, Metadata)],
    tokenizer: &Tokenizer,
    progress: &dyn Progress,
) -> Result<Vec<u32>> {
    let total = found.iter().map(|(_, metadata)| metadata.len()).sum();
    progress.begin(&format!("Indexing {}", path.display()), Some(total));
    let mut tokens = Vec::new();
    let mut texts = 0;
    for (file, metadata) in found {
        if let Some(text) = text_of(file) {
            for part in parts(&text) {
                tokens.extend(tokenizer.encode(part, false)?);
            }
            tokens.push(Corpus::END);
            texts += 1;
        }
        progress.advance(metadata.len());
        if tokens.len() > MAX_CORPUS_TOKENS {
            progress.end();
            let expected = format!("a folder of at most {MAX_CORPUS_TOKENS} tokens");
            return Err(Error::invalid("corpus", path.display(), expected));
        }
    }
    progress.end();
    if texts == 0 {
        return Err(Error::invalid(
            "corpus",
            path.display(),
            "a folder with texts (UTF-8, each of at most 64 MiB)",
        ));
    }
    let others = found.len() - texts;
    tracing::info!(
        "corpus: {} tokens in {texts} texts of {}; {others} other files are left out",
        tokens.len(),
        path.display()
    );
    Ok(tokens)
}

/// The text of a file; `None` if it is none, or can't be read.
fn text_of(file: &Path) -> Option<String> {
    let Ok(bytes) = std::fs::read(file) else {
        unread(file);
        return None;
    };
    let text = String::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.contains('\0')).then_some(text)
}

/// A text in parts that are tokenized one by one, each but the last up to the end of a line.
fn parts(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let end = text
            .as_bytes()
            .iter()
            .skip(PART)
            .position(|byte| *byte == b'\n');
        let (part, rest) = text.split_at(end.map_or(text.len(), |end| PART + end + 1));
        text = rest;
        Some(part)
    })
}
