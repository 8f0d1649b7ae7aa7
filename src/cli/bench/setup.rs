//! What a report was measured on: the models as the user named them, the machine, the date, the command and its settings.

use std::ffi::OsString;

use serde::Serialize;

use crate::cli::options::ModelArgs;
use crate::cli::profile::Profile;
use crate::settings::{DraftKind, SpeculativeConfig};

/// What a report was measured on.
#[derive(Serialize)]
pub(super) struct Setup {
    /// The target, as the user named it.
    target: String,
    /// What was drafted from, as the user or the profile named it.
    draft: String,
    /// When the measurement began, in local time.
    date: String,
    /// The processor's name; the architecture if the system doesn't tell.
    processor: String,
    command: String,
    /// Runs per prompt, with and without speculation.
    runs: u16,
    settings: SpeculativeConfig,
}

impl Setup {
    pub(super) fn new(
        models: &ModelArgs,
        profile: Option<&Profile>,
        config: &SpeculativeConfig,
        runs: u16,
        command: &str,
    ) -> Self {
        let named = models.draft.clone();
        let draft = named.or_else(|| profile.map(ToString::to_string));
        Self {
            target: models.target.clone(),
            draft: draft.unwrap_or_else(|| DraftKind::AUTO.to_string()),
            date: jiff::Zoned::now()
                .strftime("%Y-%m-%d %H:%M %:z")
                .to_string(),
            processor: processor(),
            command: command.to_owned(),
            runs,
            settings: config.clone(),
        }
    }
}

/// A command line that a shell would split into these arguments; the program without its folder.
pub(super) fn command_line(args: &[OsString]) -> String {
    let mut words: Vec<String> = args
        .iter()
        .map(|word| quoted(&word.to_string_lossy()))
        .collect();
    if let Some(program) = words.first_mut() {
        *program = program.rsplit('/').next().unwrap_or_default().to_owned();
    }
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_./:=,+@%".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn processor() -> String {
    let known = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names = known.lines().filter_map(|line| line.split_once(':'));
    let mut names = names.filter(|(field, _)| field.trim() == "model name");
    names.next().map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |(_, name)| name.trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        let args = [
            "/usr/bin/specdec",
            "bench",
            "--prompt",
            "it's",
            "-n",
            "8",
            "",
        ];
        let line = command_line(&args.map(OsString::from));
        assert_eq!(line, r"specdec bench --prompt 'it'\''s' -n 8 ''");
    }
}
