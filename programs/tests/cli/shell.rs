//! What shells and `man` read about the program, and what it says about the machine.

use std::process::Command;

use crate::{error, json, specdec, stdout};

#[test]
fn completions_know_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout(specdec(["completions", shell]));
        for word in ["generate", "serve", "max-new-tokens", "cache"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
    let unknown = specdec(["completions", "csh"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    let message = String::from_utf8(unknown.stderr).unwrap();
    assert!(message.contains("bash"), "{message}");
}

#[test]
fn bash_completes_with_the_script() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("specdec");
    std::fs::write(&script, stdout(specdec(["completions", "bash"]))).unwrap();
    let complete = format!(
        "source {}; COMP_WORDS=(specdec gen); COMP_CWORD=1; _specdec specdec gen; echo ${{COMPREPLY[@]}}",
        script.display()
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &complete]);
    assert_eq!(stdout(bash).trim(), "generate");
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let page = stdout(specdec(["man"]));
    assert!(page.contains(".TH specdec 1"), "{page}");
    assert!(page.contains("specdec\\-serve(1)"), "{page}");
    let page = stdout(specdec(["man", "serve"]));
    assert!(page.contains(".TH specdec-serve 1"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("man1");
    stdout(specdec(["man", "--output", folder.to_str().unwrap()]));
    for name in ["specdec", "specdec-generate", "specdec-cache-list"] {
        let page = std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    let unknown = error(specdec(["man", "sreve"]), 2);
    assert!(unknown.contains("serve"), "{unknown}");
}

#[test]
fn the_doctor_describes_the_machine() {
    let report = json(specdec(["doctor", "--json"]));
    assert!(report["cores"].as_u64().unwrap() >= 1);
    assert!(report["bandwidth"].as_f64().unwrap() > 1e8);
    assert!(report["hub"]["has_token"].is_boolean());
    let text = stdout(specdec(["doctor"]));
    for line in [
        "processor",
        "kernels",
        "memory",
        "packed weights",
        "profiles",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn the_doctor_says_what_is_slow() {
    let report = |variable: &str, value: &str| {
        let mut doctor = specdec(["doctor"]);
        doctor.env(variable, value);
        stdout(doctor)
    };
    let text = report("SPECDEC_CPU_TIER", "scalar");
    assert!(text.contains("no vector instructions"), "{text}");
    let text = report("SPECDEC_NUM_THREADS", "1000");
    assert!(text.contains("wait for each other"), "{text}");
    let text = report("HF_HUB_OFFLINE", "1");
    assert!(
        text.contains("only models that are on this machine"),
        "{text}"
    );
}
