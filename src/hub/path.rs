//! Models named by their path.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::choice::{self, ADAPTER_CONFIG, ADAPTER_WEIGHTS, CONFIG};
use super::environment::expand_home;
use super::{ModelFiles, adapter};
use crate::error::{Error, Result};

/// The first bytes of every GGUF file.
const GGUF_MAGIC: [u8; 4] = *b"GGUF";

/// The model at that path; `None` if nothing is there and the name does not look like a path.
pub(super) fn locate(model: &str) -> Result<Option<ModelFiles>> {
    let path = expand_home(Path::new(model));
    if path.is_dir() {
        return in_folder(model, path, None).map(Some);
    }
    if path.is_file() {
        if !is_gguf(&path)? {
            return Err(Error::unsupported(
                model,
                "it is a file, but not a GGUF file; for a model with safetensors weights, name the folder",
            ));
        }
        return Ok(Some(ModelFiles::Gguf(path)));
    }
    if let Some((folder, label)) = model.rsplit_once(':') {
        let folder = expand_home(Path::new(folder));
        if folder.is_dir() {
            return in_folder(model, folder, Some(label)).map(Some);
        }
    }
    if looks_like_path(model) {
        let reason = if path.symlink_metadata().is_ok() {
            "it is neither a folder nor a file, or a link to nothing"
        } else {
            "there is no such folder or file"
        };
        return Err(Error::not_found(model, reason));
    }
    Ok(None)
}

fn looks_like_path(model: &str) -> bool {
    let gguf_file = choice::has_extension(model, "gguf") && !model.contains(':');
    model.starts_with(['.', '/', '~']) || gguf_file || Path::new(model).is_absolute()
}

fn is_gguf(file: &Path) -> Result<bool> {
    if choice::has_extension(file, "gguf") {
        return Ok(true);
    }
    let mut magic = Vec::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(GGUF_MAGIC.len() as u64).read_to_end(&mut magic))
        .map_err(|error| Error::io(file, error))?;
    Ok(magic == GGUF_MAGIC)
}

/// The model in a folder: the GGUF file of that label, as in a repository; without one, what is in Hugging Face's layout, or
/// the only GGUF file.
fn in_folder(model: &str, folder: PathBuf, label: Option<&str>) -> Result<ModelFiles> {
    if label.is_none() && (folder.join(CONFIG).is_file() || adapter::is_one(&folder)) {
        return Ok(ModelFiles::Folder(folder));
    }
    let entries = std::fs::read_dir(&folder).map_err(|error| Error::io(&folder, error))?;
    let files: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| folder.join(name).is_file())
        .collect();
    if label.is_some() {
        let chosen = choice::choose(model, &files, label)?;
        return Ok(ModelFiles::Gguf(folder.join(&chosen.files()[0])));
    }
    let mut variants = choice::gguf_variants(&files);
    if variants.iter().any(|parts| !choice::is_head(&parts[0])) {
        variants.retain(|parts| !choice::is_head(&parts[0]));
    }
    match variants.as_slice() {
        [parts] => Ok(ModelFiles::Gguf(folder.join(&parts[0]))),
        [] if folder.join(ADAPTER_CONFIG).is_file() => Err(Error::not_found(
            model,
            format!(
                "the folder holds {ADAPTER_CONFIG}, but none of {}",
                ADAPTER_WEIGHTS.join(", ")
            ),
        )),
        [] => Err(Error::not_found(
            model,
            format!("the folder holds neither {CONFIG} nor a .gguf file"),
        )),
        several => {
            let names: Vec<&str> = several.iter().map(|parts| parts[0].as_str()).collect();
            Err(Error::not_found(
                model,
                format!(
                    "the folder holds several .gguf files; name one: {}",
                    names.join(", ")
                ),
            ))
        }
    }
}
