//! The command line programs, on the tiny pair.

#[path = "../../tests/support/mod.rs"]
mod support;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use support::pair;
use tempfile::TempDir;

/// `specdec` without this process's SPECDEC_ variables.
fn specdec<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    program(env!("CARGO_BIN_EXE_specdec"), args)
}

fn program<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SPECDEC_") {
            command.env_remove(name);
        }
    }
    // The developer may have tuned a model.
    command.env("SPECDEC_PROFILES", pair::folder("no-profiles"));
    command.env("COLUMNS", "80");
    command
}

/// A command on the pair, with the prompt and other options in `args`; greedy where they give no temperature.
fn on_pair(command: &str, args: &[&str]) -> Command {
    let mut specdec = specdec([command]);
    specdec.arg("--target").arg(pair::folder("target"));
    specdec.arg("--draft").arg(pair::folder("draft"));
    if !args.contains(&"--temperature") {
        specdec.args(["--temperature", "0"]);
    }
    // Last, since some tests append the value of their last option.
    specdec.args(args);
    specdec
}

fn generate(args: &[&str]) -> Command {
    on_pair("generate", args)
}

/// The stdout of a command that must succeed.
fn stdout(mut command: Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(command: Command) -> Value {
    let text = stdout(command);
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Runs a command with `input` on stdin.
fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = spawn(command.stdin(Stdio::piped()));
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn spawn(command: &mut Command) -> Child {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().unwrap()
}

/// Checks that a command fails with this status and a message of one line, which it returns.
fn error(mut command: Command, status: i32) -> String {
    let output = command.output().unwrap();
    check_error(&output, status, &format!("{command:?}"))
}

fn check_error(output: &Output, status: i32, what: &str) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{what}: {stderr}");
    assert!(output.stdout.is_empty(), "{what}");
    assert!(stderr.starts_with("specdec: "), "{what}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
    stderr
}

/// A copy of one of the pair's models.
fn copy(model: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(pair::folder(model)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// The pair's target with a chat template.
fn chat_model() -> TempDir {
    let folder = copy("target");
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:";
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    folder
}

fn chat(model: &Path, args: &[&str]) -> Command {
    let mut specdec = specdec([
        "chat",
        "--max-new-tokens",
        "12",
        "--temperature",
        "0",
        "--draft",
    ]);
    specdec
        .arg(pair::folder("draft"))
        .arg("--target")
        .arg(model);
    specdec.args(args);
    specdec
}

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
    assert_eq!(text(&["--gamma", "1000000000"]), greedy);
    assert_eq!(text(&["--gamma", "1000000000", "--fixed"]), greedy);
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
        ("--chat-template", "nothing"),
    ] {
        let mut command = specdec(["generate", "x", "--target"]);
        command.arg(pair::folder("target")).args([option, value]);
        let message = error(command, 2);
        assert!(message.contains(&format!("invalid {option} ")), "{message}");
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
        &["generate", "--gamma", "-1", "x"],
        &["generate", "--gamma", "1e3", "x"],
        &["generate", "--max-new-tokens", "99999999999999999999", "x"],
        &["generate", "--seed", "-1", "x"],
        &["generate", "--device", "gpu", "x"],
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

#[cfg(unix)]
#[test]
fn arguments_that_are_not_utf_8_are_refused() {
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
    let mut command = on_pair("bench", &["--prompts"]);
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
        let message = check_error(&output, 1, "/dev/full");
        assert!(message.contains("stdout"), "{message}");
    }
}

#[cfg(unix)]
mod interrupts {
    use super::*;

    fn interrupt(child: &Child) {
        let id = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// A generation that would take minutes.
    fn endless(args: &[&str]) -> Command {
        let long = [
            "You may",
            "--ignore-eos",
            "--context-length",
            "200000",
            "-n",
            "190000",
        ];
        generate(&[&long, args].concat())
    }

    #[test]
    fn the_first_cancels_the_generation_and_keeps_its_text() {
        let mut child = spawn(&mut endless(&["--stats"]));
        let mut text = vec![0];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut text).unwrap();
        interrupt(&child);
        stdout.read_to_end(&mut text).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        assert_eq!(text.last(), Some(&b'\n'));
        assert!(
            String::from_utf8(output.stderr)
                .unwrap()
                .contains("acceptance")
        );
    }

    #[test]
    fn a_chat_that_waits_for_input_ends_at_once() {
        let model = chat_model();
        let mut command = chat(model.path(), &["--json"]);
        let mut child = spawn(command.stdin(Stdio::piped()));
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "Hello").unwrap();
        // After the answer it waits for the next message.
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        answers.read_line(&mut String::new()).unwrap();
        interrupt(&child);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(130));
    }
}

#[test]
fn chat_works_through_pipes() {
    let model = chat_model();
    let converse = |args: &[&str], input: &str| {
        let output = with_input(chat(model.path(), args), input.as_bytes());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let answers = |args: &[&str], input: &str| -> Vec<Value> {
        let (stdout, _) = converse(&[args, &["--json"]].concat(), input);
        stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let prompt = |answer: &Value| answer["stats"]["prompt_tokens"].as_u64().unwrap();

    let two = answers(&[], "Hello\n\nAnd then?\n/exit\nnot read\n");
    assert_eq!(two.len(), 2);
    assert!(
        prompt(&two[1]) > prompt(&two[0]),
        "the second prompt contains the first answer"
    );
    let cleared = answers(&[], "Hello\n/clear\nHello");
    assert_eq!(cleared[0]["text"], cleared[1]["text"]);
    assert_eq!(prompt(&cleared[0]), prompt(&cleared[1]));
    let with_system = answers(&["--system", "Be brief."], "Hello\n/clear\nHello");
    assert!(prompt(&with_system[0]) > prompt(&two[0]));
    assert_eq!(prompt(&with_system[0]), prompt(&with_system[1]));

    let (text, notes) = converse(&[], "Hello\n/help\n");
    assert_eq!(text, format!("{}\n", two[0]["text"].as_str().unwrap()));
    assert!(notes.contains("/clear") && !notes.contains("> "), "{notes}");
    assert!(
        notes.contains("(cut off at 12 tokens; /more continues)"),
        "{notes}"
    );
    assert_eq!(converse(&[], "").0, "");
    let slashes = answers(&[], "/usr/bin or /bin?\n/clear\n//help");
    assert_eq!(slashes.len(), 2);
    let output = with_input(chat(model.path(), &[]), b"/claer\n");
    assert!(check_error(&output, 2, "a mistyped command").contains("did you mean /clear?"));
    let output = with_input(chat(model.path(), &[]), b"\xff\xfe\n");
    assert!(check_error(&output, 1, "invalid UTF-8").contains("stdin"));
}

#[test]
fn a_model_without_a_template_does_not_chat() {
    let message = error(chat(&pair::folder("target"), &[]), 1);
    assert!(message.contains("no chat template"), "{message}");
}

/// `specdec bench` of four turns, two of them in a category.
fn bench_of_four_turns(folder: &Path, args: &[&str]) -> Command {
    let file = folder.join("prompts.jsonl");
    let prompts = "{\"prompt\": \"You may\"}\n\
        {\"category\": \"read & write\", \"turns\": [\"The licensee\", \"<script>\"]}\n";
    std::fs::write(&file, prompts).unwrap();
    let options = [
        "--runs",
        "1",
        "-n",
        "16",
        "--prompt",
        "A program",
        "--prompts",
    ];
    let mut command = on_pair("bench", &options);
    command.arg(&file).args(args);
    command
}

#[test]
fn bench_reports_speeds_and_identical_texts() {
    let folder = tempfile::tempdir().unwrap();
    let output = stdout(bench_of_four_turns(folder.path(), &[]));
    let (table, rest) = output.split_once("\n\n").unwrap();
    assert!(
        rest.starts_with("speedup: the median of the runs"),
        "{output}"
    );
    let (_, passes) = rest.split_once("\n\n").unwrap();
    assert!(passes.starts_with("rows per pass"), "{output}");
    assert!(passes.contains("context length"), "{output}");
    assert!(passes.contains("loaded in"), "{output}");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 1 + 4 + 2, "{table}");
    assert!(lines[5].starts_with("read & write, 2 turns "), "{table}");
    assert!(lines[6].starts_with("all, 4 turns "), "{table}");
    assert!(lines[0].ends_with("identical"));
    let width = lines[0].len();
    assert!(
        lines.iter().all(|line| line.len() == width),
        "aligned:\n{table}"
    );
    assert!(
        lines[1..].iter().all(|line| line.ends_with(" yes")),
        "{table}"
    );
}

#[test]
fn bench_writes_a_page_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("bench.html");
    let report = json(bench_of_four_turns(
        folder.path(),
        &["--json", "--report", &page.display().to_string()],
    ));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains("<svg") && page.contains("read &amp; write") && page.contains("&lt;script")
    );
    for external in ["<script", "http:", "https:", "src=", "href="] {
        assert!(!page.contains(external), "{external}");
    }
    let target = pair::folder("target").display().to_string();
    let command = format!("<code>specdec bench --target {target}");
    for shown in [
        &target,
        &command,
        "Speed by context length",
        "polyline",
        "up to 16 new tokens",
    ] {
        assert!(
            page.replace("&#x2f;", "/").contains(shown),
            "{shown}: {page}"
        );
    }
    assert_eq!(report["setup"]["target"], target);
    assert_eq!(report["setup"]["settings"]["max_new_tokens"], 16);
    assert!(!report["setup"]["processor"].as_str().unwrap().is_empty());
    assert_eq!(report["categories"][0]["turns"], 2);
    assert_eq!(report["identical"], true);
    let verify = report["passes"]["verify"].as_array().unwrap();
    let rows: Vec<u64> = verify
        .iter()
        .map(|time| time["rows"].as_u64().unwrap())
        .collect();
    assert_eq!(rows, [1, 2, 4, 8, 16, 32]);
    assert!(
        verify
            .iter()
            .all(|time| time["seconds"].as_f64().unwrap() > 0.0)
    );
    let first = &report["passes"]["contexts"][0];
    assert_eq!(first["tokens"], 100);
    assert!(first["decode_tokens_per_second"].as_f64().unwrap() > 0.0);
    assert!(report["load_seconds"].as_f64().unwrap() > 0.0);
    let prompts: Vec<&Value> = report["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["prompt"])
        .collect();
    assert_eq!(
        prompts,
        ["A program", "You may", "The licensee", "<script>"]
    );
    assert!(
        report["results"][0]["baseline"]["tokens_per_second"]
            .as_f64()
            .unwrap()
            > 0.0
    );
}

#[test]
fn bench_claims_no_speedup_where_nothing_was_accepted() {
    let mut command = specdec([
        "bench", "--quick", "--runs", "2", "-n", "8", "--draft", "none",
    ]);
    command
        .args(["--prompt", "You may", "--target"])
        .arg(pair::folder("target"));
    let output = stdout(command);
    assert!(!output.contains("rows per pass"), "{output}");
    assert!(output.contains("no drafted token was accepted"), "{output}");
    let row = output.lines().nth(1).unwrap();
    let columns: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(columns[4..], ["-", "-", "1.00", "0%", "yes"], "{output}");
}

#[test]
fn a_report_that_cannot_be_written_fails_before_loading() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in [
        folder.path().join("missing/bench.html"),
        folder.path().to_owned(),
    ] {
        let mut command = specdec(["bench", "--target", "no-such-model", "--report"]);
        command.arg(&wrong);
        let message = error(command, 1);
        assert!(message.contains(&*wrong.display().to_string()), "{message}");
    }
}

#[test]
fn files_of_prompts_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompts");
    let bench = |path: &Path| {
        let mut command = on_pair("bench", &["--prompts"]);
        command.arg(path);
        error(command, 1)
    };
    bench(folder.path());
    bench(&folder.path().join("missing"));
    for (content, named) in [
        (&b"fine\n{\"text\": 1}"[..], "line 2"),
        (b"\n \n", "found none"),
        (b"\xff\xff", "UTF-8"),
    ] {
        std::fs::write(&file, content).unwrap();
        let message = bench(&file);
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn the_benchmark_program_reports_both_runs() {
    let mut command = program(
        env!("CARGO_BIN_EXE_benchmark"),
        ["--prompt", "You may", "--runs", "2"],
    );
    command.args(["--max-new-tokens", "8", "--json", "--target-model"]);
    command
        .arg(pair::folder("target"))
        .arg("--draft-model")
        .arg(pair::folder("draft"));
    let report = json(command);
    assert_eq!(report["identical"], true);
    assert_eq!(
        report["results"][0]["speculative"]["latencies"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
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

fn fits_80_columns(help: &str) {
    let wide = help.lines().find(|line| line.chars().count() > 80);
    assert!(wide.is_none(), "{wide:?}");
}

#[test]
fn every_help_shows_an_example_and_fits_80_columns() {
    for command in [
        "generate", "chat", "bench", "verify", "tune", "pull", "inspect",
    ] {
        let help = stdout(specdec([command, "--help"]));
        assert!(help.contains(&format!("  specdec {command}")), "{help}");
        assert!(help.contains("--json"), "{help}");
        fits_80_columns(&help);
    }
    for command in [&["--help"][..], &["serve", "--help"], &["generate", "-h"]] {
        fits_80_columns(&stdout(specdec(command)));
    }
    assert!(stdout(specdec(["--help"])).contains("SPECDEC_NUM_THREADS"));
    assert!(stdout(specdec(["--version"])).starts_with("specdec "));
    let help = stdout(program(env!("CARGO_BIN_EXE_benchmark"), ["--help"]));
    assert!(help.contains("  benchmark --target-model"), "{help}");
    fits_80_columns(&help);
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
