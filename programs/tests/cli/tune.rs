//! `specdec tune` and the profiles that it keeps.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::pair;
use crate::{error, json, specdec, stdout};

/// `specdec` with a folder of profiles, on the pair's target.
fn with_profiles(folder: &Path, command: &str, args: &[&str]) -> Command {
    let mut specdec = specdec([command]);
    specdec
        .arg("--target")
        .arg(pair::folder("target"))
        .args(args);
    specdec.env("SPECDEC_PROFILES", folder);
    specdec
}

#[test]
fn tune_measures_drafts_beside_auto_and_plain_decoding() {
    let folder = tempfile::tempdir().unwrap();
    let draft = pair::folder("draft").display().to_string();
    let options = [
        "--draft", &draft, "--prompt", "You may", "-n", "8", "--learn", "50",
    ];
    let tune = |more: &[&str]| with_profiles(folder.path(), "tune", &[&options[..], more].concat());
    let shown = stdout(tune(&["--dry-run"]));
    assert!(shown.starts_with("draft "), "{shown}");
    assert!(shown.contains("\nnone "), "{shown}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let report = json(tune(&["--json"]));
    let trials = report["trials"].as_array().unwrap();
    let tried: Vec<&str> = trials
        .iter()
        .map(|trial| trial["draft"].as_str().unwrap())
        .collect();
    let expected = [
        "none",
        "auto",
        "ngram",
        "table",
        "recycling",
        "auto",
        "auto",
        "auto",
        "model",
        "auto",
        "auto",
        "auto",
    ];
    assert_eq!(tried, expected);
    for trial in trials {
        let speed = trial["tokens_per_second"].as_f64().unwrap();
        let [slowest, fastest] = [0, 1].map(|side| {
            let range = &trial["tokens_per_second_range"];
            range[side].as_f64().unwrap()
        });
        assert!(
            0.0 < slowest && slowest <= speed && speed <= fastest,
            "{trial}"
        );
    }
    // Eight tokens of text are too few to keep anything, whatever was the fastest.
    assert_eq!(report["tokens"], 8);
    assert_eq!(
        (&report["best"], &report["profile"]),
        (&Value::Null, &Value::Null)
    );
    let conclusion = report["conclusion"].as_str().unwrap();
    assert!(
        conclusion.contains("8 tokens of text are too few"),
        "{conclusion}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn tune_keeps_a_profile_only_if_it_is_justified() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--prompt", "You may", "-n", "200", "--ignore-eos", "--raw"];
    let tune = |more: &[&str]| with_profiles(folder.path(), "tune", &[&options[..], more].concat());
    let shown = json(with_profiles(folder.path(), "tune", &["--show", "--json"]));
    let file = PathBuf::from(shown["file"].as_str().unwrap());
    let profile = |draft: &str, model: Option<&str>| {
        let profile = serde_json::json!({
            "model": model, "draft": draft, "gamma": 16, "table": null, "speedup": 2.0,
        });
        std::fs::write(&file, profile.to_string()).unwrap();
    };
    // Whether a draft wins depends on the machine; what is kept has to follow.
    profile("recycling", None);
    let report = json(tune(&["--json"]));
    assert_eq!(report["tokens"], 200);
    match &report["best"] {
        Value::Null => {
            assert_eq!(report["profile"], Value::Null);
            assert_eq!(report["removed"].as_str(), file.to_str());
            assert!(!file.exists());
            let conclusion = report["conclusion"].as_str().unwrap();
            assert!(conclusion.contains("no profile is needed"), "{conclusion}");
        }
        best => {
            let text = std::fs::read_to_string(&file).unwrap();
            let kept: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&kept, &report["removed"]), (best, &Value::Null));
        }
    }
}

#[test]
fn a_profile_is_used_announced_shown_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let target = pair::folder("target").display().to_string();
    let generate = |more: &[&str]| {
        let greedy = ["--temperature", "0"];
        let options = ["You may", "-n", "8", "--json", "--raw", "--fixed"];
        let options = [&options[..], &greedy].concat();
        with_profiles(folder.path(), "generate", &[&options[..], more].concat())
    };
    let tune = |args: &[&str]| with_profiles(folder.path(), "tune", args);
    assert_eq!(
        stdout(tune(&["--show"])),
        format!("{target} has no profile\n")
    );
    assert_eq!(
        stdout(tune(&["--reset"])),
        format!("{target} has no profile\n")
    );
    let shown = json(tune(&["--show", "--json"]));
    assert_eq!(shown["profile"], Value::Null);
    let file = shown["file"].as_str().unwrap();
    let profile = serde_json::json!({
        "model": null, "draft": "recycling", "gamma": 8, "table": null, "speedup": 2.0,
    });
    std::fs::write(file, profile.to_string()).unwrap();

    let plain = json(generate(&["--draft", "none"]));
    let output = generate(&[]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let used = "draft recycling, gamma 8 (--no-profile ignores it)";
    assert_eq!(stderr, format!("using the profile of {target}: {used}\n"));
    let drafted: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(drafted["text"], plain["text"]);
    let ignored = generate(&["--no-profile"]).output().unwrap();
    assert_eq!(String::from_utf8(ignored.stderr).unwrap(), "");

    let text = stdout(tune(&["--show"]));
    assert!(
        text.contains("draft recycling, gamma 8\n") && text.contains(file),
        "{text}"
    );
    assert_eq!(json(tune(&["--show", "--json"]))["profile"], profile);

    std::fs::write(file, "{\"draft\": 7}").unwrap();
    let message = error(generate(&[]), 1);
    assert!(
        message.contains("--no-profile") && message.contains("--reset"),
        "{message}"
    );
    assert_eq!(json(generate(&["--no-profile"]))["text"], plain["text"]);
    assert_eq!(json(tune(&["--reset", "--json"]))["removed"][0], *file);
    assert_eq!(json(tune(&["--show", "--json"]))["profile"], Value::Null);
}
