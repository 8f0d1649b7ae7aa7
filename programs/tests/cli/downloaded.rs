//! `specdec models`.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::{error, json, specdec, stdout};

/// A cache with a repository, whose snapshot has links, and a model from a package.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let repository = home.path().join("hub/models--owner--name");
    let snapshot = repository.join("snapshots/1234");
    fs::create_dir_all(repository.join("blobs")).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    let blob = repository.join("blobs/abcd");
    fs::write(&blob, [0; 3000]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&blob, snapshot.join("model.safetensors")).unwrap();
    let package = home.path().join("specdec/pypi/package==1.0");
    fs::create_dir_all(&package).unwrap();
    fs::write(package.join("model.gguf"), [0; 50]).unwrap();
    home
}

fn on<S: AsRef<OsStr>>(home: &TempDir, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = specdec(["models"]);
    command.args(args).env("HF_HOME", home.path());
    command
        .env_remove("HF_HUB_CACHE")
        .env_remove("HUGGINGFACE_HUB_CACHE");
    command
}

#[test]
fn downloaded_models_are_listed_and_removed() {
    let home = home();
    let listed = json(on(&home, ["list", "--json"]));
    let found: Vec<_> = listed.as_array().unwrap().iter().collect();
    let named = |index: usize| {
        (
            found[index]["model"].as_str(),
            found[index]["bytes"].as_u64(),
        )
    };
    assert_eq!(found.len(), 2);
    assert_eq!(named(0), (Some("owner/name"), Some(3000)));
    assert_eq!(named(1), (Some("pypi:package==1.0"), Some(50)));
    let text = stdout(on(&home, ["ls"]));
    assert!(text.contains("owner/name"), "{text}");
    let unknown = error(on(&home, ["rm", "owner/nam"]), 2);
    assert!(
        unknown.contains("owner/name, pypi:package==1.0"),
        "{unknown}"
    );
    let removed = stdout(on(&home, ["rm", "owner/name", "pypi:package==1.0"]));
    assert!(
        removed.contains("removed 2.93 KiB of owner/name"),
        "{removed}"
    );
    assert!(!home.path().join("hub/models--owner--name").exists());
    let text = stdout(on(&home, ["list"]));
    assert!(text.contains("specdec pull"), "{text}");
}

#[test]
fn a_name_is_no_path() {
    let home = home();
    let outside = home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for name in ["../outside", "owner/../../outside", "/", ".", ""] {
        error(on(&home, ["rm", name]), 2);
    }
    assert!(outside.exists());
}
