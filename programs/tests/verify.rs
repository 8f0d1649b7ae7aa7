//! `specdec verify` on the command line.

#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{pair, real_model};

fn verify(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_specdec"));
    command.arg("verify").args(args).stdin(Stdio::null());
    command.output().unwrap()
}

/// The output of an audit that must find nothing.
fn found_lossless(args: &[&str]) -> String {
    let output = verify(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}{stdout}");
    stdout
}

#[test]
fn the_pair_is_lossless_under_any_settings() {
    let [target, draft] =
        ["target", "draft"].map(|model| pair::folder(model).display().to_string());
    let models = [
        "--target",
        &target,
        "--draft",
        &draft,
        "--samples",
        "12",
        "--raw",
    ];
    for settings in [
        &["--prompt", "You may copy"][..],
        &[
            "--temperature",
            "1.3",
            "--top-k",
            "20",
            "--gamma",
            "5",
            "--fixed",
        ],
        &[
            "--top-p",
            "0.9",
            "--frequency-penalty",
            "0.6",
            "--repetition-penalty",
            "1.2",
        ],
        &[
            "--min-p",
            "0.1",
            "--stop",
            "the",
            "--ignore-eos",
            "-n",
            "32",
        ],
    ] {
        let text = found_lossless(&[&models[..], settings].concat());
        assert!(
            text.contains(" per forward pass give the same bits as one per pass"),
            "{text}"
        );
        assert_eq!(
            text.matches("  seeded    12 of 12 texts identical").count(),
            4,
            "{text}"
        );
        assert_eq!(text.matches("  sampled   ").count(), 12, "{text}");
        let verdict = "verdict  lossless: every text is the target's own";
        assert!(text.contains(verdict), "{text}");
    }
}

#[test]
fn json_holds_the_whole_report() {
    let target = pair::folder("target").display().to_string();
    let text = found_lossless(&[
        "--target",
        &target,
        "--samples",
        "4",
        "--raw",
        "--json",
        "-n",
        "16",
    ]);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["lossless"], true);
    assert_eq!(report["rows"]["identical"], true);
    let source = &report["sources"][0];
    assert_eq!(source["draft"], "ngram");
    assert_eq!(source["greedy"]["texts"], 9);
    assert_eq!(source["seeded"]["divergences"].as_array().unwrap().len(), 0);
    assert_eq!(source["distributions"][2]["verification"], "block");
    assert_eq!(source["distributions"][2]["tokens"], 64);
    assert_eq!(source["distributions"][2]["degrees"], 2);
    assert_eq!(report["sources"][1]["draft"], "recycling");
    assert_eq!(report["sources"][2]["draft"], "auto");
    assert_eq!(report["sources"].as_array().unwrap().len(), 3);
}

#[test]
fn usage_errors_are_reported_before_loading() {
    for args in [
        &["--temperature", "-1"][..],
        &["--samples", "x"],
        &["--prompts", "no-such-file"],
    ] {
        let output = verify(&[&["--target", "no-such-model"][..], args].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(0));
        assert!(!stderr.contains("no-such-model"), "{args:?}: {stderr}");
    }
}

#[test]
#[ignore = "needs the default models"]
fn the_default_model_is_lossless_with_every_source() {
    real_model("smollm2-135m");
    let text = found_lossless(&["--samples", "3", "-n", "32"]);
    assert!(
        text.contains("  greedy    9 of 9 texts identical"),
        "{text}"
    );
    assert!(
        text.contains("  seeded    3 of 3 texts identical"),
        "{text}"
    );
}
