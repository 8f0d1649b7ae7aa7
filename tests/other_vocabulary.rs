//! Draft models whose vocabulary differs from the target's.

mod support;

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::Value;
use specdec_rs::speculation::drafter::OtherVocabulary;
use specdec_rs::{
    Device, DraftKind, ResponseFormat, SpeculativeConfig, SpeculativeDecoder, Tokenizer,
    Verification,
};
use support::pair;
use support::statistics::{Expected, overlap, softmax, tokens};

fn decoder() -> SpeculativeDecoder {
    let name = |model| pair::folder(model).display().to_string();
    let (target, draft) = (name("target"), name("draft-other-vocab"));
    SpeculativeDecoder::new(&target, &draft, Some(Device::Cpu)).unwrap()
}

fn draft_tokenizer() -> Tokenizer {
    Tokenizer::from_folder(&pair::folder("draft-other-vocab")).unwrap()
}

#[test]
fn the_text_is_the_same_as_without_drafts() {
    let decoder = decoder();
    let formats = [None, Some(ResponseFormat::Regex("[a-z ]{20,40}".into()))];
    let mut accepted = HashMap::new();
    for (index, prompt) in pair::licence_prompts(6).into_iter().enumerate() {
        for temperature in [0.0, 0.8] {
            for format in &formats {
                let config = |draft, gamma| SpeculativeConfig {
                    temperature,
                    gamma,
                    adaptive: index % 2 == 0,
                    draft: Some(draft),
                    seed: Some(index as u64),
                    max_new_tokens: 40,
                    response_format: format.clone(),
                    ..SpeculativeConfig::unmodified()
                };
                let generate = |config| decoder.generate_with(&prompt[..], &config).unwrap();
                let plain = generate(config(DraftKind::NONE, 0));
                for gamma in [1, 4, 9] {
                    let drafted = generate(config(DraftKind::MODEL, gamma));
                    assert_eq!(tokens(&drafted), tokens(&plain), "{temperature} {gamma}");
                    *accepted.entry(temperature.to_string()).or_insert(0) += drafted.stats.accepted;
                }
            }
        }
    }
    println!("accepted by temperature: {accepted:?}");
    assert!(accepted.values().all(|accepted| *accepted > 100));
}

/// Maps each token of the draft to the target's token of the same spelling; both vocabularies spell bytes in the same way.
fn same_tokens() -> HashMap<usize, usize> {
    let (target, draft) = (pair::tokenizer(), draft_tokenizer());
    let ids = |tokenizer: &Tokenizer| 0..tokenizer.vocab_size() as u32;
    let spelled: HashMap<String, u32> = ids(&target)
        .map(|id| (target.token(id).unwrap(), id))
        .collect();
    let same = ids(&draft).filter_map(|id| {
        let target = spelled.get(&draft.token(id).unwrap())?;
        Some((id as usize, *target as usize))
    });
    same.collect()
}

/// The acceptance probability of a token drawn from the draft's distribution over the common tokens (2502.05202, theorem
/// 4.1): the sum of min(p, q).
fn overlap_after(decoder: &SpeculativeDecoder, same: &HashMap<usize, usize>, text: &[u32]) -> f64 {
    let target = decoder.sequence().extend(text, 1).unwrap();
    let written = decoder.tokenizer().decode(text, true).unwrap();
    let ids = draft_tokenizer().encode(&written, true).unwrap();
    let mut sequence = decoder.draft_sequence().unwrap();
    let draft = sequence.extend(&ids, 1).unwrap();
    let p = softmax(target.row(0));
    let mut q = vec![f32::NEG_INFINITY; p.len()];
    for (id, logit) in draft.row(0).iter().enumerate() {
        if let Some(target) = same.get(&id) {
            q[*target] = *logit;
        }
    }
    overlap(&p, &softmax(&q))
}

#[test]
fn acceptance_is_what_theory_says() {
    let (decoder, same) = (decoder(), same_tokens());
    let (mut drafted, mut accepted, mut expected) = (0, 0, Expected::default());
    for (seed, prompt) in pair::licence_prompts(30).into_iter().enumerate() {
        let config = SpeculativeConfig {
            gamma: 1,
            adaptive: false,
            draft: Some(DraftKind::MODEL),
            verification: Verification::Rejection,
            seed: Some(seed as u64),
            max_new_tokens: 40,
            ignore_eos: true,
            ..SpeculativeConfig::unmodified()
        };
        let generation = decoder.generate_with(&prompt[..], &config).unwrap();
        drafted += generation.stats.drafted;
        accepted += generation.stats.accepted;
        let text = [&prompt[..], &tokens(&generation)].concat();
        let tokens = &generation.tokens;
        // Each step drafts a token after all tokens of earlier steps; the last step may have no room for one.
        for step in 0..generation.stats.drafted {
            let written = tokens.iter().filter(|token| token.step < step).count();
            let text = &text[..prompt.len() + written];
            expected.add(overlap_after(&decoder, &same, text));
        }
    }
    expected.assert_near(accepted);
    assert!(drafted > 500);
}

proptest! {
    /// In whatever steps a text grows, its tokens are those of the whole text.
    #[test]
    fn incremental_retokenizing_gives_the_tokens_of_the_whole_text(
        words in prop::collection::vec("(the|permission|notice|[a-zé漢]{1,9}|[0-9.,;()\"-]{1,3})( |  |\n|\n\n )", 1..60),
        cuts in prop::collection::vec(1..40_usize, 1..20),
    ) {
        let (target, draft) = (pair::tokenizer(), draft_tokenizer());
        let other = OtherVocabulary::new(&target, &draft).unwrap();
        let text = words.concat();
        let ids = target.encode(&text, true).unwrap();
        let mut retokenizer = other.retokenizer().unwrap();
        let mut end = 0_usize;
        for cut in cuts.into_iter().chain([usize::MAX]) {
            end = ids.len().min(end.saturating_add(cut));
            let here = target.decode(&ids[..end], true).unwrap();
            let found = retokenizer.follow(&ids[..end]);
            prop_assert_eq!(found.is_none(), here.ends_with('\u{fffd}'));
            if let Some(found) = found {
                prop_assert_eq!(found, &draft.encode(&here, true).unwrap()[..]);
            }
        }
    }
}

#[test]
fn vocabularies_without_a_common_token_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(pair::folder("draft-other-vocab")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let file = folder.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let model = tokenizer["model"].as_object_mut().unwrap();
    let strange = |(token, id): (&String, &Value)| (format!("\u{2603}{token}"), id.clone());
    let vocabulary = model["vocab"].as_object().unwrap().iter().map(strange);
    model["vocab"] = Value::Object(vocabulary.collect());
    model["merges"] = Value::Array(Vec::new());
    std::fs::write(&file, tokenizer.to_string()).unwrap();

    let strange = Tokenizer::from_folder(folder.path()).unwrap();
    let refused = OtherVocabulary::new(&pair::tokenizer(), &strange).map(drop);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("share no token"), "{message}");
    let other = OtherVocabulary::new(&pair::tokenizer(), &draft_tokenizer()).unwrap();
    assert!(other.shared() >= 300, "{}", other.shared());
}
