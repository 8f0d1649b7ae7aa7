//! Finding models: paths, the hub and its cache, wheels. Each lookup runs in a process with its own environment.
#![cfg(unix)]

#[path = "../support/mod.rs"]
mod support;

mod downloads;
mod paths;
mod repositories;
mod wheels;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use specdec_rs::hub::{LocateOptions, ModelFiles, locate};
use specdec_rs::progress::Progress;
use support::hub::Hub;
use tempfile::TempDir;

/// Marks the child's own lines among the test harness's.
const MARK: &str = "@@";

/// The process that looks up a model: the one in `LOCATE_MODEL`, or, run as a test of its own, the pair's target.
#[test]
fn child() {
    let own = || support::pair::folder("target").display().to_string();
    let model = std::env::var("LOCATE_MODEL").unwrap_or_else(|_| own());
    let revision = std::env::var("LOCATE_REVISION").ok();
    let options = LocateOptions {
        with_head: true,
        revision: revision.as_deref(),
        progress: &Printed,
    };
    println!();
    match locate(&model, &options) {
        Ok(ModelFiles::Folder(folder)) => println!("{MARK}folder {}", folder.display()),
        Ok(ModelFiles::Gguf(file)) => println!("{MARK}gguf {}", file.display()),
        Ok(ModelFiles::Adapted(files)) => println!("{MARK}adapted {files:?}"),
        Err(error) => {
            assert!(std::env::var_os("LOCATE_MODEL").is_some(), "{error}");
            let kind = format!("{error:?}");
            let kind = kind.split([' ', '(']).next().unwrap();
            println!("{MARK}error {kind}: {error}");
        }
    }
}

/// Prints each download.
struct Printed;

impl Progress for Printed {
    fn begin(&self, what: &str, total: Option<u64>) {
        println!("\n{MARK}begin {what} {total:?}");
    }
    fn end(&self) {
        println!("\n{MARK}end");
    }
}

/// A machine with its own home folder.
struct Machine {
    home: TempDir,
    variables: Vec<(String, String)>,
}

/// What a lookup printed.
#[derive(Debug)]
struct Outcome {
    lines: Vec<String>,
}

impl Outcome {
    fn last(&self) -> &str {
        self.lines.last().expect("the child prints its outcome")
    }

    fn folder(&self) -> PathBuf {
        self.last()
            .strip_prefix("folder ")
            .unwrap_or_else(|| panic!("no folder: {self:?}"))
            .into()
    }

    fn gguf(&self) -> PathBuf {
        self.last()
            .strip_prefix("gguf ")
            .unwrap_or_else(|| panic!("no file: {self:?}"))
            .into()
    }

    /// The error, which must be of that kind and contain all of `parts`.
    fn error(&self, kind: &str, parts: &[&str]) -> String {
        let message = self.last().strip_prefix(&format!("error {kind}: "));
        let message = message.unwrap_or_else(|| panic!("not a {kind}: {self:?}"));
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
        message.to_owned()
    }
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            home: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        };
        std::fs::create_dir_all(machine.hub_cache()).unwrap();
        machine
    }

    fn with_hub(hub: &Hub) -> Self {
        Self::new().with("HF_ENDPOINT", hub.endpoint())
    }

    fn with(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        let value = value.as_ref().to_str().unwrap().to_owned();
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value));
        self
    }

    fn hub_cache(&self) -> PathBuf {
        self.home.path().join(".cache/huggingface/hub")
    }

    fn command(&self, model: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home.path())
            .env("LOCATE_MODEL", model)
            .envs(self.variables.iter().cloned())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }

    fn locate(&self, model: &str) -> Outcome {
        outcome(&self.command(model).output().unwrap())
    }
}

fn outcome(output: &std::process::Output) -> Outcome {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter_map(|line| line.strip_prefix(MARK));
    Outcome {
        lines: lines.map(str::to_owned).collect(),
    }
}

/// Writes files under a folder; names may have folders.
fn write(root: &Path, files: &[(&str, &[u8])]) {
    for (name, content) in files {
        let file = root.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
}

/// Some weights: bytes without repetition.
fn weights(length: usize) -> Vec<u8> {
    (0..length as u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(length)
        .collect()
}
