//! The library's errors in the terms of the command line: settings by their flags, as the user types them.

use std::collections::BTreeSet;

use clap::CommandFactory;
use serde_json::Value;

use super::Specdec;
use crate::error::Error;

/// An error's message, with the flag (`--top-p`) in place of a setting's name (`top_p`).
pub(super) fn in_terms_of(error: &Error) -> String {
    let flags = all();
    let flag = |name: &str| {
        let dashed = match name {
            "num_threads" => "threads".to_owned(),
            name => name.replace('_', "-"),
        };
        flags.contains(&dashed).then(|| format!("--{dashed}"))
    };
    let message = match error {
        Error::InvalidConfig {
            field,
            value,
            expected,
        } if field == "response_format"
            && let Some((flag, value)) = format_flag(value) =>
        {
            format!("invalid {flag} {value}: expected {expected}")
        }
        Error::InvalidConfig {
            field,
            value,
            expected,
        } if let Some(flag) = flag(field) => {
            format!("invalid {flag} {value}: expected {expected}")
        }
        error => error.to_string(),
    };
    quoted_names(&message, flag)
}

/// The flag that gave a format, and what it gave.
fn format_flag(format: &str) -> Option<(&'static str, String)> {
    let format: Value = serde_json::from_str(format).ok()?;
    let text = |name: &str| Some(format[name].as_str()?.to_owned());
    match format["type"].as_str()? {
        "regex" => Some(("--regex", text("regex")?)),
        "lark" => Some(("--lark", text("lark")?)),
        "json_schema" => Some(("--json-schema", format["json_schema"]["schema"].to_string())),
        _ => None,
    }
}

/// Replaces names in backticks, and those of two words, for which there is a flag.
fn quoted_names(message: &str, flag: impl Fn(&str) -> Option<String>) -> String {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let mut result = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(start) = rest.find(is_part) {
        let (before, word) = rest.split_at(start);
        let end = word.find(|letter| !is_part(letter)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        let quoted = before.ends_with('`') && after.starts_with('`');
        let alone = !before
            .ends_with(|letter: char| letter.is_alphanumeric() || "-./\"".contains(letter))
            && !after
                .starts_with(|letter: char| letter.is_alphanumeric() || "-./\"".contains(letter));
        match flag(word).filter(|_| quoted || (alone && word.contains('_'))) {
            Some(flag) if quoted => {
                result.push_str(&before[..before.len() - 1]);
                result.push_str(&flag);
                rest = &after[1..];
            }
            Some(flag) => {
                result.push_str(before);
                result.push_str(&flag);
                rest = after;
            }
            None => {
                result.push_str(before);
                result.push_str(word);
                rest = after;
            }
        }
    }
    result + rest
}

/// The long flags of all commands, without their dashes.
fn all() -> BTreeSet<String> {
    let specdec = Specdec::command();
    let commands = specdec.get_subcommands();
    let flags = commands.flat_map(clap::Command::get_arguments);
    flags
        .filter_map(|flag| flag.get_long().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_by_their_flags() {
        let error = Error::invalid("top_p", 2, "a number in (0, 1]");
        assert_eq!(
            in_terms_of(&error),
            "invalid --top-p 2: expected a number in (0, 1]"
        );
        let error = Error::invalid("num_threads", 0, "a number");
        assert_eq!(
            in_terms_of(&error),
            "invalid --threads 0: expected a number"
        );
        let format = r#"{"type":"regex","regex":"("}"#;
        let error = Error::invalid("response_format", format, "another");
        assert_eq!(in_terms_of(&error), "invalid --regex (: expected another");
        let error = Error::ContextOverflow {
            tokens: 9,
            context_length: 5,
        };
        assert!(in_terms_of(&error).ends_with("with a larger --context-length"));
        let error = Error::not_found("x", "name one with `tokenizer`");
        assert!(in_terms_of(&error).ends_with("name one with --tokenizer"));
    }

    #[test]
    fn other_words_stay() {
        for message in [
            "tokenizer_config.json: broken",
            "`hidden_size` is missing",
            "the tokenizer is missing",
        ] {
            let error = Error::Compute(message.into());
            assert_eq!(
                in_terms_of(&error),
                format!("computation failed: {message}")
            );
        }
    }
}
