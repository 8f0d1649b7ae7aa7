//! The help texts.

use crate::{program, specdec, stdout};

fn fits_80_columns(help: &str) {
    let wide = help.lines().find(|line| line.chars().count() > 80);
    assert!(wide.is_none(), "{wide:?}");
}

#[test]
fn every_help_shows_an_example_and_fits_80_columns() {
    for command in [
        "generate", "chat", "bench", "verify", "tune", "distill", "pull", "inspect",
    ] {
        let help = stdout(specdec([command, "--help"]));
        assert!(help.contains(&format!("  specdec {command}")), "{help}");
        assert!(help.contains("--json"), "{help}");
        fits_80_columns(&help);
    }
    for command in ["models", "cache", "doctor", "completions", "man"] {
        let help = stdout(specdec([command, "--help"]));
        assert!(help.contains(&format!("  specdec {command}")), "{help}");
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
