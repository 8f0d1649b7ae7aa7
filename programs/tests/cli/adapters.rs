//! LoRA adapters on the command line.

use std::path::PathBuf;

use crate::support::fixtures;
use crate::{error, json, specdec, stdout};

fn adapter(name: &str) -> String {
    let folder = fixtures().join("adapters").join(name);
    folder.to_str().unwrap().to_owned()
}

fn base() -> String {
    let folder = fixtures().join("hf/llama");
    folder.to_str().unwrap().to_owned()
}

#[test]
fn an_adapter_changes_the_answer() {
    let generate = |args: &[&str]| {
        let common = [
            "generate",
            "--raw",
            "--temperature",
            "0",
            "-n",
            "12",
            "free software",
        ];
        let mut specdec = specdec(common);
        specdec.args(args).current_dir(crate::support::repository());
        stdout(specdec)
    };
    let plain = generate(&["--target", &base()]);
    let adapted = generate(&["--target", &base(), "--lora", &adapter("plain")]);
    assert_ne!(adapted, plain);
    assert_eq!(generate(&["--target", &adapter("plain")]), adapted);
    let both = ["--lora", &adapter("plain"), "--lora", &adapter("saved")];
    let both = generate(&[&["--target", &base()], &both[..]].concat());
    assert_ne!(both, adapted);
}

#[test]
fn inspect_and_pull_show_adapters() {
    let mut inspect = specdec([
        "inspect",
        "--json",
        &base(),
        "--lora",
        &adapter("embedding"),
    ]);
    inspect.current_dir(crate::support::repository());
    let described = json(inspect);
    let [shown] = &described["adapters"].as_array().unwrap()[..] else {
        panic!("{described}");
    };
    assert_eq!(shown["path"].as_str().unwrap(), adapter("embedding"));
    assert_eq!(shown["tensors"], 3);
    assert_eq!(described["architecture"], "llama");
    let mut inspect = specdec(["inspect", &adapter("plain")]);
    inspect.current_dir(crate::support::repository());
    let text = stdout(inspect);
    let line = format!("adapter        {}: changes 14 tensors", adapter("plain"));
    assert!(text.contains(&line), "{text}");
    let mut pull = specdec(["pull", "--json", &adapter("plain")]);
    pull.current_dir(crate::support::repository());
    let pulled = json(pull);
    assert_eq!(pulled["format"], "adapter");
    assert_eq!(
        PathBuf::from(pulled["path"].as_str().unwrap()),
        PathBuf::from(adapter("plain"))
    );
}

#[test]
fn errors_name_the_option() {
    let generate = |args: &[&str]| {
        let mut specdec = specdec(["generate", "a"]);
        specdec.args(args).current_dir(crate::support::repository());
        error(specdec, 1)
    };
    let message = generate(&["--target", &base(), "--lora", &base()]);
    assert!(message.contains("it is no adapter"), "{message}");
    let file = fixtures().join("adapters/olmo2/adapter.gguf");
    let message = generate(&["--target", file.to_str().unwrap()]);
    assert!(message.contains("--lora"), "{message}");
}

/// A profile is of a target with its adapters.
#[test]
fn a_profile_is_not_another_adapters() {
    let folder = tempfile::tempdir().unwrap();
    let show = |args: &[&str]| {
        let mut specdec = specdec(["tune", "--show", "--json", "--target", &base()]);
        specdec.args(args).env("SPECDEC_PROFILES", folder.path());
        json(specdec)["file"].as_str().unwrap().to_owned()
    };
    let files = [
        show(&[]),
        show(&["--lora", &adapter("plain")]),
        show(&["--lora", &adapter("dora")]),
    ];
    assert_ne!(files[0], files[1]);
    assert_ne!(files[1], files[2]);
}
