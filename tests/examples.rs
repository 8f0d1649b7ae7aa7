//! The programs under examples/, run as a user runs them.

mod support;

use std::path::Path;
use std::process::Command;

use specdec_rs::{DraftKind, SpeculativeConfig};
use support::pair;

/// A built example; cargo puts examples beside the tests.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap().join("examples");
    Command::new(folder.join(name))
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_example_is_tested_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let tests = include_str!("examples.rs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let call = format!("example({:?})", path.file_stem().unwrap().to_str().unwrap());
            assert!(tests.contains(&call), "{}", path.display());
        }
    }
}

/// A Llama written outside the library generates the same text as ours.
#[test]
fn own_model() {
    let prompt = "You may reproduce and distribute copies of the";
    let folders = [pair::folder("target"), pair::folder("draft")];
    let text = stdout(example("own_model").args(folders).arg(prompt));
    let config = SpeculativeConfig {
        temperature: 0.0,
        max_new_tokens: 32,
        draft: Some(DraftKind::NONE),
        ..SpeculativeConfig::default()
    };
    let ours = pair::decoder().generate_with(prompt, &config).unwrap();
    assert_eq!(text, format!("{ours}\n"));
}

#[test]
fn decoding_loop() {
    let prompt = "You may reproduce and distribute copies of the";
    let mut command = example("decoding_loop");
    command
        .arg(pair::folder("target"))
        .args([prompt, " Work", " zebra", "?!"]);
    let lines = stdout(&mut command);
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert!(
        lines
            .lines()
            .next()
            .unwrap()
            .ends_with("copies of the Work"),
        "{lines}"
    );
}
