//! `specdec generate`: texts, statistics, colours.

use std::path::Path;

use serde_json::Value;

use crate::support::pair;
use crate::{chat_model, check_error, copy, error, generate, json, specdec, stdout, with_input};

#[test]
fn streamed_text_is_the_text_of_the_json() {
    for options in [
        &["--gamma", "8", "--fixed"][..],
        &["--gamma", "0"],
        &["--temperature", "0.9", "--seed", "5"],
        &["--stop", "the", "--stop", "of"],
    ] {
        let args = [&["The licensee", "-n", "40"], options].concat();
        let output = generate(&args).output().unwrap();
        assert!(output.status.success());
        assert!(output.stderr.is_empty(), "no messages without a terminal");
        let answer = json(generate(&[&args[..], &["--json"]].concat()));
        let text = answer["text"].as_str().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("{text}\n")
        );
        let tokens = answer["tokens"].as_array().unwrap().len();
        assert_eq!(answer["stats"]["new_tokens"], tokens);
        match answer["finish_reason"].as_str().unwrap() {
            "length" => assert_eq!(tokens, 40),
            _ => assert!(tokens < 40 && !text.contains("the")),
        }
    }
}

#[test]
fn drafts_do_not_change_the_text_and_seeds_repeat() {
    let text = |args: &[&str]| stdout(generate(&[&["You may", "-n", "30"], args].concat()));
    let greedy = text(&[]);
    assert_eq!(text(&["--gamma", "0"]), greedy);
    assert_eq!(text(&["--gamma", "256"]), greedy);
    assert_eq!(text(&["--gamma", "256", "--fixed"]), greedy);
    let sampled = |seed| text(&["--temperature", "1.5", "--seed", seed]);
    assert_eq!(sampled("1"), sampled("1"));
    assert_ne!(sampled("1"), sampled("2"));
}

/// A pipe can be read once.
#[test]
#[cfg(unix)]
fn files_of_options_may_be_pipes() {
    let schema = br#"{"type": "integer", "minimum": 3, "maximum": 5}"#;
    let args = ["x", "--raw", "-n", "8", "--json-schema", "/dev/stdin"];
    let output = with_input(generate(&args), schema);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        (3..=5).contains(&text.trim().parse::<u8>().unwrap()),
        "{text}"
    );
}

#[test]
fn stdin_is_the_prompt_if_none_is_given() {
    let args = ["-n", "20"];
    let expected = stdout(generate(&["You may", "-n", "20"])).into_bytes();
    for (args, input) in [
        (&args[..], "You may"),
        (&args, "You may\n"),
        (&args, "You may\r\n"),
        (&["-", "-n", "20"], "You may\n"),
    ] {
        assert_eq!(
            with_input(generate(args), input.as_bytes()).stdout,
            expected,
            "{input:?}"
        );
    }
    let message = check_error(&with_input(generate(&args), b"abc\xff"), 1, "invalid UTF-8");
    assert!(
        message.contains("stdin") && message.contains("UTF-8"),
        "{message}"
    );
}

#[test]
fn a_file_may_hold_the_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompt.txt");
    std::fs::write(&file, "You may\n").unwrap();
    let mut command = generate(&["-n", "20", "-f"]);
    command.arg(&file);
    assert_eq!(stdout(command), stdout(generate(&["You may", "-n", "20"])));
    let mut both = generate(&["You may", "-f"]);
    assert_eq!(both.arg(&file).output().unwrap().status.code(), Some(2));
    let mut command = generate(&["-f"]);
    command.arg(folder.path());
    let message = error(command, 1);
    assert!(message.contains("it is a folder, not a file"), "{message}");
}

#[test]
fn log_probabilities_are_in_the_json() {
    let args = [
        "You may",
        "-n",
        "5",
        "--temperature",
        "0",
        "--json",
        "--logprobs",
        "2",
    ];
    let answer = json(generate(&args));
    let tokens = answer["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 5);
    for token in tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 2);
        assert_eq!(top[0][1], token["logprob"]);
        assert!(token["logprob"].as_f64().unwrap() < 0.0);
    }
    // Without JSON they would be lost.
    let alone = generate(&["You may", "--logprobs", "2"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(2));
    let message = error(generate(&["You may", "--json", "--logprobs", "21"]), 2);
    assert!(message.contains("from 0 to 20"), "{message}");
}

#[test]
fn an_answer_at_the_default_limit_says_so() {
    let note = |args: &[&str]| {
        let output = generate(args).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let long = ["You may", "--ignore-eos"];
    assert_eq!(note(&long), "(cut off at 256 tokens; -n allows more)\n");
    assert_eq!(note(&[&long[..], &["-n", "5"]].concat()), "");
    let full = note(&[&long[..], &["-n", "50", "-c", "20"]].concat());
    assert_eq!(full, "(the context of 20 tokens is full)\n");
}

#[test]
fn templates_are_used_unless_raw() {
    let model = chat_model();
    let prompt_tokens = |args: &[&str]| {
        let mut command = specdec(["generate", "Hello", "--json", "-n", "2", "--target"]);
        command.arg(model.path()).args(args);
        json(command)["stats"]["prompt_tokens"].as_u64().unwrap()
    };
    assert!(prompt_tokens(&[]) > prompt_tokens(&["--raw"]));
}

#[test]
fn stats_go_to_stderr() {
    let output = generate(&["You may", "-n", "20", "--stats"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    for part in ["tokens/s", "acceptance", "tokens each", "speedup"] {
        assert!(stderr.contains(part), "{stderr}");
    }
    assert!(!stderr.contains('\u{1b}'), "no colours without a terminal");
    assert!(
        !String::from_utf8(output.stdout)
            .unwrap()
            .contains("tokens/s")
    );
}

#[test]
fn no_speedup_is_shown_where_nothing_was_drafted() {
    let mut command = specdec([
        "generate", "You may", "-n", "20", "--stats", "--draft", "none",
    ]);
    command.arg("--target").arg(pair::folder("target"));
    let stderr = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(
        stderr.contains("speedup     none: nothing was drafted\n"),
        "{stderr}"
    );
    assert!(
        stderr.contains("acceptance  nothing was drafted\n"),
        "{stderr}"
    );
    command.arg("--json");
    assert_eq!(json(command)["stats"]["speedup"], Value::Null);
}

#[test]
fn thread_counts_and_log_formats_change_no_text() {
    let expected = stdout(generate(&["You may", "-n", "20"]));
    for threads in ["1", "2"] {
        let mut command = generate(&["You may", "-n", "20"]);
        command.env("SPECDEC_NUM_THREADS", threads);
        assert_eq!(stdout(command), expected);
    }
    let mut command = generate(&["You may", "-n", "20"]);
    command
        .env("SPECDEC_LOG_FORMAT", "json")
        .env("RUST_LOG", "trace");
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    for line in String::from_utf8(output.stderr).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert!(record["level"].is_string(), "{line}");
    }
}

#[test]
fn a_draft_of_another_vocabulary_changes_no_text() {
    let draft = copy("draft");
    let file = draft.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    let (first, second) = (vocabulary["a"].clone(), vocabulary["b"].clone());
    vocabulary["a"] = second;
    vocabulary["b"] = first;
    std::fs::write(&file, tokenizer.to_string()).unwrap();
    let generate = |draft: &Path| {
        let mut command = specdec(["generate", "Permission is", "--raw", "--json", "--fixed"]);
        command.args(["-n", "20", "--temperature", "0"]);
        command.arg("--target").arg(pair::folder("target"));
        command.arg("--draft").arg(draft);
        json(command)
    };
    let [drafted, plain] = [draft.path(), Path::new("none")].map(generate);
    assert_eq!(drafted["text"], plain["text"]);
    assert!(drafted["stats"]["drafted"].as_u64() > Some(0));
}

#[test]
fn drafted_text_is_coloured_and_otherwise_the_same() {
    let plain = stdout(generate(&["You may", "--raw", "-n", "40"]));
    // The controller may decide that a target as cheap as this one needs no drafts.
    let options = ["--fixed", "--gamma", "4", "--show-draft"];
    let shown = |more: &[&str], variables: &[(&str, &str)]| {
        let args = [&["You may", "--raw", "-n", "40"], &options[..], more].concat();
        let mut command = generate(&args);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let utf8 = |bytes| String::from_utf8(bytes).unwrap();
        (utf8(output.stdout), utf8(output.stderr))
    };
    let (uncoloured, notes) = shown(&[], &[]);
    assert_eq!(uncoloured, plain);
    assert!(notes.contains("--color always"), "{notes}");
    let never = shown(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]);
    assert_eq!(never.0, plain);
    let (coloured, legend) = shown(&["--color", "always"], &[("NO_COLOR", "1")]);
    assert!(coloured.contains("\u{1b}[3"), "{coloured}");
    assert_eq!(shown(&[], &[("CLICOLOR_FORCE", "1")]).0, coloured);
    assert!(legend.contains("tokens from: target "), "{legend}");
    let mut parts = coloured.split('\u{1b}');
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        text.push_str(part.split_once('m').unwrap().1);
    }
    assert_eq!(text, plain);
    let both = generate(&["You may", "--json", "--show-draft"])
        .output()
        .unwrap();
    assert_eq!(both.status.code(), Some(2));
}
