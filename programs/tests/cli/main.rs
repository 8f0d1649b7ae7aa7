//! The command line programs, on the tiny pair.

#[path = "../../../tests/support/mod.rs"]
mod support;

mod adapters;
mod bench;
mod cache;
mod chat;
mod distill;
mod downloaded;
mod errors;
mod generate;
mod help;
mod interrupts;
mod models;
mod shell;
mod tune;

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use support::pair;
use tempfile::TempDir;

/// `specdec` without this process's SPECDEC_ variables.
fn specdec<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    program(env!("CARGO_BIN_EXE_specdec"), args)
}

fn program<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SPECDEC_") {
            command.env_remove(name);
        }
    }
    // The developer may have tuned a model.
    let profiles = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-profiles");
    command.env("SPECDEC_PROFILES", profiles);
    command.env("COLUMNS", "80");
    command
}

/// A command on the pair, with the prompt and other options in `args`; greedy where they give no temperature.
fn on_pair(command: &str, args: &[&str]) -> Command {
    let mut specdec = specdec([command]);
    specdec.arg("--target").arg(pair::folder("target"));
    specdec.arg("--draft").arg(pair::folder("draft"));
    if !args.contains(&"--temperature") {
        specdec.args(["--temperature", "0"]);
    }
    // Last, since some tests append the value of their last option.
    specdec.args(args);
    specdec
}

fn generate(args: &[&str]) -> Command {
    on_pair("generate", args)
}

/// The stdout of a command that must succeed.
fn stdout(mut command: Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(command: Command) -> Value {
    let text = stdout(command);
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Runs a command with `input` on stdin.
fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = spawn(command.stdin(Stdio::piped()));
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn spawn(command: &mut Command) -> Child {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().unwrap()
}

/// Checks that a command fails with this status and a message of one line, which it returns.
fn error(mut command: Command, status: i32) -> String {
    let output = command.output().unwrap();
    check_error(&output, status, &format!("{command:?}"))
}

fn check_error(output: &Output, status: i32, what: &str) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{what}: {stderr}");
    assert!(output.stdout.is_empty(), "{what}");
    assert!(stderr.starts_with("specdec: "), "{what}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
    stderr
}

/// A copy of one of the pair's models.
fn copy(model: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(pair::folder(model)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// The pair's target with a chat template.
fn chat_model() -> TempDir {
    let folder = copy("target");
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:";
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    folder
}

fn chat(model: &Path, args: &[&str]) -> Command {
    let mut specdec = specdec([
        "chat",
        "--max-new-tokens",
        "12",
        "--temperature",
        "0",
        "--draft",
    ]);
    specdec
        .arg(pair::folder("draft"))
        .arg("--target")
        .arg(model);
    specdec.args(args);
    specdec
}
