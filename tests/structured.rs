//! Output held to a form: it is of that form, and speculation changes nothing about it.

mod support;

use serde_json::{Value, json};
use specdec_rs::speculation::TokenSource;
use specdec_rs::{
    Audit, DraftKind, FinishReason, Generation, ResponseFormat, SpeculativeConfig,
    SpeculativeDecoder, Verification,
};
use support::pair;
use support::sources::ModelTree;
use support::statistics::tokens;

const PROMPT: &str = "You may copy and distribute";

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "licence": {"enum": ["GPL-3.0-or-later", "Apache-2.0"]},
        },
        "required": ["name", "age", "licence"],
        "additionalProperties": false,
    })
}

fn formats() -> Vec<ResponseFormat> {
    let arithmetic =
        "start: NUMBER (OPERATOR NUMBER){1,4}\nNUMBER: /[0-9]{1,3}/\nOPERATOR: \" + \" | \" - \"";
    vec![
        ResponseFormat::JsonSchema(person()),
        ResponseFormat::Regex("(yes|no), (because|although) [a-z ]{5,20}\\.".into()),
        ResponseFormat::Lark(arithmetic.into()),
    ]
}

fn config(format: ResponseFormat, seed: u64) -> SpeculativeConfig {
    SpeculativeConfig {
        temperature: [0.0, 0.8, 1.5][seed as usize % 3],
        top_p: [1.0, 0.9][seed as usize % 2],
        max_new_tokens: 200,
        seed: Some(seed),
        response_format: Some(format),
        ..SpeculativeConfig::default()
    }
}

fn assert_is_of_form(text: &str, format: &ResponseFormat) {
    match format {
        ResponseFormat::JsonObject => {
            let value: Value = serde_json::from_str(text).unwrap();
            assert!(value.is_object(), "{text}");
        }
        ResponseFormat::JsonSchema(_) => {
            let value: Value = serde_json::from_str(text).unwrap();
            let value = value.as_object().unwrap();
            assert_eq!(value.len(), 3, "{text}");
            assert!(
                value["name"].as_str().unwrap().chars().count() <= 12,
                "{text}"
            );
            assert!(value["age"].as_u64().unwrap() <= 120, "{text}");
            let licence = value["licence"].as_str().unwrap();
            assert!(
                ["GPL-3.0-or-later", "Apache-2.0"].contains(&licence),
                "{text}"
            );
        }
        ResponseFormat::Regex(_) => {
            let reason = text
                .strip_prefix("yes, ")
                .or(text.strip_prefix("no, "))
                .unwrap();
            let reason = reason
                .strip_prefix("because ")
                .or(reason.strip_prefix("although "));
            let reason = reason.unwrap().strip_suffix('.').unwrap();
            assert!((5..=20).contains(&reason.len()), "{text}");
            assert!(
                reason.chars().all(|c| c == ' ' || c.is_ascii_lowercase()),
                "{text}"
            );
        }
        ResponseFormat::Lark(_) => {
            let numbers: Vec<&str> = text
                .split([' ', '+', '-'])
                .filter(|part| !part.is_empty())
                .collect();
            assert!((2..=5).contains(&numbers.len()), "{text}");
            assert!(
                numbers
                    .iter()
                    .all(|number| number.parse::<u32>().unwrap() < 1000),
                "{text}"
            );
        }
    }
}

fn forced(generation: &Generation) -> usize {
    let sources = generation.tokens.iter().map(|token| token.source);
    sources
        .filter(|source| *source == TokenSource::Grammar)
        .count()
}

#[test]
fn the_output_is_of_the_form_and_the_same_with_any_draft() {
    let decoder = pair::decoder();
    let (mut all_forced, mut accepted) = (0, 0);
    for format in formats() {
        for seed in 0..12 {
            let config = config(format.clone(), seed);
            let of = |draft| SpeculativeConfig {
                draft: Some(draft),
                ..config.clone()
            };
            let plain = decoder.generate_with(PROMPT, &of(DraftKind::None)).unwrap();
            assert_eq!(plain.stats.drafted, 0);
            if plain.finish_reason == FinishReason::Stop {
                assert_is_of_form(&plain.text, &format);
            }
            let prompt_length = plain.stats.prompt_tokens;
            let shape = vec![None, None, Some(0), Some(1), Some(2)];
            let tree = ModelTree::new(&decoder, &config, prompt_length, shape);
            for speculative in [
                decoder.generate_with(PROMPT, &of(DraftKind::Ngram)),
                decoder.generate_with(PROMPT, &of(DraftKind::Model)),
                decoder
                    .session_with(PROMPT, &config, Box::new(tree))
                    .and_then(|session| session.run()),
            ] {
                let speculative = speculative.unwrap();
                assert_eq!(tokens(&speculative), tokens(&plain), "{format:?}, {seed}");
                assert_eq!(speculative.text, plain.text);
                assert_eq!(speculative.finish_reason, plain.finish_reason);
                all_forced += forced(&speculative);
                accepted += speculative.stats.accepted;
            }
        }
    }
    assert!(all_forced > 200, "{all_forced}");
    assert!(accepted > all_forced, "{accepted}");
}

#[test]
fn most_texts_come_to_their_end() {
    let decoder = pair::decoder();
    let mut ended = 0;
    for format in formats() {
        for seed in 0..12 {
            let generation = decoder
                .generate_with(PROMPT, &config(format.clone(), seed))
                .unwrap();
            ended += usize::from(generation.finish_reason == FinishReason::Stop);
        }
    }
    assert!(ended > 30, "{ended}");
}

/// The laws that remain when a grammar has masked them are followed by every kind of verification.
#[test]
fn structured_samples_follow_their_law() {
    for format in formats() {
        let config = SpeculativeConfig {
            temperature: 1.0,
            gamma: 4,
            adaptive: false,
            ..config(format, 1)
        };
        let report = Audit::new(pair::decoder())
            .run(&[PROMPT.into()], &config, 40)
            .unwrap();
        assert!(report.lossless, "{report:?}");
        for source in report.sources {
            assert_eq!(source.laws.len(), Verification::ALL.len());
            assert!(
                source.laws.iter().all(|law| law.uniformity.tokens > 200),
                "{:?}",
                source.laws
            );
        }
    }
}

#[test]
fn limits_cut_a_form_off() {
    let decoder = pair::decoder();
    let config = SpeculativeConfig {
        max_new_tokens: 3,
        ..config(ResponseFormat::JsonSchema(person()), 0)
    };
    let generation = decoder.generate_with(PROMPT, &config).unwrap();
    assert_eq!(generation.finish_reason, FinishReason::Length);
    assert_eq!(generation.tokens.len(), 3);
    let stopped = SpeculativeConfig {
        max_new_tokens: 200,
        stop: vec!["\"age\"".into()],
        ..config
    };
    let generation = decoder.generate_with(PROMPT, &stopped).unwrap();
    assert_eq!(generation.finish_reason, FinishReason::Stop);
    assert!(
        generation.text.starts_with('{') && !generation.text.contains("age"),
        "{generation}"
    );
}

#[test]
fn what_is_no_form_is_refused_with_its_reason() {
    let decoder = pair::decoder();
    let refused = |decoder: &SpeculativeDecoder, format| {
        let config = config(format, 0);
        decoder
            .generate_with(PROMPT, &config)
            .unwrap_err()
            .to_string()
    };
    for (format, reason) in [
        (ResponseFormat::Regex("(".into()), "regex"),
        (ResponseFormat::Lark("start: nothing".into()), "nothing"),
        (ResponseFormat::Lark(String::new()), "response_format"),
        (
            ResponseFormat::JsonSchema(json!({"type": "nonsense"})),
            "nonsense",
        ),
        (
            ResponseFormat::JsonSchema(json!({"$ref": "http://elsewhere/schema"})),
            "elsewhere",
        ),
    ] {
        let message = refused(&decoder, format);
        assert!(
            message.starts_with("invalid response_format = "),
            "{message}"
        );
        assert!(message.contains(reason), "{message}");
    }
}
