//! `specdec bench` and `benchmark`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::pair;
use crate::{error, json, on_pair, program, specdec, stdout};

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
