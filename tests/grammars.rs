//! Random formats: whatever a grammar holds, drafts don't change its text.
//!
//! Schemas, regular expressions and Lark grammars are drawn by chance; plain decoding is compared with every way to draft. An
//! error counts as a text: with drafts it must be the same one. `SPECDEC_FUZZ=COUNT` tries that many formats from a new seed,
//! which `SPECDEC_FUZZ_SEED` repeats.

mod support;

use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use specdec_rs::{DraftKind, ResponseFormat, SpeculativeConfig, SpeculativeDecoder, Verification};
use support::pair;

/// Formats in an ordinary run.
const COUNT: usize = 240;

/// Random numbers, by Steele and others' generator of 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// A regular expression of some of the syntax that schemas, Lark and Rust share.
fn regex(random: &mut Random, depth: usize) -> String {
    let atom = |random: &mut Random| {
        let atoms = [
            "a", "the", " ", "[a-z]", "[^q]", "[0-9]", ".", r"\w", r"\d", " of ", "(.|\\n)", "e",
        ];
        random.pick(&atoms).to_owned()
    };
    if depth == 0 {
        return atom(random);
    }
    let part = regex(random, depth - 1);
    match random.below(7) {
        0 => format!("({part}|{})", regex(random, depth - 1)),
        1 => format!("({part})*"),
        2 => format!("({part})?{}", atom(random)),
        3 => {
            let least = random.below(3);
            format!("({part}){{{least},{}}}", least + random.below(12))
        }
        4 => format!("{part}{}", regex(random, depth - 1)),
        5 => format!("({part})+{}", atom(random)),
        _ => format!("{}{part}", atom(random)),
    }
}

/// A JSON schema.
fn schema(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 7 } else { 11 }) {
        0 => json!({"type": "string", "maxLength": random.below(20)}),
        1 => json!({"type": "string", "pattern": format!("^{}$", regex(random, 1))}),
        2 => {
            json!({"type": "integer", "minimum": random.below(9), "maximum": 9 + random.below(999)})
        }
        3 => json!({"type": random.pick(&["number", "boolean", "null", "string"])}),
        4 => json!({"enum": ["the", "GPL", random.below(100), null, true]}),
        5 => json!({"const": random.pick(&["", "licence", "a \"b\" \\ \n"])}),
        6 => json!({"type": "integer", "multipleOf": 1 + random.below(9)}),
        7 => json!({
            "type": "array",
            "items": schema(random, depth - 1),
            "minItems": random.below(3),
            "maxItems": 2 + random.below(4),
        }),
        8 => json!({"anyOf": [schema(random, depth - 1), schema(random, depth - 1)]}),
        _ => json!({
            "type": "object",
            "properties": {"a": schema(random, depth - 1), "the name": schema(random, depth - 1)},
            "required": random.pick::<[&str]>(&[&[], &["a"], &["a", "the name"]]),
            "additionalProperties": random.one_in(3),
        }),
    }
}

/// A Lark grammar, often with attributes that parsers cannot forget.
fn lark(random: &mut Random) -> String {
    const RULES: usize = 3;
    let term =
        |random: &mut Random, rule: usize| match random.below(if rule + 1 < RULES { 5 } else { 3 })
        {
            0 => format!(
                "\"{}\"",
                random.pick(&["ab", "c", " ", "the ", "of", "xxx", "\\n"])
            ),
            1 | 2 => format!("/{}/", regex(random, 2)),
            _ => format!("r{}", rule + 1 + random.below(RULES - rule - 1)),
        };
    let mut start = String::from("start: r0");
    if random.one_in(3) {
        start += random.pick(&[" r1", "+", " (r1 | r2)", " \"!\"?"]);
    }
    let mut rules = vec![start];
    for rule in 0..RULES {
        let attributes = match random.below(7) {
            0 => format!("[max_tokens={}]", 1 + random.below(8)),
            1 => format!("[stop=\"{}\"]", random.pick(&["e", "th", " ", "of "])),
            2 => format!("[stop=/{}/]", random.pick(&["[aeiou]", " +", "\\\\n|,"])),
            3 => format!("[suffix=\"{}\"]", random.pick(&["e", "th", ", "])),
            4 => "[lazy]".to_owned(),
            _ => String::new(),
        };
        // An attribute needs a rule that is one terminal.
        let body = match attributes.is_empty() || attributes.starts_with("[max") {
            false => format!("/{}/", regex(random, 2)),
            true => {
                let first = term(random, rule);
                match random.below(5) {
                    0 => format!("{first} | {}", term(random, rule)),
                    1 => format!("({first} | {})*", term(random, rule)),
                    2 => format!("{first} {}", term(random, rule)),
                    3 => format!("({first}){{1,{}}}", 1 + random.below(6)),
                    _ => first,
                }
            }
        };
        rules.push(format!("r{rule}{attributes}: {body}"));
    }
    rules.join("\n")
}

fn format(random: &mut Random) -> ResponseFormat {
    match random.below(4) {
        0 => ResponseFormat::JsonSchema(schema(random, 2)),
        1 => ResponseFormat::Regex(regex(random, 3)),
        _ => ResponseFormat::Lark(lark(random)),
    }
}

/// A way to draft.
fn drafting(draft: DraftKind, gamma: usize, adaptive: bool) -> SpeculativeConfig {
    SpeculativeConfig {
        draft: Some(draft),
        gamma,
        adaptive,
        ..SpeculativeConfig::unmodified()
    }
}

/// The tokens of a generation or its error, and the number of tokens drafted for it.
fn outcome(
    decoder: &SpeculativeDecoder,
    prompt: &[u32],
    config: &SpeculativeConfig,
) -> (Result<Vec<u32>, String>, usize) {
    match decoder.generate_with(prompt, config) {
        Ok(generation) => (Ok(generation.token_ids()), generation.stats.drafted),
        Err(error) => (Err(error.to_string()), 0),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap())
}

#[test]
fn drafts_do_not_change_the_text_of_any_format() {
    let decoder = pair::decoder();
    let prompts = pair::licence_prompts(16);
    let count = number("SPECDEC_FUZZ").map_or(COUNT, |count| count as usize);
    let seed = number("SPECDEC_FUZZ_SEED").unwrap_or_else(|| match count {
        COUNT => 1,
        _ => UNIX_EPOCH.elapsed().unwrap().as_secs(),
    });
    println!("SPECDEC_FUZZ={count} SPECDEC_FUZZ_SEED={seed}");
    let ways = [
        drafting(DraftKind::NGRAM, 16, true),
        drafting(DraftKind::MODEL, 5, false),
        drafting(DraftKind::RECYCLING, 8, false),
        drafting(DraftKind::AUTO, 16, true),
    ];
    let mut random = Random(seed);
    let (mut texts, mut drafted) = (0, 0);
    for case in 0..count {
        let format = format(&mut random);
        let common = SpeculativeConfig {
            temperature: random.pick(&[&0.0, &1.0]).to_owned(),
            seed: Some(random.next()),
            max_new_tokens: 1 + random.below(30),
            response_format: Some(format.clone()),
            verification: Verification::Coupled,
            ..drafting(DraftKind::NONE, 0, true)
        };
        let prompt = &prompts[random.below(prompts.len())];
        let (plain, _) = outcome(&decoder, prompt, &common);
        texts += usize::from(plain.is_ok());
        for way in &ways {
            let config = SpeculativeConfig {
                draft: way.draft,
                gamma: way.gamma,
                adaptive: way.adaptive,
                ..common.clone()
            };
            let (speculative, tokens) = outcome(&decoder, prompt, &config);
            assert_eq!(speculative, plain, "case {case} of seed {seed}: {config:?}");
            drafted += tokens;
        }
    }
    println!(
        "{texts} texts and {} errors; {drafted} tokens drafted",
        count - texts
    );
    assert!(2 * texts > count, "most formats are refused");
    assert!(drafted > 3 * count, "hardly anything was drafted");
}
