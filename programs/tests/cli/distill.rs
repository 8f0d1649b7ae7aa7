//! `specdec distill` and the head that it makes.

use std::path::Path;
use std::process::Command;

use crate::support::pair;
use crate::{error, json, specdec, stdout};

/// `specdec distill` of the pair's target, with prompts of a file, into a folder of profiles.
fn distill(folder: &Path, more: &[&str]) -> Command {
    let prompts = folder.join("prompts.txt");
    let lines = [
        "You may copy",
        "This License",
        "Each contributor",
        "The Work",
        "In no event",
    ];
    std::fs::write(&prompts, lines.join("\n")).unwrap();
    let mut specdec = specdec(["distill"]);
    specdec.arg("--target").arg(pair::folder("target"));
    specdec.arg("--prompts").arg(prompts).args(more);
    specdec.env("SPECDEC_PROFILES", folder.join("profiles"));
    specdec
}

#[test]
fn a_head_is_made_measured_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let head = folder.path().join("head").display().to_string();
    let options = ["--tokens", "600", "--epochs", "1", "--output", &head];
    let made = json(distill(
        folder.path(),
        &[&options[..], &["--dry-run", "--json"]].concat(),
    ));
    assert_eq!(made["head"].as_str().unwrap(), head);
    assert!(made["training"]["tokens"].as_u64().unwrap() >= 600);
    assert_eq!(made["training"]["acceptance"].as_array().unwrap().len(), 3);
    let trials = made["trials"].as_array().unwrap();
    let tried = trials.iter().map(|trial| trial["draft"].as_str().unwrap());
    assert_eq!(tried.collect::<Vec<_>>(), ["none", "auto", "auto"]);
    assert_eq!(trials[2]["model"].as_str().unwrap(), head);
    assert!(!folder.path().join("profiles").exists());

    // It goes on from there: there is nothing to learn, and it is measured again.
    let shown = stdout(distill(folder.path(), &options));
    assert!(shown.starts_with(&format!("head: {head}\n")), "{shown}");
    assert!(shown.contains("auto with"), "{shown}");

    let generate = |draft: &str| {
        let mut specdec = specdec(["generate", "--raw", "You may copy", "--draft", draft]);
        specdec.args(["-n", "24", "--temperature", "0", "--target"]);
        specdec.arg(pair::folder("target"));
        specdec
    };
    assert_eq!(stdout(generate(&head)), stdout(generate("none")));
    let inspected = json({
        let mut specdec = specdec(["inspect", &head, "--json"]);
        specdec.env("SPECDEC_PROFILES", folder.path());
        specdec
    });
    assert_eq!(inspected["kind"].as_str().unwrap(), "recurrent");
}

#[test]
fn the_folder_of_another_targets_head_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let head = folder.path().join("head");
    std::fs::create_dir(&head).unwrap();
    std::fs::write(head.join("texts.jsonl"), "{\"architecture\":\"gpt2\"}\n").unwrap();
    let head = head.display().to_string();
    let message = error(
        distill(folder.path(), &["--tokens", "300", "--output", &head]),
        1,
    );
    assert!(message.contains("texts of another target"), "{message}");
    let message = error(distill(folder.path(), &["--tokens", "0"]), 2);
    assert!(message.contains("--tokens"), "{message}");
}
