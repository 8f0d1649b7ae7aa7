//! Refuses tokenizers that make much of little: steps that each multiply a text, a template of thousands of tokens, a search
//! whose time is the square of a word. The library runs whatever a file asks for, and knows no limit.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use tokenizers::{ModelWrapper, Tokenizer};

/// The most steps of a kind.
const MAX_STEPS: usize = 64;
/// By how much all steps of a kind together may multiply a text's length; known tokenizers have 12 at most.
const MAX_FACTOR: u64 = 128;
/// Bytes that they may add to a text, whatever its length.
const MAX_ADDED: u64 = 1 << 12;
/// Bytes that a map of characters makes of one; Unicode's longest are 33.
const MAX_MAPPED: usize = 48;
/// Special tokens around a text.
const MAX_TEMPLATE: usize = 256;
/// Bytes of Unigram's longest token, and characters of `WordPiece`'s longest word: the search tries all shorter ones, too.
const MAX_SEARCHED: usize = 256;

/// Where a sequence keeps its steps.
const SEQUENCES: [&str; 4] = ["normalizers", "pretokenizers", "decoders", "processors"];

/// Fails with what the tokenizer asks for, and what is the most of it.
pub(super) fn check(tokenizer: &Tokenizer) -> Result<(), String> {
    let encoding = [
        json(tokenizer.get_normalizer())?,
        json(tokenizer.get_pre_tokenizer())?,
    ];
    check_growth("normalizer and pre_tokenizer", &encoding)?;
    check_growth("decoder", &[json(tokenizer.get_decoder())?])?;
    check_template(&json(tokenizer.get_post_processor())?)?;
    check_search(tokenizer.get_model())
}

fn json(part: Option<&impl Serialize>) -> Result<Value, String> {
    serde_json::to_value(part).map_err(|error| error.to_string())
}

/// The steps of a part, in order.
fn steps(part: &Value) -> Vec<&Value> {
    let inner = SEQUENCES.iter().find_map(|name| part[*name].as_array());
    match inner {
        Some(inner) => inner.iter().flat_map(steps).collect(),
        None => vec![part],
    }
}

fn check_growth(name: &str, parts: &[Value]) -> Result<(), String> {
    let steps: Vec<&Value> = parts.iter().flat_map(steps).collect();
    if steps.len() > MAX_STEPS {
        let count = steps.len();
        return Err(format!(
            "{count} steps of its {name}: expected at most {MAX_STEPS}"
        ));
    }
    let precompiled = steps.iter().filter(|step| step["type"] == "Precompiled");
    check_precompiled(&precompiled.collect::<Vec<_>>())?;
    let (mut factor, mut added) = (1_u64, 0_u64);
    for step in steps {
        let (times, more) = growth(step);
        factor = factor.saturating_mul(times);
        added = added.saturating_mul(times).saturating_add(more);
    }
    if factor > MAX_FACTOR {
        return Err(format!(
            "the steps of its {name} make a text up to {factor} times as long: expected at most {MAX_FACTOR} times"
        ));
    }
    if added > MAX_ADDED {
        return Err(format!(
            "the steps of its {name} add {added} bytes to any text: expected at most {MAX_ADDED}"
        ));
    }
    Ok(())
}

/// Refuses maps of characters to long texts, and a map of what another map made.
fn check_precompiled(steps: &[&&Value]) -> Result<(), String> {
    let [map] = steps else {
        return match steps.len() {
            0 => Ok(()),
            several => Err(format!(
                "its normalizer has {several} maps of characters (Precompiled): expected one"
            )),
        };
    };
    let map = map["precompiled_charsmap"].as_str().unwrap_or_default();
    let map = STANDARD.decode(map).map_err(|error| error.to_string())?;
    // A trie's length, the trie, and texts that each end with a zero.
    let length = map
        .first_chunk()
        .map_or(0, |length| u32::from_le_bytes(*length));
    let texts = map.get(4 + length as usize..).unwrap_or_default();
    let longest = texts.split(|byte| *byte == 0).map(<[u8]>::len).max();
    match longest.unwrap_or(0) {
        0..=MAX_MAPPED => Ok(()),
        longest => Err(format!(
            "its normalizer makes {longest} bytes of a character: expected at most {MAX_MAPPED}"
        )),
    }
}

/// By how much a step may multiply a text's length, and how many bytes it adds.
fn growth(step: &Value) -> (u64, u64) {
    let length = |value: &Value| value.as_str().map_or(0, |text| text.len() as u64);
    match step["type"].as_str().unwrap_or_default() {
        "Replace" => {
            let content = length(&step["content"]);
            let times = match length(&step["pattern"]["String"]) {
                // What a regular expression matches may be empty, before every byte.
                0 => content + 1,
                replaced => content.div_ceil(replaced).max(1),
            };
            (times, 0)
        }
        "Prepend" => (1, length(&step["prepend"])),
        // A byte becomes a character of two, a space one of three.
        "ByteLevel" | "BertNormalizer" | "BPEDecoder" | "CTC" => (2, 0),
        "Metaspace" => (3, 3),
        // Unicode's forms grow a text once, however often they are applied.
        _ => (1, 0),
    }
}

fn check_template(part: &Value) -> Result<(), String> {
    let mut tokens = 0;
    for step in steps(part) {
        let entries = step["single"].as_array().map_or(&[][..], Vec::as_slice);
        let mut texts = 0;
        for entry in entries {
            match entry["SpecialToken"]["id"].as_str() {
                None => texts += 1,
                Some(name) => {
                    let ids = step["special_tokens"][name]["ids"].as_array();
                    tokens += ids.map_or(0, Vec::len);
                }
            }
        }
        if texts > 1 || tokens > MAX_TEMPLATE {
            return Err(format!(
                "its post_processor shows a text {texts} times, with {tokens} tokens: \
                 expected once, with at most {MAX_TEMPLATE}"
            ));
        }
    }
    Ok(())
}

fn check_search(model: &ModelWrapper) -> Result<(), String> {
    let (what, longest) = match model {
        ModelWrapper::Unigram(unigram) => {
            let lengths = unigram.iter().map(|(token, _)| token.len());
            ("its longest token has", lengths.max().unwrap_or(0))
        }
        ModelWrapper::WordPiece(model) => (
            "max_input_chars_per_word is",
            model.max_input_chars_per_word,
        ),
        ModelWrapper::BPE(_) | ModelWrapper::WordLevel(_) => return Ok(()),
    };
    match longest <= MAX_SEARCHED {
        true => Ok(()),
        false => Err(format!("{what} {longest}: expected at most {MAX_SEARCHED}")),
    }
}
