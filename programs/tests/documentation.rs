//! The commands in README.md and docs/, run as they are written.
//!
//! (Their Python code runs in `tests/python/test_documentation.py`; their Rust code is among the documentation tests, and
//! ignored unless asked for, as it needs the default models.)

#![cfg(unix)]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::hub::Hub;
use support::{pair, real_model, repository};

fn pages() -> Vec<PathBuf> {
    let root = repository();
    let mut pages: Vec<_> = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.extend(["README.md", "CONTRIBUTING.md"].map(|name| root.join(name)));
    pages
}

/// The code blocks of a page in a language.
fn blocks(page: &Path, language: &str) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let fence = format!("```{language}\n");
    let begins = text
        .match_indices(&fence)
        .map(|(index, _)| index + fence.len());
    begins
        .map(|begin| text[begin..].split("\n```").next().unwrap().to_owned())
        .collect()
}

/// Puts our programs into a folder, and a `cargo` that runs them without building them again.
fn programs(folder: &Path) {
    symlink(env!("CARGO_BIN_EXE_specdec"), folder.join("specdec")).unwrap();
    symlink(env!("CARGO_BIN_EXE_benchmark"), folder.join("benchmark")).unwrap();
    let cargo = "#!/bin/sh\n\
        case \"$*\" in\n\
        'run --release --bin benchmark -- '*) shift 5; exec benchmark \"$@\" ;;\n\
        'run --release -- '*) shift 3; exec specdec \"$@\" ;;\n\
        *) echo \"not a known way to run the programs: cargo $*\" >&2; exit 1 ;;\n\
        esac\n";
    fs::write(folder.join("cargo"), cargo).unwrap();
    fs::set_permissions(folder.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// A hub with the tiny pair under the names that the pages use.
fn hub(root: &Path) -> Hub {
    for (name, model) in [("gpt2-medium", "target"), ("gpt2", "draft")] {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(pair::folder(model)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    Hub::serve(root)
}

#[test]
#[ignore = "needs the default models"]
fn commands_run_as_written() {
    real_model("smollm2-135m");
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = scratch.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let (bin, cache, work) = (folder("bin"), folder("cache"), folder("work"));
    programs(&bin);
    let hub = hub(&folder("hub"));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut run = 0;
    for page in pages() {
        for block in blocks(&page, "sh") {
            let output = Command::new("sh")
                .args(["-e", "-c", &block])
                .current_dir(&work)
                .env("PATH", format!("{}:{path}", bin.display()))
                .env("HF_ENDPOINT", hub.endpoint())
                .env("HF_HUB_CACHE", &cache)
                .env("SPECDEC_PROFILES", scratch.path().join("profiles"))
                .output()
                .unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{}:\n{block}\n{stderr}",
                page.display()
            );
            assert!(
                !output.stdout.is_empty(),
                "{}:\n{block}\nprints nothing",
                page.display()
            );
            run += 1;
        }
    }
    assert!(run >= 5, "only {run} blocks were found");
}

/// Every block is in a language that some test runs.
#[test]
fn no_block_goes_untested() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let fences = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("```"));
        // What needs data or other packages is marked, and not run.
        let run = |fence: &&str| !fence.ends_with(" no-run");
        for language in fences.step_by(2).filter(run) {
            assert!(
                ["sh", "rust,ignore,standalone_crate", "python"].contains(&language),
                "{}: {language:?}",
                page.display()
            );
        }
        if !blocks(&page, "rust,ignore,standalone_crate").is_empty() {
            let included = include_str!("../../src/lib.rs");
            let name = page.file_name().unwrap().to_str().unwrap();
            assert!(
                included.contains(&format!("{name}\")")),
                "{name} is not among the documentation tests"
            );
        }
    }
}

/// Markdown also takes indented lines after a blank line for code, which the tests of fenced blocks would miss.
fn indented_code(text: &str) -> Option<&str> {
    let (mut fenced, mut listed, mut previous) = (false, false, "");
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let indented = line.starts_with("    ") || line.starts_with('\t');
            // Within a list an indented paragraph belongs to its item.
            if indented && previous.trim().is_empty() && !listed {
                return Some(line);
            }
            if !line.trim().is_empty() && !line.starts_with(' ') {
                let number = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
                listed = line.starts_with(['-', '*', '+'])
                    || (number.len() < line.len() && number.starts_with(['.', ')']));
            }
        }
        previous = line;
    }
    None
}

#[test]
fn code_is_fenced() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let found = indented_code(&text);
        assert!(found.is_none(), "{}: {found:?}", page.display());
    }
    let missed = indented_code("Run\n\n    specdec bench\n");
    assert_eq!(missed, Some("    specdec bench"));
    for prose in [
        "- an item\n\n    and its second paragraph\n",
        "1. an item\n    that goes on\n",
        "```python\nif True:\n\n    pass\n```\n",
    ] {
        assert_eq!(indented_code(prose), None, "{prose}");
    }
}
