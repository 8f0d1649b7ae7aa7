//! Structured output: it matches its response format, and speculation does not change it.

mod support;

use serde_json::{Value, json};
use specdec_rs::hub::ModelFiles;
use specdec_rs::model::{LoadOptions, load};
use specdec_rs::{
    Audit, DraftKind, Extend, FinishReason, Generation, LanguageModel, Logits, ResponseFormat,
    SequenceId, SpeculativeConfig, SpeculativeDecoder, Verification,
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
        ResponseFormat::JsonObject,
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
        ..SpeculativeConfig::unmodified()
    }
}

#[test]
fn a_grammar_without_end_is_refused() {
    // Every c belongs to the first terminal, so that the second one never comes.
    let format = ResponseFormat::Lark("start: /c*/ /c/".into());
    let decoder = pair::decoder();
    for draft in [DraftKind::NONE, DraftKind::AUTO] {
        let config = SpeculativeConfig {
            draft: Some(draft),
            ..config(format.clone(), 1)
        };
        let message = decoder
            .generate_with(PROMPT, &config)
            .unwrap_err()
            .to_string();
        assert!(message.contains("too long"), "{message}");
    }
}

fn assert_matches_format(text: &str, format: &ResponseFormat) {
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

fn forced_tokens(generation: &Generation) -> usize {
    let sources = generation.tokens.iter().map(|token| token.source);
    sources
        .filter(|source| *source == DraftKind::GRAMMAR)
        .count()
}

#[test]
fn the_output_matches_the_format_and_is_the_same_with_any_draft() {
    let decoder = pair::decoder();
    let (mut all_forced, mut accepted) = (0, 0);
    for format in formats() {
        for seed in 0..12 {
            let config = config(format.clone(), seed);
            let of = |draft| SpeculativeConfig {
                draft: Some(draft),
                ..config.clone()
            };
            let plain = decoder.generate_with(PROMPT, &of(DraftKind::NONE)).unwrap();
            assert_eq!(plain.stats.drafted, 0);
            if plain.finish_reason == FinishReason::Stop {
                assert_matches_format(&plain.text, &format);
            }
            if seed % 3 == 0 {
                for verification in [Verification::Rejection, Verification::Block] {
                    let config = SpeculativeConfig {
                        verification,
                        ..of(DraftKind::MODEL)
                    };
                    let speculative = decoder.generate_with(PROMPT, &config).unwrap();
                    assert_eq!(
                        tokens(&speculative),
                        tokens(&plain),
                        "{format:?}, {verification}"
                    );
                }
            }
            let prompt_length = plain.stats.prompt_tokens;
            let shape = vec![None, None, Some(0), Some(1), Some(2)];
            let tree = ModelTree::new(&decoder, &config, prompt_length, shape);
            for speculative in [
                decoder.generate_with(PROMPT, &of(DraftKind::NGRAM)),
                decoder.generate_with(PROMPT, &of(DraftKind::MODEL)),
                decoder
                    .stream_with(PROMPT, &config, Box::new(tree))
                    .and_then(specdec_rs::Stream::run),
            ] {
                let speculative = speculative.unwrap();
                assert_eq!(tokens(&speculative), tokens(&plain), "{format:?}, {seed}");
                assert_eq!(speculative.text, plain.text);
                assert_eq!(speculative.finish_reason, plain.finish_reason);
                all_forced += forced_tokens(&speculative);
                accepted += speculative.stats.accepted;
            }
        }
    }
    assert!(all_forced > 200, "{all_forced}");
    assert!(accepted > all_forced, "{accepted}");
}

#[test]
fn most_texts_are_complete() {
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
    assert!(ended > 36, "{ended}");
}

/// Every kind of verification follows the target's distribution as the grammar masks it.
#[test]
fn structured_samples_follow_the_masked_distribution() {
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
            assert_eq!(source.distributions.len(), Verification::ALL.len());
            assert!(
                source
                    .distributions
                    .iter()
                    .all(|test| test.uniformity.tokens > 200),
                "{:?}",
                source.distributions
            );
        }
    }
}

#[test]
fn limits_end_structured_output_early() {
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
fn invalid_formats_are_refused_with_the_reason() {
    let decoder = pair::decoder();
    let refused = |decoder: &SpeculativeDecoder, format| {
        let config = config(format, 0);
        decoder
            .generate_with(PROMPT, &config)
            .unwrap_err()
            .to_string()
    };
    for (format, reason) in [
        (ResponseFormat::Regex("(".into()), "unclosed group"),
        (
            ResponseFormat::Lark("start: nothing".into()),
            "unknown name",
        ),
        (ResponseFormat::Lark(String::new()), "start"),
        (
            ResponseFormat::JsonSchema(json!({"type": "nonsense"})),
            "nonsense",
        ),
        (
            ResponseFormat::JsonSchema(json!({"$ref": "http://elsewhere/schema"})),
            "http",
        ),
    ] {
        let message = refused(&decoder, format);
        assert!(
            message.starts_with("invalid response_format = "),
            "{message}"
        );
        let (_, why) = message.split_once(" that compiles: ").unwrap();
        assert!(why.to_lowercase().contains(reason), "{reason}: {why}");
        assert!(
            message.len() < 1000 && message.lines().count() == 1,
            "{message}"
        );
    }
    let message = refused(&decoder, ResponseFormat::Regex("a".repeat(1_000_000)));
    assert!(
        message.contains("expected at most 200000 bytes"),
        "{message}"
    );
}

/// The most deeply nested formats that fit neither overflow the stack nor take forever.
#[test]
fn deeply_nested_formats_are_compiled_or_refused() {
    let tokenizer = pair::tokenizer();
    let refs: serde_json::Map<String, Value> = (0..3_000)
        .map(|level| {
            let next = format!("#/$defs/a{}", level + 1);
            (format!("a{level}"), json!({"$ref": next}))
        })
        .chain([("a3000".into(), json!({"type": "integer"}))])
        .collect();
    let chain = json!({"$ref": "#/$defs/a0", "$defs": refs});
    let within =
        |open: &str, close: &str| [open.repeat(60_000), "a".into(), close.repeat(60_000)].concat();
    for format in [
        ResponseFormat::JsonSchema(chain),
        ResponseFormat::Regex(within("(", ")")),
        ResponseFormat::Lark(format!("start: {}", within("(", ")").replace('a', "\"a\""))),
    ] {
        if let Err(error) = tokenizer.grammar(&format) {
            let message = error.to_string();
            assert!(
                message.starts_with("invalid response_format = "),
                "{message}"
            );
        }
    }
}

/// The tokens allowed after a text don't depend on the texts of earlier queries.
#[test]
fn allowed_tokens_depend_on_the_text_alone() {
    let decoder = pair::decoder();
    for format in formats() {
        let texts: Vec<Vec<u32>> = (0..6)
            .map(|seed| {
                let config = SpeculativeConfig {
                    temperature: 1.5,
                    max_new_tokens: 40,
                    ..config(format.clone(), seed)
                };
                tokens(&decoder.generate_with(PROMPT, &config).unwrap())
            })
            .collect();
        let fresh = decoder.tokenizer().grammar(&format).unwrap();
        let mut used = fresh.clone();
        for step in 0..200_usize {
            let text = &texts[step % texts.len()];
            let text = &text[..(step * 7) % text.len()];
            let (found, expected) = (used.allowed(text, &[]), fresh.clone().allowed(text, &[]));
            assert_eq!(found.unwrap(), expected.unwrap(), "{format:?}, {text:?}");
        }
    }
}

/// Also if two texts reach the same point of a grammar by different branches.
#[test]
fn allowed_tokens_depend_on_the_branch_taken() {
    let decoder = pair::decoder();
    let grammar = "start: \"(\" NUMBER \")\" | \"[\" NUMBER \"]\"\nNUMBER: /[0-9]+/";
    let format = ResponseFormat::Lark(grammar.into());
    let fresh = decoder.tokenizer().grammar(&format).unwrap();
    let mut used = fresh.clone();
    for text in ["(1", "[1", "(1", "(12", "[12", "[1", "["] {
        let text: Vec<u32> = text
            .chars()
            .flat_map(|letter| {
                let tokenizer = decoder.tokenizer();
                tokenizer.encode(&letter.to_string(), false).unwrap()
            })
            .collect();
        let (found, expected) = (used.allowed(&text, &[]), fresh.clone().allowed(&text, &[]));
        assert_eq!(found.unwrap(), expected.unwrap(), "{text:?}");
    }
}

/// Rules that llguidance can't roll back work with drafts too.
#[test]
fn rules_without_rollback_work_with_drafts() {
    let decoder = pair::decoder();
    let grammar = "start: think \" answer: \" /[0-9]+/\nthink[max_tokens=12]: /[a-z ]*/";
    let format = ResponseFormat::Lark(grammar.into());
    for seed in 0..6 {
        let of = |draft| SpeculativeConfig {
            draft: Some(draft),
            max_new_tokens: 48,
            ..config(format.clone(), seed)
        };
        let plain = decoder.generate_with(PROMPT, &of(DraftKind::NONE)).unwrap();
        for draft in [DraftKind::NGRAM, DraftKind::MODEL] {
            let speculative = decoder.generate_with(PROMPT, &of(draft)).unwrap();
            assert_eq!(tokens(&speculative), tokens(&plain), "{seed}, {draft}");
        }
    }
}

/// The pair's target with more rows than its tokenizer has tokens.
struct Padded(Box<dyn LanguageModel>);

impl LanguageModel for Padded {
    fn vocab_size(&self) -> usize {
        self.0.vocab_size() + 8
    }

    fn context_length(&self) -> usize {
        self.0.context_length()
    }

    fn extend(&mut self, batch: &[Extend<'_>], logits: &mut Logits) -> specdec_rs::Result<()> {
        for extend in batch {
            let known = extend.tokens.iter().map(|token| token % 512);
            let tokens: Vec<u32> = known.collect();
            let mut inner = Logits::new(self.0.vocab_size());
            self.0.extend(
                &[Extend {
                    tokens: &tokens,
                    ..*extend
                }],
                &mut inner,
            )?;
            for row in 0..inner.len() {
                logits.push(&[inner.row(row), &[0.0; 8]].concat());
            }
        }
        Ok(())
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) -> specdec_rs::Result<()> {
        self.0.truncate(sequence, length)
    }

    fn free(&mut self, sequence: SequenceId) {
        self.0.free(sequence);
    }
}

#[test]
fn padding_in_a_prompt_is_no_token_of_any_form() {
    let files = ModelFiles::Folder(pair::folder("target"));
    let target = Padded(load(&files, &LoadOptions::default()).unwrap().model);
    let decoder = SpeculativeDecoder::with_models(
        Box::new(target),
        None::<Box<dyn LanguageModel>>,
        pair::tokenizer(),
    );
    let prompt = vec![5, 9, 515, 9, 515, 9, 515, 9];
    for format in formats() {
        let of = |draft| SpeculativeConfig {
            draft: Some(draft),
            max_new_tokens: 24,
            ..config(format.clone(), 1)
        };
        let plain = decoder
            .generate_with(prompt.clone(), &of(DraftKind::NONE))
            .unwrap();
        let speculative = decoder
            .generate_with(prompt.clone(), &of(DraftKind::NGRAM))
            .unwrap();
        assert_eq!(tokens(&speculative), tokens(&plain));
        assert!(tokens(&plain).iter().all(|token| *token < 512));
    }
}

#[test]
fn a_form_that_could_not_end_is_refused() {
    let decoder = pair::decoder();
    let ends = decoder.tokenizer().eos_token_ids().iter();
    let config = SpeculativeConfig {
        logit_bias: ends.map(|id| (*id, f64::NEG_INFINITY)).collect(),
        ..config(ResponseFormat::Regex("yes|no".into()), 1)
    };
    let message = decoder
        .generate_with(PROMPT, &config)
        .unwrap_err()
        .to_string();
    assert!(message.starts_with("invalid logit_bias = "), "{message}");
}
