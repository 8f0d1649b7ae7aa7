//! Tokenizers and chat templates of real models and of the tiny pair.

mod support;

use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use specdec_rs::text::Detokenizer;
use specdec_rs::weights::gguf::GgufFile;
use specdec_rs::{Message, Tokenizer};
use support::{pair, real_model, shared};

fn gguf_tokenizer(file: &Path) -> Tokenizer {
    let file = GgufFile::open(file).unwrap();
    Tokenizer::from_gguf(file.metadata(), file.path()).unwrap()
}

/// Both ways: the ids are transformers' own, and decode to the text.
#[test]
fn real_vocabularies_tokenize_as_transformers_does() {
    let Some(shared) = shared() else { return };
    let golden = std::fs::read(shared.join("golden/tokenization.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    for (model, alias) in [("smollm2", "smollm2-135m"), ("gemma3", "gemma3-270m")] {
        let Some(file) = real_model(alias) else { return };
        let tokenizer = gguf_tokenizer(&file);
        let cases = golden[model].as_array().unwrap();
        assert!(cases.len() > 20);
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let ids = tokenizer.encode(text, true).unwrap();
            let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(ids, expected, "{model}: {text:?}");
            let beginning = usize::from(ids.first() == tokenizer.bos_token_id().as_ref() && model == "gemma3");
            assert_eq!(tokenizer.decode(&ids[beginning..], false).unwrap(), text, "{model}");
        }
        println!("{model}: {} texts", cases.len());
    }
}
