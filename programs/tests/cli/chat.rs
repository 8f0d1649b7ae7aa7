//! `specdec chat` through pipes; `tests/python/test_chat_terminal.py` has it on a terminal.

use serde_json::Value;

use crate::support::pair;
use crate::{chat, chat_model, check_error, error, with_input};

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
