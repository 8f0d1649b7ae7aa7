//! Response formats: whatever one holds, it is a short error or a text, and the same one with every way to draft as without
//! drafts; never a panic that nothing catches, an abort, a hang, or more than 2 GB.
//!
//! The input is a seed of one byte, and a format: JSON as the server takes it, a regular expression after "regex:", or a
//! grammar after "lark:".
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use specdec_fuzz::{catch_panics, check_error, mutate, pair, parts, reported, settings};
use specdec_rs::{Device, DraftKind, ResponseFormat, SpeculativeConfig, SpeculativeDecoder};

/// The error of a parser that took too long, which may be so in one run and not in another.
const TOO_LONG: &str = "takes the parser too long";

thread_local! {
    static DECODER: OnceCell<SpeculativeDecoder> = const { OnceCell::new() };
}

fuzz_target!(init: catch_panics(), |input: &[u8]| {
    let [seed, format] = parts(input);
    let Some(format) = read(format) else {
        return;
    };
    let seed = seed.first().copied().unwrap_or(0);
    DECODER.with(|decoder| {
        reported(|| compare(decoder.get_or_init(load), seed, format));
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed)
});

fn load() -> SpeculativeDecoder {
    let name = |model| pair(model).to_str().unwrap().to_owned();
    let builder = SpeculativeDecoder::builder().target(name("target"));
    let builder = builder.draft(name("draft")).device(Device::Cpu);
    builder.threads(1).load().unwrap()
}

fn read(format: &[u8]) -> Option<ResponseFormat> {
    let text = std::str::from_utf8(format).ok()?;
    if let Some(regex) = text.strip_prefix("regex:") {
        return Some(ResponseFormat::Regex(regex.to_owned()));
    }
    if let Some(grammar) = text.strip_prefix("lark:") {
        return Some(ResponseFormat::Lark(grammar.to_owned()));
    }
    ResponseFormat::from_json(&serde_json::from_str(text).ok()?).ok()?
}

fn compare(decoder: &SpeculativeDecoder, seed: u8, format: ResponseFormat) {
    let plain = SpeculativeConfig {
        temperature: f64::from(seed % 2),
        seed: Some(seed.into()),
        max_new_tokens: 12,
        response_format: Some(format),
        ..settings()
    };
    let expected = outcome(decoder, &plain);
    for (draft, gamma, adaptive) in [
        (DraftKind::MODEL, 5, false),
        (DraftKind::RECYCLING, 8, false),
        (DraftKind::AUTO, 16, true),
    ] {
        let drafted = SpeculativeConfig {
            draft: Some(draft),
            gamma,
            adaptive,
            ..plain.clone()
        };
        let found = outcome(decoder, &drafted);
        let timed_out = |outcome: &Result<String, String>| {
            let error = outcome.as_ref().err();
            error.is_some_and(|error| error.contains(TOO_LONG))
        };
        if !timed_out(&expected) && !timed_out(&found) {
            assert_eq!(found, expected, "{draft}");
        }
    }
}

/// The text of a request, or its error.
fn outcome(decoder: &SpeculativeDecoder, config: &SpeculativeConfig) -> Result<String, String> {
    let generation = decoder.generate_with("You may copy", config);
    let generation = generation.inspect_err(check_error);
    let tokens = generation.map(|generation| format!("{:?} {generation}", generation.token_ids()));
    tokens.map_err(|error| error.to_string())
}
