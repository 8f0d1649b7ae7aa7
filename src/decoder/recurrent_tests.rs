//! A target and a draft with recurrent layers, through the whole engine: speculation changes no text, and neither do batches
//! and cached prefixes.

use std::collections::HashMap;
use std::path::Path;

use super::{Prompt, SpeculativeDecoder};
use crate::backend::cpu::Tier;
use crate::engine::{Event, KvCacheManager, Scheduler};
use crate::model::LanguageModel;
use crate::model::toy::{self, On};
use crate::settings::{DraftKind, SpeculativeConfig};
use crate::text::Tokenizer;

fn decoder() -> SpeculativeDecoder {
    let on = On::Tier(Tier::choose().unwrap());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pair/target");
    let tokenizer = Tokenizer::from_folder(&folder).unwrap();
    let model = |name| -> Box<dyn LanguageModel> { Box::new(toy::hybrid(name, on)) };
    SpeculativeDecoder::with_models(model("target"), Some(model("draft")), tokenizer)
}

fn prompts() -> Vec<Vec<u32>> {
    let token = |prompt: u32, position: u32| 2 + (prompt * 7919 + position * 31) % 40;
    (0..6)
        .map(|prompt| {
            (0..20 + 9 * prompt)
                .map(|position| token(prompt, position))
                .collect()
        })
        .collect()
}

fn config(draft: DraftKind, temperature: f64) -> SpeculativeConfig {
    SpeculativeConfig {
        draft: Some(draft),
        temperature,
        seed: Some(5),
        max_new_tokens: 40,
        ..SpeculativeConfig::default()
    }
}

fn plain(decoder: &SpeculativeDecoder, prompt: &[u32], temperature: f64) -> Vec<u32> {
    let config = config(DraftKind::NONE, temperature);
    let alone = decoder.without_prefix_cache();
    let generation = alone.generate_with(Prompt::Tokens(prompt.to_vec()), &config);
    generation.unwrap().token_ids()
}

#[test]
fn drafts_change_no_text() {
    let decoder = decoder();
    for temperature in [0.0, 0.9] {
        for prompt in prompts() {
            let expected = plain(&decoder, &prompt, temperature);
            for draft in [DraftKind::AUTO, DraftKind::NGRAM, DraftKind::MODEL] {
                for gamma in [1, 4, 30] {
                    let config = SpeculativeConfig {
                        gamma,
                        adaptive: false,
                        ..config(draft, temperature)
                    };
                    let found = decoder.generate_with(Prompt::Tokens(prompt.clone()), &config);
                    let found = found.unwrap();
                    assert_eq!(
                        found.token_ids(),
                        expected,
                        "{draft}, {gamma} at {temperature}"
                    );
                    if draft == DraftKind::MODEL {
                        assert!(found.stats.drafted > 0);
                    }
                }
            }
        }
    }
}

#[test]
fn requests_that_share_a_batch_write_what_they_would_alone() {
    let decoder = decoder();
    let mut scheduler = Scheduler::new(4, KvCacheManager::new(None, usize::MAX));
    let mut expected = HashMap::new();
    for prompt in prompts() {
        for draft in [DraftKind::AUTO, DraftKind::MODEL] {
            let request = decoder.request(Prompt::Tokens(prompt.clone()), &config(draft, 0.9));
            let id = scheduler.add(request.unwrap());
            expected.insert(id, plain(&decoder, &prompt, 0.9));
        }
    }
    let mut ended = 0;
    while !scheduler.is_idle() {
        scheduler.step();
        for (id, event) in scheduler.events() {
            if let Event::End(generation) = event {
                assert_eq!(generation.unwrap().token_ids(), expected[&id]);
                ended += 1;
            }
        }
    }
    assert_eq!(ended, expected.len());
}

#[test]
fn a_conversation_goes_on_from_where_it_was() {
    let decoder = decoder();
    let config = config(DraftKind::AUTO, 0.0);
    let mut text = prompts().pop().unwrap();
    for turn in 0..3 {
        let expected = plain(&decoder, &text, 0.0);
        let found = decoder
            .generate_with(Prompt::Tokens(text.clone()), &config)
            .unwrap();
        assert_eq!(found.token_ids(), expected);
        // All but the answer's last token was computed, and the prompt's last one always is.
        let known = if turn == 0 { 0 } else { text.len() - 4 };
        assert_eq!(found.stats.cached_tokens, known, "turn {turn}");
        text.extend(expected);
        text.extend([4, 9, 2]);
    }
    // Another answer to the same prompt starts from the checkpoint at the prompt's end.
    let mut other = text.clone();
    let found = decoder
        .generate_with(Prompt::Tokens(text.clone()), &config)
        .unwrap();
    other.extend(&found.token_ids()[..20]);
    other.extend([7, 7, 7]);
    let found = decoder
        .generate_with(Prompt::Tokens(other.clone()), &config)
        .unwrap();
    assert_eq!(found.stats.cached_tokens, text.len() - 1);
    assert_eq!(found.token_ids(), plain(&decoder, &other, 0.0));
}
