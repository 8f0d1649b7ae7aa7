//! The example lines of the public contract, with hub names, against a fake hub.
//!
//! Environment variables set the hub's address for the whole process, so each example runs in a child process.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use specdec_rs::{Benchmark, Result, SpeculativeConfig, SpeculativeDecoder};
use support::hub::Hub;
use support::pair;

const CHILD: &str = "SPECDEC_TEST_CHILD";

/// Runs a test of this file in a child process with a fake hub.
///
/// Returns true in the child, which then runs the body of the test.
fn in_child(test: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("hub");
    for (name, model) in [("gpt2-medium", "target"), ("gpt2", "draft")] {
        copy(&pair::folder(model), &root.join(name));
    }
    let hub = Hub::serve(&root);
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .env("HF_ENDPOINT", hub.endpoint())
        .env("HF_HOME", scratch.path().join("home"))
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_HUB_OFFLINE")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("1 passed"), "{stdout}");
    assert!(!hub.hits().is_empty(), "the hub was not asked");
    false
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn generate_by_hub_names() -> Result<()> {
    if in_child("generate_by_hub_names") {
        let text = SpeculativeDecoder::new("gpt2-medium", "gpt2", None)?.generate(
            "Hello, world!",
            1.0,
            0,
            1.0,
            5,
            100,
        )?;
        assert!(!text.is_empty());
    }
    Ok(())
}

#[test]
fn configure_and_compare() -> Result<()> {
    if in_child("configure_and_compare") {
        let decoder = SpeculativeDecoder::new("gpt2-medium", "gpt2", None)?;
        let (prompt, runs) = ("Once upon a time,", 2);
        let config = SpeculativeConfig {
            gamma: 8,
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
            max_new_tokens: 200,
            ..Default::default()
        };
        assert!(decoder.generate_with(prompt, &config)?.tokens.len() <= 200);
        let speedup = Benchmark::new(decoder)
            .run_comparison(prompt, &config, runs)?
            .speedup;
        assert!(speedup > 0.0);
    }
    Ok(())
}

#[tokio::test]
async fn generate_async() -> Result<()> {
    if in_child("generate_async") {
        let decoder = SpeculativeDecoder::new("gpt2-medium", "gpt2", None)?;
        let (prompt, config) = ("Once upon a time,", SpeculativeConfig::default());
        let generation = decoder.generate_async(prompt, config).await?;
        assert!(!generation.tokens.is_empty());
    }
    Ok(())
}

/// Many generations at the same time do not block the executor's thread, and dropping a future cancels its generation.
#[tokio::test]
async fn the_executor_is_never_blocked() {
    let decoder = pair::decoder();
    let config = SpeculativeConfig {
        max_new_tokens: 64,
        ignore_eos: true,
        seed: Some(3),
        ..Default::default()
    };
    let (mut all, mut ticks) = (tokio::task::JoinSet::new(), 0);
    for prompt in pair::prompts(8) {
        let (decoder, config) = (decoder.clone(), config.clone());
        all.spawn(async move { decoder.generate_async(prompt, config).await.unwrap() });
    }
    let mut finished = 0;
    while finished < 8 {
        tokio::select! {
            Some(generation) = all.join_next() => {
                assert_eq!(generation.unwrap().tokens.len(), 64);
                finished += 1;
            }
            () = tokio::time::sleep(std::time::Duration::from_millis(1)) => ticks += 1,
        }
    }
    assert!(ticks > 0);
    let endless = SpeculativeConfig {
        max_new_tokens: 1000,
        ..config
    };
    let dropped = decoder.generate_async(vec![5, 6, 7], endless.clone());
    let limit = std::time::Duration::from_millis(20);
    assert!(tokio::time::timeout(limit, dropped).await.is_err());
    // The model is free again: a short request is answered while the dropped one would still be running.
    let short = SpeculativeConfig {
        max_new_tokens: 1,
        ..endless
    };
    decoder.generate_async(vec![5], short).await.unwrap();
}
