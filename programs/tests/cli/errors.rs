//! Exit statuses and messages.

use std::io::Read;
use std::path::Path;

use crate::support::pair;
use crate::{error, generate, program, spawn, specdec};

#[test]
fn values_out_of_range_are_usage_errors() {
    for (option, value) in [
        ("--temperature", "NaN"),
        ("--temperature", "-1"),
        ("--temperature", "inf"),
        ("--top-p", "0"),
        ("--top-p", "1.5"),
        ("--min-p", "-0.1"),
        ("--repetition-penalty", "0"),
        ("--frequency-penalty", "nan"),
        ("--stop", ""),
        ("--context-length", "0"),
        ("--dtype", "f8"),
        ("--quantize", "q3"),
        ("--draft", "model"),
        ("--draft", "table"),
        ("--chat-template", "nothing"),
        ("--threads", "0"),
        ("--gamma", "-1"),
        ("--gamma", "257"),
        ("--gamma", "1e3"),
        ("--seed", "-1"),
        ("--top-k", "-3"),
        ("--temperature", "warm"),
        ("--max-new-tokens", "99999999999999999999"),
        ("--device", "gpu"),
        ("--regex", "("),
        ("--verification", "blok"),
        ("--json-schema", r#"{"type":"nonsense"}"#),
    ] {
        let mut command = specdec(["generate", "x", "--target"]);
        command.arg(pair::folder("target")).args([option, value]);
        let message = error(command, 2);
        let start = format!("specdec: invalid {option} {value}").to_lowercase();
        assert!(
            message.to_lowercase().starts_with(start.trim_end()),
            "{message}"
        );
        assert!(message.contains(": expected "), "{message}");
        assert!(!message.contains("response_format"), "{message}");
    }
    let mut command = specdec(["generate", "x", "--presence-penalty", "-inf", "--target"]);
    command.arg(pair::folder("target"));
    assert_eq!(command.output().unwrap().status.code(), Some(2));
}

#[test]
fn unparsable_arguments_are_usage_errors() {
    for args in [
        &[][..],
        &["compile"],
        &["serve", "--cors-origin", "example.com"],
        &["serve", "--cors-origin", "https://example.com/a"],
        &["serve", "--port", "99999"],
        &["serve", "--api-key", ""],
        &["generate", "two", "prompts"],
        &["bench", "--runs", "0"],
        &["bench", "--runs", "many"],
    ] {
        let output = specdec(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{args:?}"
        );
    }
    let output = program(
        env!("CARGO_BIN_EXE_benchmark"),
        ["--cuda", "--device", "cpu"],
    )
    .output();
    assert_eq!(output.unwrap().status.code(), Some(2));
}

#[test]
fn ranges_and_typos_are_told_in_plain_words() {
    let message = error(specdec(["serve", "--port", "99999"]), 2);
    assert!(
        message.contains("--port 99999: expected an integer from 0 to 65535"),
        "{message}"
    );
    let message = error(specdec(["generate", "two", "words"]), 2);
    assert!(message.contains("needs quotes"), "{message}");
    for (command, draft) in [("verify", "none"), ("tune", "ngram")] {
        let mut command = specdec([command, "--prompt", "x", "--draft", draft, "--target"]);
        command.arg(pair::folder("target"));
        let message = error(command, 2);
        assert!(
            message.contains(&format!("invalid --draft {draft}")),
            "{message}"
        );
    }
    let message = error(generate(&["x", "--verification", "blok"]), 2);
    assert!(message.contains("(did you mean block?)"), "{message}");
    let message = error(generate(&["x", "--gamma", ""]), 2);
    assert!(message.contains("invalid --gamma \"\""), "{message}");
}

#[test]
fn a_broken_chat_template_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.jinja");
    std::fs::write(&file, "{% for message in messages %}{{ message.content }}").unwrap();
    let mut command = generate(&["x", "-n", "2", "--chat-template"]);
    command.arg(&file);
    let message = error(command, 2);
    assert!(
        message.contains("broken.jinja: expected a chat template in Jinja"),
        "{message}"
    );
}

#[test]
fn environment_variables_are_checked() {
    for (name, value) in [
        ("SPECDEC_NUM_THREADS", "0"),
        ("SPECDEC_NUM_THREADS", "-2"),
        ("SPECDEC_NUM_THREADS", "all"),
        ("SPECDEC_NUM_THREADS", "1000000000"),
        ("SPECDEC_DEVICE", "abacus"),
        ("SPECDEC_LOG_FORMAT", "xml"),
        ("RUST_LOG", "specdec_rs=loud"),
    ] {
        let mut command = generate(&["x", "-n", "2"]);
        command.env(name, value);
        let message = error(command, 2);
        assert!(message.contains(value), "{message}");
    }
}

#[test]
fn models_that_do_not_load_give_a_one_line_error() {
    let here = pair::folder("target");
    let file = here.join("config.json");
    let empty = tempfile::tempdir().unwrap();
    let models = [Path::new("no/such/model.gguf"), &file, empty.path()];
    for model in models {
        for command in ["generate", "inspect"] {
            let mut specdec = specdec([command]);
            match command {
                "generate" => specdec.args(["x", "--target"]).arg(model),
                _ => specdec.arg(model),
            };
            error(specdec, 1);
        }
    }
    let long = "word ".repeat(2000);
    let message = error(generate(&[&long]), 1);
    assert!(message.contains("1024"), "{message}");
    let message = error(generate(&["Hello there", "--context-length", "1"]), 1);
    assert!(message.contains("shorten the prompt"), "{message}");
}

#[cfg(unix)]
#[test]
fn arguments_that_are_not_utf_8_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let wrong = OsStr::from_bytes(b"caf\xe9");
    for before in [
        &["generate"][..],
        &["generate", "--target"],
        &["inspect"],
        &["pull"],
    ] {
        let output = specdec(before).arg(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{before:?}");
    }
    // A file may have such a name.
    let mut command = crate::on_pair("bench", &["--prompts"]);
    command.arg(wrong);
    error(command, 1);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = spawn(&mut generate(&["You may", "-n", "900", "--ignore-eos"]));
    let mut first = [0];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    for args in [
        &["You may", "-n", "9"][..],
        &["You may", "-n", "9", "--json"],
    ] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = generate(args).stdout(full).output().unwrap();
        let message = crate::check_error(&output, 1, "/dev/full");
        assert!(message.contains("stdout"), "{message}");
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_build_without_cuda_says_so() {
    let mut command = program(
        env!("CARGO_BIN_EXE_benchmark"),
        ["--cuda", "--target-model"],
    );
    command.arg(pair::folder("target"));
    assert!(error(command, 1).contains("--features cuda"));
}
