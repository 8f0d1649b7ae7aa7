//! The sampling settings that a model's files recommend: `generation_config.json`, or `general.sampling.*` of GGUF.

use std::path::Path;

use crate::error::Result;
use crate::files::{Small, read_json};
use crate::settings::{MODEL_SETTINGS, ModelSetting, SpeculativeConfig};
use crate::weights::gguf::Metadata;

/// Reads a folder's `generation_config.json`; where it gives no sampling settings, or there is none, the general defaults hold.
pub(super) fn of_folder(folder: &Path) -> Result<SpeculativeConfig> {
    let file = folder.join("generation_config.json");
    let fields = read_json(&file, Small::Settings)?;
    let mut config = with_recommended(|setting| fields[setting.json].as_f64());
    // Greedy decoding by name, as long as no temperature contradicts it.
    if fields["do_sample"] == false && fields["temperature"].is_null() {
        config.temperature = 0.0;
    }
    Ok(usable(config, &file))
}

/// Reads a GGUF file's metadata likewise.
pub(super) fn of_gguf(metadata: &Metadata, file: &Path) -> SpeculativeConfig {
    let config = with_recommended(|setting| match setting.gguf {
        "" => None,
        name => metadata.float(&format!("general.sampling.{name}")),
    });
    usable(config, file)
}

/// The general defaults, with what a file gives. One that gives any sampling setting means the others to be off.
fn with_recommended(given: impl Fn(&ModelSetting) -> Option<f64>) -> SpeculativeConfig {
    let mut config = SpeculativeConfig::default();
    let mut sampling = MODEL_SETTINGS
        .iter()
        .filter(|setting| setting.off.is_some());
    let samples = sampling.any(|setting| given(setting).is_some());
    for setting in MODEL_SETTINGS {
        if let Some(value) = given(setting).or(setting.off.filter(|_| samples)) {
            (setting.set)(&mut config, value);
        }
    }
    config
}

/// Recommendations out of range are left alone: the model runs without them.
fn usable(config: SpeculativeConfig, file: &Path) -> SpeculativeConfig {
    match config.validate() {
        Ok(()) => config,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "the file's sampling settings are not used");
            SpeculativeConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(generation_config: &str) -> SpeculativeConfig {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("generation_config.json"),
            generation_config,
        )
        .unwrap();
        of_folder(folder.path()).unwrap()
    }

    #[test]
    fn a_file_without_sampling_settings_changes_nothing() {
        let none = of_folder(Path::new("/nonexistent")).unwrap();
        assert_eq!(none, SpeculativeConfig::default());
        assert_eq!(of(r#"{"eos_token_id": 2}"#), SpeculativeConfig::default());
    }

    #[test]
    fn what_a_file_leaves_out_is_off() {
        let config =
            of(r#"{"do_sample": true, "temperature": 0.6, "top_p": 0.9, "max_new_tokens": 99}"#);
        let expected = SpeculativeConfig {
            temperature: 0.6,
            top_p: 0.9,
            top_k: 0,
            min_p: 0.0,
            max_new_tokens: 99,
            ..SpeculativeConfig::default()
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn greedy_by_name_is_greedy() {
        assert!(of(r#"{"do_sample": false}"#).is_greedy());
        assert!(!of(r#"{"do_sample": false, "temperature": 0.5}"#).is_greedy());
    }

    #[test]
    fn nonsense_is_left_alone() {
        assert_eq!(
            of(r#"{"temperature": -3, "top_p": 7}"#),
            SpeculativeConfig::default()
        );
    }
}
