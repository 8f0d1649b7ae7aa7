//! Ranges and names of settings.

use super::choices::Choice;
use super::*;

#[test]
fn every_field_out_of_range_is_named() {
    let default = SpeculativeConfig::default;
    let wrong = [
        (
            "temperature",
            SpeculativeConfig {
                temperature: f64::NAN,
                ..default()
            },
        ),
        (
            "temperature",
            SpeculativeConfig {
                temperature: -1.0,
                ..default()
            },
        ),
        (
            "top_p",
            SpeculativeConfig {
                top_p: 0.0,
                ..default()
            },
        ),
        (
            "top_p",
            SpeculativeConfig {
                top_p: f64::NAN,
                ..default()
            },
        ),
        (
            "min_p",
            SpeculativeConfig {
                min_p: 1.5,
                ..default()
            },
        ),
        (
            "repetition_penalty",
            SpeculativeConfig {
                repetition_penalty: 0.0,
                ..default()
            },
        ),
        (
            "presence_penalty",
            SpeculativeConfig {
                presence_penalty: f64::INFINITY,
                ..default()
            },
        ),
        (
            "frequency_penalty",
            SpeculativeConfig {
                frequency_penalty: f64::NAN,
                ..default()
            },
        ),
        (
            "logit_bias",
            SpeculativeConfig {
                logit_bias: vec![(1, f64::NAN)],
                ..default()
            },
        ),
        (
            "stop",
            SpeculativeConfig {
                stop: vec![String::new()],
                ..default()
            },
        ),
        (
            "ignore_eos",
            SpeculativeConfig {
                ignore_eos: true,
                response_format: Some(ResponseFormat::JsonObject),
                ..default()
            },
        ),
        (
            "logprobs",
            SpeculativeConfig {
                logprobs: Some(21),
                ..default()
            },
        ),
    ];
    for (field, config) in wrong {
        let message = config.validate().unwrap_err().to_string();
        assert!(
            message.starts_with(&format!("invalid {field} = ")),
            "{message}"
        );
    }
    for (gamma, legal) in [(0, true), (256, true), (257, false)] {
        let config = SpeculativeConfig { gamma, ..default() };
        assert_eq!(config.validate().is_ok(), legal, "{gamma}");
    }
}

#[test]
fn names_round_trip() {
    fn check<T: Choice + std::str::FromStr + PartialEq + std::fmt::Debug>() {
        for choice in T::all() {
            let parsed = choice.to_string().parse::<T>().ok();
            assert_eq!(parsed, Some(choice));
        }
        assert!("medusa".parse::<T>().is_err());
    }
    check::<DraftKind>();
    check::<Verification>();
}

#[test]
fn settings_are_read_as_they_are_written() {
    let config = SpeculativeConfig {
        stop: vec!["end".into()],
        draft: Some(DraftKind::NGRAM),
        response_format: Some(ResponseFormat::JsonObject),
        ..SpeculativeConfig::default()
    };
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(
        serde_json::from_str::<SpeculativeConfig>(&text).unwrap(),
        config
    );
    assert!(serde_json::from_str::<SpeculativeConfig>(r#"{"gama": 8}"#).is_err());
    let default: SpeculativeConfig = serde_json::from_str("{}").unwrap();
    assert_eq!(default, SpeculativeConfig::default());
}
