//! Speculation changes speed, never text: identity with plain decoding, and the distribution of samples, on a real pair of
//! models.

#[path = "support/heads.rs"]
mod random_heads;
mod support;

use random_heads::{assistant, published, with_prediction};
use specdec_rs::{
    DraftKind, Generation, SpeculativeConfig, SpeculativeDecoder, Token, Verification,
};
use support::pair;
use support::sources::{ModelTree, Recited, Shape};
use support::statistics::{counts, critical_value, exact_distribution, g_statistic, tokens};

/// Pseudo-random numbers, the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ mixed >> 31) % end as u64) as usize
    }

    fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }

    /// A tree of up to 12 nodes.
    fn shape(&mut self) -> Shape {
        let nodes = 1 + self.below(12);
        (0..nodes)
            .map(|node| self.below(node + 1).checked_sub(1))
            .collect()
    }

    fn prompt(&mut self, vocab_size: usize) -> Vec<u32> {
        let licences = pair::licence_prompts(60);
        let mut prompt = self.pick(&licences);
        prompt.truncate(1 + self.below(24));
        prompt.retain(|id| (*id as usize) < vocab_size);
        if prompt.is_empty() || self.below(4) == 0 {
            prompt = (0..=self.below(40))
                .map(|_| 2 + self.below(vocab_size - 2) as u32)
                .collect();
        }
        prompt
    }

    fn config(&mut self) -> SpeculativeConfig {
        let temperature = self.pick(&[0.0, 0.0, 0.3, 0.8, 1.0, 1.0, 1.7]);
        let all = [
            Verification::Coupled,
            Verification::Rejection,
            Verification::Block,
        ];
        SpeculativeConfig {
            temperature,
            // At temperature 0 every verification guarantees the same tokens, otherwise only coupled does.
            verification: if temperature > 0.0 {
                Verification::Coupled
            } else {
                self.pick(&all)
            },
            top_k: self.pick(&[0, 0, 1, 5, 40, 1000]),
            top_p: self.pick(&[1.0, 1.0, 0.95, 0.6, 0.01]),
            min_p: self.pick(&[0.0, 0.0, 0.05, 0.5]),
            repetition_penalty: self.pick(&[1.0, 1.0, 1.3, 0.8]),
            presence_penalty: self.pick(&[0.0, 0.0, 0.7, -0.4]),
            frequency_penalty: self.pick(&[0.0, 0.0, 0.4, -0.2]),
            logit_bias: self.pick(&[vec![], vec![], vec![(260, 1.5), (7, f64::NEG_INFINITY)]]),
            max_new_tokens: self.pick(&[0, 1, 7, 24, 40, 40]),
            seed: Some(self.below(1 << 40) as u64),
            stop: self.pick(&[
                vec![],
                vec![],
                vec![" the".into(), "of a".into()],
                vec!["\n".into()],
                vec!["e".into(), "license".into()],
            ]),
            ignore_eos: self.pick(&[true, false]),
            logprobs: self.pick(&[None, None, Some(0), Some(3)]),
            gamma: self.pick(&[1, 2, 3, 5, 8, 16, 40]),
            // The controller drafts little with a target as cheap as this one.
            adaptive: self.pick(&[true, false, false]),
            draft: None,
            prediction: None,
            response_format: None,
        }
    }
}

/// The parts of a token that must not depend on speculation.
fn content(token: &Token) -> (u32, &str, Option<f32>, &[(u32, f32)]) {
    (token.id, &token.text, token.logprob, &token.top_logprobs)
}

fn assert_same(speculative: &Generation, plain: &Generation, way: &str) {
    assert_eq!(tokens(speculative), tokens(plain), "{way}");
    assert!(
        speculative
            .tokens
            .iter()
            .map(content)
            .eq(plain.tokens.iter().map(content)),
        "{way}"
    );
    assert_eq!(speculative.text, plain.text, "{way}");
    assert_eq!(speculative.finish_reason, plain.finish_reason, "{way}");
}

/// Runs a random request without and with a draft, and as a stream; returns how many drafted tokens were accepted.
fn accepted_of_identical(decoder: &SpeculativeDecoder, case: u64) -> usize {
    let mut random = Random(case);
    let vocab_size = decoder.info().vocab_size;
    let (prompt, config) = (random.prompt(vocab_size), random.config());
    let plain = SpeculativeConfig {
        draft: Some(DraftKind::NONE),
        ..config.clone()
    };
    let plain = decoder.generate_with(&prompt[..], &plain).unwrap();
    assert_eq!(plain.stats.drafted, 0);
    let way = random.below(6);
    let named = format!("case {case}, way {way}: {prompt:?}, {config:?}");
    let of = |kind| SpeculativeConfig {
        draft: Some(kind),
        ..config.clone()
    };
    let whole = [&prompt[..], &tokens(&plain)].concat();
    let recited = |wrong_every| {
        Box::new(Recited {
            whole: whole.clone(),
            wrong_every,
            vocab_size: vocab_size as u32,
        })
    };
    let speculative = match way {
        0 => decoder.stream(&prompt[..], &of(DraftKind::NGRAM)),
        1 => decoder.stream(&prompt[..], &of(DraftKind::MODEL)),
        2 | 3 => {
            let tree = ModelTree::new(decoder, &config, prompt.len(), random.shape());
            decoder.stream_with(&prompt[..], &config, Box::new(tree))
        }
        4 => decoder.stream_with(&prompt[..], &config, recited(2 + case as usize % 7)),
        _ => decoder.stream_with(&prompt[..], &config, recited(1)),
    };
    let mut speculative = speculative.unwrap();
    let mut chunks = Vec::new();
    for chunk in speculative.by_ref() {
        chunks.push(chunk.unwrap());
    }
    let speculative = speculative.into_generation().unwrap();
    assert_same(&speculative, &plain, &named);
    let streamed: String = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
    assert_eq!(streamed, speculative.text, "{named}");
    let streamed: Vec<Token> = chunks.into_iter().flat_map(|chunk| chunk.tokens).collect();
    assert_eq!(streamed, speculative.tokens, "{named}");
    assert!(
        config
            .stop
            .iter()
            .all(|stop| !speculative.text.contains(stop)),
        "{named}"
    );
    let stats = &speculative.stats;
    let sources = stats.sources.values();
    let sums = sources.fold((0, 0), |(drafted, accepted), source| {
        (drafted + source.drafted, accepted + source.accepted)
    });
    assert_eq!(sums, (stats.drafted, stats.accepted), "{named}");
    // What the controller drafts depends on the speed of the machine.
    if config.adaptive { 0 } else { stats.accepted }
}

#[test]
fn a_thousand_random_requests_give_the_tokens_of_plain_decoding() {
    let accepted: usize = std::thread::scope(|scope| {
        let halves = [0..500, 500..1000].map(|cases| {
            scope.spawn(|| {
                let decoder = pair::decoder();
                cases
                    .map(|case| accepted_of_identical(&decoder, case))
                    .sum::<usize>()
            })
        });
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    });
    assert!(
        accepted > 2_000,
        "hardly any drafted token was accepted: {accepted}"
    );
}

/// Models with other layers than attention and dense MLPs, which draft for themselves.
#[test]
fn random_requests_to_other_kinds_of_layers_give_the_tokens_of_plain_decoding() {
    let cases = match std::env::var_os("SPECDEC_LONG") {
        Some(_) => 1000,
        None => 60_u64,
    };
    let kinds = [
        "deepseek_v3",
        "falcon_h1",
        "gemma3n",
        "gemma4",
        "gpt_oss",
        "granitemoehybrid",
        "lfm2_moe",
        "mixtral",
        "nemotron_h",
        "qwen3_5_moe",
    ];
    for name in kinds {
        let folder = support::fixtures().join("hf").join(name);
        let folder = folder.to_str().unwrap();
        let builder = SpeculativeDecoder::builder();
        let decoder = builder.target(folder).draft(folder).threads(1);
        let decoder = decoder.load().unwrap();
        let accepted: usize = (0..cases)
            .map(|case| accepted_of_identical(&decoder, case))
            .sum();
        println!("{name}: {accepted} accepted in {cases} requests");
        assert!(accepted > cases as usize, "{name}: {accepted} accepted");
    }
}

/// Heads: in the model, and published ones of every kind.
#[test]
fn random_requests_with_heads_give_the_tokens_of_plain_decoding() {
    let cases = match std::env::var_os("SPECDEC_LONG") {
        Some(_) => 500,
        None => 60_u64,
    };
    let within = ["qwen3_5", "glm4_moe", "deepseek_v3"].map(|fixture| {
        let folder = with_prediction(fixture);
        let target = folder.path().to_owned();
        (
            format!("mtp of {fixture}"),
            target,
            "auto".to_owned(),
            folder,
        )
    });
    let kinds = [
        "eagle3-speculators",
        "peagle",
        "dflash",
        "dspark",
        "recurrent",
    ];
    let published = kinds.map(|kind| {
        let folder = published(kind);
        let draft = folder.path().display().to_string();
        (kind.to_owned(), pair::folder("target"), draft, folder)
    });
    let assistants = [false, true].map(|has_clusters| {
        let folder = assistant(has_clusters);
        let draft = folder.path().display().to_string();
        let target = support::fixtures().join("hf/gemma4");
        let name = format!("assistant, clusters: {has_clusters}");
        (name, target, draft, folder)
    });
    let heads = within.into_iter().chain(published).chain(assistants);
    for (name, target, draft, _folder) in heads {
        let builder = SpeculativeDecoder::builder();
        let builder = builder.target(target.display().to_string()).draft(draft);
        let decoder = builder.threads(1).load().unwrap();
        let kind = name.split(['-', ' ', ',']).next().unwrap();
        assert_eq!(decoder.draft_info().unwrap().architecture, kind);
        let (mut drafted, mut accepted) = (0, 0);
        for case in 0..cases {
            let mut random = Random(case);
            let vocab_size = decoder.info().vocab_size;
            let (prompt, config) = (random.prompt(vocab_size), random.config());
            let of = |kind| SpeculativeConfig {
                draft: Some(kind),
                ..config.clone()
            };
            let generate = |kind| decoder.generate_with(&prompt[..], &of(kind)).unwrap();
            let plain = generate(DraftKind::NONE);
            let kind = random.pick(&[DraftKind::MODEL, DraftKind::MODEL, DraftKind::AUTO]);
            let speculative = generate(kind);
            let named = format!("{name}, case {case}, {kind}: {prompt:?}, {config:?}");
            assert_same(&speculative, &plain, &named);
            if kind == DraftKind::MODEL && !config.adaptive {
                drafted += speculative.stats.drafted;
                accepted += speculative.stats.accepted;
            }
        }
        println!("{name}: {accepted} of {drafted} accepted in {cases} requests");
        assert!(drafted > cases as usize, "{name}: {drafted} drafted");
        // The published heads have random weights.
        assert!(accepted > 0 || !name.starts_with("mtp"), "{name}");
    }
}

/// At the level .001, 130,000 samples over 27 outcomes detect a total variation of .01 with power .95.
#[test]
fn sampled_output_follows_the_targets_distribution() {
    let decoder = pair::memoized_decoder();
    let prompt = &pair::licence_prompts(3)[1];
    let (k, length) = (3, 3);
    let expected = exact_distribution(&decoder, prompt, k, length);
    let limit = critical_value(expected.len() as f64 - 1.0);
    let (chain, tree) = (None, Some(vec![None, None, Some(0), Some(0), Some(1)]));
    for (draft, verification, shape) in [
        (DraftKind::NONE, Verification::Coupled, chain.clone()),
        (DraftKind::MODEL, Verification::Rejection, chain.clone()),
        (DraftKind::MODEL, Verification::Block, chain.clone()),
        (DraftKind::NGRAM, Verification::Rejection, chain),
        (DraftKind::MODEL, Verification::Rejection, tree.clone()),
        (DraftKind::MODEL, Verification::Block, tree),
    ] {
        let counts = counts(130_000, |seed| {
            let config = SpeculativeConfig {
                top_k: k,
                max_new_tokens: length,
                ignore_eos: true,
                adaptive: false,
                gamma: shape.as_ref().map_or(2, Vec::len),
                seed: Some(seed),
                draft: Some(draft),
                verification,
                ..SpeculativeConfig::unmodified()
            };
            let stream = match &shape {
                None => decoder.stream(&prompt[..], &config),
                Some(shape) => {
                    let tree = ModelTree::new(&decoder, &config, prompt.len(), shape.clone());
                    decoder.stream_with(&prompt[..], &config, Box::new(tree))
                }
            };
            stream.unwrap().run().unwrap()
        });
        let g = g_statistic(&counts, &expected);
        let way = format!("{draft}, {verification}, {shape:?}: G = {g:.1}, limit {limit:.1}");
        println!("{way}");
        assert!(g < limit, "{way}");
    }
}

/// A seed gives the same tokens in every later version.
#[test]
fn seeds_keep_their_values() {
    let decoder = pair::decoder();
    let prompt = &pair::licence_prompts(3)[1];
    let generate = |draft, verification, top_p| {
        let config = SpeculativeConfig {
            draft: Some(draft),
            verification,
            top_p,
            max_new_tokens: 8,
            gamma: 3,
            adaptive: false,
            seed: Some(2027),
            ..SpeculativeConfig::unmodified()
        };
        tokens(&decoder.generate_with(&prompt[..], &config).unwrap())
    };
    let coupled = [399, 305, 298, 368, 479, 279, 317, 371];
    for draft in [DraftKind::NONE, DraftKind::NGRAM, DraftKind::MODEL] {
        assert_eq!(generate(draft, Verification::Coupled, 1.0), coupled);
    }
    let others = [
        generate(DraftKind::NONE, Verification::Coupled, 0.8),
        generate(DraftKind::MODEL, Verification::Rejection, 1.0),
        generate(DraftKind::MODEL, Verification::Block, 1.0),
    ];
    let kept = [
        [399, 305, 298, 368, 479, 279, 504, 292],
        [399, 305, 13, 504, 285, 73, 496, 408],
        [399, 305, 13, 504, 276, 261, 279, 280],
    ];
    assert_eq!(others, kept);
}
