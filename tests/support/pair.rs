//! The tiny trained pair in the repository: a target and a draft of the same vocabulary.

use std::path::PathBuf;

use specdec_rs::hub::ModelFiles;
use specdec_rs::model::{LoadOptions, load};
use specdec_rs::{Device, LanguageModel, SpeculativeDecoder, Tokenizer};

use super::memoized::Memoized;

/// The folder of one of the pair's models ("target" or "draft").
pub fn folder(model: &str) -> PathBuf {
    super::repository().join("tests/data/pair").join(model)
}

/// The pair as a decoder.
pub fn decoder() -> SpeculativeDecoder {
    let name = |model| folder(model).to_string_lossy().into_owned();
    SpeculativeDecoder::new(&name("target"), &name("draft"), Some(Device::Cpu)).unwrap()
}

/// Prompts of many lengths, the same in every run.
pub fn prompts(count: u32) -> Vec<Vec<u32>> {
    let token = |prompt: u32, position: u32| {
        2 + (prompt * 7919 + position * position * 31 + position * 101) % 510
    };
    (0..count)
        .map(|prompt| {
            (0..=prompt % 40)
                .map(|position| token(prompt, position))
                .collect()
        })
        .collect()
}

/// The pair's tokenizer.
pub fn tokenizer() -> Tokenizer {
    Tokenizer::from_folder(&folder("target")).unwrap()
}

/// The pair as a decoder that computes every prefix once.
pub fn memoized_decoder() -> SpeculativeDecoder {
    let model = |name| -> Box<dyn LanguageModel> {
        let loaded = load(&ModelFiles::Folder(folder(name)), &LoadOptions::default()).unwrap();
        Box::new(Memoized::new(loaded.model))
    };
    SpeculativeDecoder::with_models(model("target"), Some(model("draft")), tokenizer())
}

/// Prompts from the kind of text that the pair was trained on: licences.
pub fn licence_prompts(count: usize) -> Vec<Vec<u32>> {
    let text = include_str!("../../LICENSE");
    let ids = tokenizer().encode(text, false).unwrap();
    let step = ids.len() / count;
    (0..count)
        .map(|prompt| ids[prompt * step..prompt * step + 24].to_vec())
        .collect()
}
