//! The tiny trained pair that lies in the repository: a target and a draft of the same vocabulary.

use std::path::PathBuf;

use specdec_rs::{Device, SpeculativeDecoder};

/// The folder of one of the pair's models ("target" or "draft").
pub fn folder(model: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/pair")
        .join(model)
}

/// The pair as a decoder.
pub fn decoder() -> SpeculativeDecoder {
    let name = |model| folder(model).to_string_lossy().into_owned();
    SpeculativeDecoder::new(&name("target"), &name("draft"), Some(Device::Cpu)).unwrap()
}

/// Prompts of many lengths, the same in every run.
pub fn prompts(count: u32) -> Vec<Vec<u32>> {
    let token =
        |prompt: u32, place: u32| 2 + (prompt * 7919 + place * place * 31 + place * 101) % 510;
    (0..count)
        .map(|prompt| {
            (0..1 + prompt % 40)
                .map(|place| token(prompt, place))
                .collect()
        })
        .collect()
}
