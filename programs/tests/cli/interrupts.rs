//! Ctrl-C.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use crate::{chat, chat_model, generate, spawn};

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
