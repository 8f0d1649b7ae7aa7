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
        // The controller may find that a target this cheap needs no drafts.
        "--fixed",
        "--gamma",
        "5",
        "-n",
        "32",
    ];
    for settings in [
        &["--prompt", "You may copy"][..],
        &["--temperature", "1.3", "--top-k", "20"],
        &[
            "--top-p",
            "0.9",
            "--frequency-penalty",
            "0.6",
            "--repetition-penalty",
            "1.2",
        ],
        &["--min-p", "0.1", "--stop", "the", "--ignore-eos"],
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
        assert_eq!(text.matches(" tokens, p = ").count(), 12, "{text}");
        let verdict = "verdict  lossless\n  greedy    every text is the target's own\n";
        assert!(text.contains(verdict), "{text}");
        let power = "  sampled   no deviation found in ";
        assert!(text.contains(power), "{text}");
        let wide = text.lines().find(|line| line.chars().count() > 80);
        assert!(wide.is_none(), "{wide:?}");
        assert!(!text.contains('\u{1b}'), "no colours without a terminal");
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
        "--fixed",
        "--json",
        "-n",
        "16",
    ]);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["lossless"], true);
    for promise in ["greedy", "seeded", "distribution"] {
        assert_eq!(report[promise], true, "{promise}");
    }
    assert_eq!(report["verdict"]["summary"], "lossless");
    assert_eq!(report["rows"]["identical"], true);
    let source = &report["sources"][0];
    assert_eq!(source["draft"], "ngram");
    assert_eq!(source["greedy"]["texts"], 9);
    assert_eq!(source["seeded"]["divergences"].as_array().unwrap().len(), 0);
    assert_eq!(source["distributions"][2]["verification"], "block");
    assert_eq!(source["distributions"][2]["tokens"], 64);
    assert_eq!(source["distributions"][2]["degrees"], 2);
    assert_eq!(source["distributions"][2]["holds"], true);
    let detectable = source["distributions"][2]["detectable"].as_f64().unwrap();
    assert!((0.4..0.45).contains(&detectable), "{detectable}");
    assert_eq!(report["sources"][1]["draft"], "recycling");
    assert_eq!(report["sources"][2]["draft"], "auto");
    assert_eq!(report["sources"].as_array().unwrap().len(), 3);
}

#[test]
fn what_was_not_tested_is_not_vouched_for() {
    let target = pair::folder("target").display().to_string();
    let audit = |more: &[&str]| {
        let models = ["--target", &target, "--raw", "--draft", "ngram", "--fixed"];
        found_lossless(&[&models[..], more].concat())
    };
    for options in [&["--samples", "0"][..], &["--temperature", "0"]] {
        let text = audit(options);
        let verdict = "verdict  lossless as far as tested\n  \
            greedy    every text is the target's own\n  \
            seeded    not tested: nothing was sampled\n  \
            sampled   not tested: nothing was sampled\n";
        assert!(text.ends_with(verdict), "{text}");
    }
    let few = ["--samples", "2", "-n", "8"];
    let text = audit(&few);
    let verdict = "  sampled   not tested: 16 tokens are too few, 40 are needed\n";
    assert!(text.ends_with(verdict), "{text}");
    let report: Value = serde_json::from_str(&audit(&[&few[..], &["--json"]].concat())).unwrap();
    assert_eq!(report["lossless"], true);
    assert_eq!(report["seeded"], true);
    assert_eq!(report["distribution"], Value::Null);
    let test = &report["sources"][0]["distributions"][0];
    assert_eq!(
        (&test["holds"], &test["degrees"]),
        (&Value::Null, &0.into())
    );
    let words = report["verdict"]["distribution"].as_str().unwrap();
    assert!(words.starts_with("not tested: "), "{words}");
}

/// A text of one token leaves nothing to draft.
#[test]
fn an_audit_that_tested_nothing_fails() {
    let target = pair::folder("target").display().to_string();
    let options = ["--target", &target, "--raw", "-n", "1", "--samples", "3"];
    let output = verify(&options);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(stdout.contains("verdict  NOT TESTED\n"), "{stdout}");
    assert!(stderr.contains("nothing was tested"), "{stderr}");
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
