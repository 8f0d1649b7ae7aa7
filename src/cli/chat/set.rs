//! `/set`: the settings of the answers that follow, by their names.

use serde_json::Value;

use crate::error::Error;
use crate::names::closest;
use crate::settings::{Range, SETTINGS, Setting, SpeculativeConfig};

/// What stands for a setting's value at the start of the program.
const RESET: &str = "default";

/// The settings' names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.name)
}

/// Every setting with its value, one per line.
pub(super) fn list(config: &SpeculativeConfig) -> String {
    let lines = names().map(|name| format!("{name:<18}  {}", value(config, name)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads "NAME VALUE", or "NAME default", and returns the settings with that value, and what to tell the user; "NAME" alone
/// changes nothing.
pub(super) fn set(
    config: &SpeculativeConfig,
    initial: &SpeculativeConfig,
    text: &str,
) -> Result<(SpeculativeConfig, String), String> {
    let (name, new) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let setting = find(name)?;
    let config = match new.trim() {
        "" => config.clone(),
        RESET => replaced(config, setting, value(initial, setting.name))?,
        new => changed(config, setting, new)?,
    };
    let shown = value(&config, setting.name);
    Ok((config, format!("{} = {shown}", setting.name)))
}

/// The setting of this name, which may be written with dashes, as the options are.
fn find(name: &str) -> Result<&'static Setting, String> {
    let name = name.trim_start_matches("--").replace('-', "_");
    let found = SETTINGS.iter().find(|setting| setting.name == name);
    found.ok_or_else(|| match closest(&name, names()) {
        Some(known) => format!("unknown setting {name}: did you mean {known}?"),
        None => format!("unknown setting {name}: /set lists them"),
    })
}

/// A setting's value, as JSON.
fn value(config: &SpeculativeConfig, name: &str) -> Value {
    let settings = serde_json::to_value(config).unwrap_or_default();
    settings.get(name).cloned().unwrap_or_default()
}

/// The settings with a value that a user typed: JSON, a text without quotes, or one of those as the only item of a list.
fn changed(
    config: &SpeculativeConfig,
    setting: &Setting,
    new: &str,
) -> Result<SpeculativeConfig, String> {
    let json = serde_json::from_str(new).ok();
    let forms = json.into_iter().chain([Value::from(new)]);
    let forms = forms.flat_map(|form| [form.clone(), Value::from(vec![form])]);
    let mut refused = None;
    for form in forms {
        match replaced(config, setting, form) {
            Ok(config) => return Ok(config),
            // Of our own messages the first is about the value as it was meant; serde's name types.
            Err(message) if message.starts_with("invalid ") && message.contains(" = ") => {
                refused = refused.or(Some(message));
            }
            Err(_) => {}
        }
    }
    let unreadable = || Error::invalid(setting.name, new, expected(config, setting)).to_string();
    Err(refused.unwrap_or_else(unreadable))
}

/// The settings with another value of one, checked.
fn replaced(
    config: &SpeculativeConfig,
    setting: &Setting,
    value: Value,
) -> Result<SpeculativeConfig, String> {
    let mut settings = serde_json::to_value(config).map_err(|error| error.to_string())?;
    settings[setting.name] = value;
    let config: SpeculativeConfig =
        serde_json::from_value(settings).map_err(|error| error.to_string())?;
    config.validate().map_err(|error| error.to_string())?;
    Ok(config)
}

/// Describes the values that a setting takes.
fn expected(config: &SpeculativeConfig, setting: &Setting) -> String {
    match (setting.range, value(config, setting.name)) {
        (Range::Any, Value::Bool(_)) => "true or false".into(),
        (Range::Any, Value::Object(_)) => "a JSON object".into(),
        (Range::Any, _) => "an integer >= 0".into(),
        (range, _) => range.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::DraftKind;

    fn set_default(text: &str) -> Result<(SpeculativeConfig, String), String> {
        let default = SpeculativeConfig::default();
        set(&default, &default, text)
    }

    #[test]
    fn values_are_json_or_plain_text() {
        let config = |text: &str| set_default(text).unwrap().0;
        assert!((config("temperature 0.5").temperature - 0.5).abs() < 1e-9);
        assert_eq!(config("top-k 40").top_k, 40);
        assert_eq!(config("--max-new-tokens  7").max_new_tokens, 7);
        assert_eq!(config("seed 3").seed, Some(3));
        assert!(!config("adaptive false").adaptive);
        assert_eq!(config("stop the end").stop, ["the end"]);
        assert_eq!(config("stop 7").stop, ["7"]);
        assert_eq!(config("stop [\"a\", \"b\"]").stop, ["a", "b"]);
        assert_eq!(config("logit_bias [[5, -1]]").logit_bias, [(5, -1.0)]);
        assert_eq!(config("draft none").draft, Some(DraftKind::NONE));
        assert_eq!(config("prediction 12").prediction.as_deref(), Some("12"));
    }

    #[test]
    fn default_is_the_value_at_the_start() {
        let initial = SpeculativeConfig {
            seed: Some(4),
            ..SpeculativeConfig::default()
        };
        let changed = set(&initial, &initial, "seed 5").unwrap().0;
        assert_eq!(changed.seed, Some(5));
        assert_eq!(set(&changed, &initial, "seed default").unwrap().0, initial);
        let (same, told) = set(&changed, &initial, "seed").unwrap();
        assert_eq!((same, told.as_str()), (changed, "seed = 5"));
    }

    #[test]
    fn wrong_names_and_values_are_refused_in_the_users_terms() {
        let refused = |text: &str| set_default(text).unwrap_err();
        assert_eq!(
            refused("temprature 1"),
            "unknown setting temprature: did you mean temperature?"
        );
        assert!(refused("max_tokens 1").contains("max_new_tokens"));
        assert!(refused("xyz 1").contains("/set lists them"));
        assert_eq!(
            refused("temperature -1"),
            "invalid temperature = -1: expected a finite number >= 0"
        );
        assert_eq!(
            refused("temperature warm"),
            "invalid temperature = warm: expected a finite number >= 0"
        );
        for (text, expected) in [
            ("top_k many", "an integer >= 0"),
            ("seed -1", "an integer >= 0"),
            ("adaptive maybe", "true or false"),
            ("draft ngrams", "ngram"),
            ("verification never", "coupled"),
            ("logprobs 21", "from 0 to 20"),
        ] {
            let message = refused(text);
            assert!(message.contains(expected), "{message}");
            for name in ["u64", "f64", "usize", "struct", "enum"] {
                assert!(!message.contains(name), "{message}");
            }
        }
        for setting in names() {
            // No value whatever ends the program.
            for value in [
                "null",
                "[]",
                "{}",
                "\"\"",
                "1e999",
                "-1",
                "[[[",
                "{\"type\": 7}",
            ] {
                let _ = set_default(&format!("{setting} {value}"));
            }
        }
    }

    #[test]
    fn every_setting_is_listed() {
        let listed = list(&SpeculativeConfig::default());
        assert_eq!(listed.lines().count(), SETTINGS.len());
        assert!(listed.contains("top_p               0.95"), "{listed}");
    }
}
