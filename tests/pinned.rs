//! The tokens of fixed seeds, as they were when tests/data/pinned.json was written: a change of the code that is meant to
//! change no output is held to them.
//!
//! A change that is meant to change outputs writes the file anew, and says so in its commit:
//! `SPECDEC_PIN=1 cargo test --test pinned`.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use specdec_rs::{Generation, ResponseFormat, SpeculativeConfig, Verification};
use support::pair;

const PROMPTS: [&str; 4] = [
    "You may reproduce and distribute copies of the",
    "one, two, three, four, five; one, two, three,",
    "Unless required by applicable law or agreed to in writing, software",
    "A",
];

/// A request by one source of drafts, with exactly `gamma` tokens drafted a step.
fn config(draft: &str, verification: Verification, gamma: usize) -> SpeculativeConfig {
    SpeculativeConfig {
        temperature: 0.0,
        gamma,
        adaptive: false,
        draft: Some(draft.parse().unwrap()),
        verification,
        max_new_tokens: 32,
        ignore_eos: true,
        ..SpeculativeConfig::unmodified()
    }
}

/// Every processor at once.
fn sampled(config: SpeculativeConfig, seed: u64) -> SpeculativeConfig {
    SpeculativeConfig {
        temperature: 0.8,
        top_k: 40,
        top_p: 0.95,
        min_p: 0.001,
        repetition_penalty: 1.1,
        presence_penalty: 0.2,
        frequency_penalty: 0.1,
        logit_bias: vec![(20, 1.5), (30, -1.5)],
        seed: Some(seed),
        ..config
    }
}

/// What each case gave, by its name.
#[derive(Default)]
struct Found(BTreeMap<String, Value>);

impl Found {
    fn add(&mut self, name: String, value: Value) {
        assert!(self.0.insert(name, value).is_none(), "two of one name");
    }

    fn tokens(&mut self, name: String, generations: &[Generation]) {
        let tokens: Vec<_> = generations.iter().map(Generation::token_ids).collect();
        self.add(name, json!(tokens));
    }

    /// Tokens, and how many were drafted and accepted.
    fn tokens_and_counts(&mut self, name: &str, generations: &[Generation]) {
        self.tokens(format!("{name}: tokens"), generations);
        let stats = generations.iter().map(|generation| &generation.stats);
        let counts: Vec<_> = stats
            .map(|stats| [stats.steps, stats.drafted, stats.accepted])
            .collect();
        self.add(format!("{name}: steps, drafted, accepted"), json!(counts));
    }
}

/// Every source with every verification. (With all sources at once, measured time chooses among them: what is drafted, and
/// so what rejection and block verification draw, is not repeatable.)
fn single_requests(found: &mut Found) {
    let decoder = pair::decoder();
    let generate = |config: &dyn Fn(u64) -> SpeculativeConfig| -> Vec<Generation> {
        let requests = PROMPTS.iter().zip(0..);
        requests
            .map(|(prompt, seed)| decoder.generate_with(*prompt, &config(seed)).unwrap())
            .collect()
    };
    for verification in Verification::ALL {
        for draft in ["none", "ngram", "model"] {
            let base = config(draft, verification, 5);
            let greedy = generate(&|_| base.clone());
            found.tokens_and_counts(&format!("greedy, {verification}, {draft}"), &greedy);
            let drawn = generate(&|seed| sampled(base.clone(), seed));
            found.tokens_and_counts(&format!("sampled, {verification}, {draft}"), &drawn);
        }
    }
    let base = config("auto", Verification::Coupled, 4);
    let greedy = generate(&|_| base.clone());
    found.tokens("greedy, coupled, auto: tokens".into(), &greedy);
    let drawn = generate(&|seed| sampled(base.clone(), seed));
    found.tokens("sampled, coupled, auto: tokens".into(), &drawn);
}

fn batches(found: &mut Found) {
    let decoder = pair::decoder();
    for (draft, verification) in [
        ("auto", Verification::Coupled),
        ("model", Verification::Rejection),
        ("model", Verification::Block),
        ("ngram", Verification::Rejection),
    ] {
        let config = sampled(config(draft, verification, 3), 11);
        let generations = decoder.generate_batch(PROMPTS, &config).unwrap();
        let name = format!("batch, {verification}, {draft}: tokens");
        found.tokens(name, &generations);
    }
    let config = config("auto", Verification::Coupled, 3);
    let generations = decoder.generate_batch(PROMPTS, &config).unwrap();
    found.tokens("batch, greedy, auto: tokens".into(), &generations);
}

fn response_formats(found: &mut Found) {
    let decoder = pair::decoder();
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "licence": {"enum": ["GPL-3.0-or-later", "Apache-2.0"]},
        },
        "required": ["name", "age", "licence"],
        "additionalProperties": false,
    });
    let regex = "(yes|no), (because|although) [a-z ]{5,20}\\.";
    let formats = [
        ("schema", ResponseFormat::JsonSchema(schema)),
        ("regex", ResponseFormat::Regex(regex.into())),
    ];
    for (name, format) in formats {
        for draft in ["none", "model", "auto"] {
            let base = SpeculativeConfig {
                response_format: Some(format.clone()),
                ignore_eos: false,
                max_new_tokens: 100,
                ..config(draft, Verification::Coupled, 4)
            };
            for config in [base.clone(), sampled(base, 5)] {
                let how = if config.is_greedy() {
                    "greedy"
                } else {
                    "sampled"
                };
                let generation = decoder.generate_with(PROMPTS[0], &config).unwrap();
                found.add(
                    format!("{name}, {how}, {draft}: text"),
                    json!(generation.text),
                );
                found.tokens(format!("{name}, {how}, {draft}: tokens"), &[generation]);
            }
        }
    }
}

fn stops(found: &mut Found) {
    let decoder = pair::decoder();
    for draft in ["none", "model"] {
        let config = SpeculativeConfig {
            stop: vec![" of".into(), "the ".into()],
            ..sampled(config(draft, Verification::Coupled, 6), 3)
        };
        let generations = PROMPTS.map(|prompt| decoder.generate_with(prompt, &config).unwrap());
        let ends = generations
            .each_ref()
            .map(|generation| json!([generation.text, generation.finish_reason.to_string()]));
        found.add(format!("stop, {draft}: texts, reasons"), json!(ends));
    }
}

/// The bits of log-probabilities. Rotary tables are made with the system's sines: other systems may round them otherwise.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn bits(found: &mut Found) {
    let config = SpeculativeConfig {
        logprobs: Some(1),
        ..config("model", Verification::Coupled, 4)
    };
    let generation = pair::decoder().generate_with(PROMPTS[0], &config).unwrap();
    let tokens = generation.tokens.iter();
    let bits: Vec<_> = tokens
        .map(|token| token.logprob.unwrap().to_bits())
        .collect();
    found.add("bits of log-probabilities".into(), json!(bits));
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn bits(_: &mut Found) {}

#[test]
fn outputs_are_what_they_were() {
    let mut found = Found::default();
    single_requests(&mut found);
    batches(&mut found);
    response_formats(&mut found);
    stops(&mut found);
    bits(&mut found);
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/pinned.json");
    if std::env::var_os("SPECDEC_PIN").is_some() {
        let lines: Vec<String> = found
            .0
            .iter()
            .map(|(name, value)| format!("{}: {value}", json!(name)))
            .collect();
        std::fs::write(&file, format!("{{\n{}\n}}\n", lines.join(",\n"))).unwrap();
    }
    let pinned = std::fs::read_to_string(&file).unwrap();
    let pinned: BTreeMap<String, Value> = serde_json::from_str(&pinned).unwrap();
    let mut changed = String::new();
    for (name, value) in &found.0 {
        let before = pinned.get(name).unwrap_or(&Value::Null);
        if before != value {
            writeln!(changed, "{name}:\n  was {before}\n  is  {value}").unwrap();
        }
    }
    assert!(changed.is_empty(), "outputs changed\n{changed}");
    let left = pinned.keys().find(|name| !found.0.contains_key(*name));
    assert!(
        left.is_none() || cfg!(not(all(target_os = "linux", target_arch = "x86_64"))),
        "not computed: {left:?}"
    );
}
