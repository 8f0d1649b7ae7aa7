//! EAGLE heads against a naive implementation of the papers.

mod support;

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use specdec_rs::hub::ModelFiles;
use specdec_rs::model::{HeadFiles, LoadOptions, SharedModel, TokenSequence, load};
use specdec_rs::weights::safetensors::SafetensorsCheckpoint;
use specdec_rs::weights::{Checkpoint, dequantize};
use specdec_rs::{Device, DraftKind, SpeculativeConfig, SpeculativeDecoder, Verification};
use support::pair;
use support::statistics::{Expected, overlap, softmax, tokens};

/// The pair's target.
const HIDDEN: usize = 128;
const LAYERS: usize = 4;

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 32;
const WIDTH: usize = 96;
const EPSILON: f64 = 1e-5;
const THETA: f64 = 10_000.0;

/// Tokens of the draft vocabulary, and the offset of each in the target's.
const DRAFT_VOCAB: usize = 200;
const OFFSET: fn(usize) -> usize = |token| token / 3 + 7;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Eagle,
    Eagle3,
}

/// A matrix `[rows][columns]`, or a vector of one row.
#[derive(Clone)]
struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensor {
    fn times(&self, x: &[f64]) -> Vec<f64> {
        let rows = self.values.chunks(x.len());
        rows.map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum())
            .collect()
    }

    fn normalize(&self, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let factor = 1.0 / (mean + EPSILON).sqrt();
        let pairs = x.iter().zip(&self.values);
        pairs.map(|(x, w)| x * factor * f64::from(*w)).collect()
    }
}

struct Head {
    kind: Kind,
    tensors: HashMap<String, Tensor>,
}

impl Head {
    /// A head with random weights, under the tensor names of published heads.
    fn new(kind: Kind) -> Self {
        let layer = if kind == Kind::Eagle {
            "layers.0"
        } else {
            "midlayer"
        };
        let (inputs, fused) = match kind {
            Kind::Eagle => (HIDDEN, 2 * HIDDEN),
            Kind::Eagle3 => (2 * HIDDEN, 3 * HIDDEN),
        };
        let at = |name: &str| format!("{layer}.{name}.weight");
        let mut shapes = vec![
            ("fc.weight".to_owned(), vec![HIDDEN, fused]),
            (at("self_attn.q_proj"), vec![HEADS * HEAD_DIM, inputs]),
            (at("self_attn.k_proj"), vec![KV_HEADS * HEAD_DIM, inputs]),
            (at("self_attn.v_proj"), vec![KV_HEADS * HEAD_DIM, inputs]),
            (at("self_attn.o_proj"), vec![HIDDEN, HEADS * HEAD_DIM]),
            (at("mlp.gate_proj"), vec![WIDTH, HIDDEN]),
            (at("mlp.up_proj"), vec![WIDTH, HIDDEN]),
            (at("mlp.down_proj"), vec![HIDDEN, WIDTH]),
            (at("post_attention_layernorm"), vec![HIDDEN]),
        ];
        match kind {
            Kind::Eagle => shapes.push(("fc.bias".to_owned(), vec![HIDDEN])),
            Kind::Eagle3 => shapes.extend([
                (at("input_layernorm"), vec![HIDDEN]),
                (at("hidden_norm"), vec![HIDDEN]),
                ("norm.weight".to_owned(), vec![HIDDEN]),
                ("lm_head.weight".to_owned(), vec![DRAFT_VOCAB, HIDDEN]),
            ]),
        }
        let mut state = 7_u64;
        let mut random = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        let tensors = shapes.into_iter().map(|(name, shape)| {
            let length = shape.iter().product();
            let scale = (4.0 / *shape.last().unwrap() as f32).sqrt();
            let value = |_| match shape.len() {
                1 if name.ends_with("weight") => 1.0 + 0.5 * random(),
                _ => scale * random(),
            };
            let values = (0..length).map(value).collect();
            (name, Tensor { shape, values })
        });
        let tensors = tensors.collect();
        Self { kind, tensors }
    }

    /// Writes the files of a published head.
    fn write(&self, folder: &Path) {
        let bytes = |values: &[f32]| {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        };
        let stored: HashMap<&str, (Dtype, Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, tensor)| {
                let data = bytes(&tensor.values);
                (name.as_str(), (Dtype::F32, tensor.shape.clone(), data))
            })
            .chain((self.kind == Kind::Eagle3).then(|| {
                let offsets =
                    (0..DRAFT_VOCAB).flat_map(|token| (OFFSET(token) as i64).to_le_bytes());
                ("d2t", (Dtype::I64, vec![DRAFT_VOCAB], offsets.collect()))
            }))
            .collect();
        let views = stored.iter().map(|(name, (dtype, shape, data))| {
            (*name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
        let config = serde_json::json!({
            "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": WIDTH,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
            "num_hidden_layers": 1, "rms_norm_eps": EPSILON, "rope_theta": THETA, "hidden_act": "silu",
            "vocab_size": 512, "draft_vocab_size": DRAFT_VOCAB, "max_position_embeddings": 1024,
        });
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    }

    fn tensor(&self, name: &str) -> &Tensor {
        let layer = if self.kind == Kind::Eagle {
            "layers.0"
        } else {
            "midlayer"
        };
        let full = [format!("{name}.weight"), format!("{layer}.{name}.weight")];
        full.iter().find_map(|name| self.tensors.get(name)).unwrap()
    }

    fn fuse(&self, x: &[f64]) -> Vec<f64> {
        let mut fused = self.tensor("fc").times(x);
        if let Some(bias) = self.tensors.get("fc.bias") {
            fused
                .iter_mut()
                .zip(&bias.values)
                .for_each(|(x, bias)| *x += f64::from(*bias));
        }
        fused
    }

    /// The head's output after each token, from the embeddings and features.
    fn outputs(&self, inputs: &[(Vec<f64>, Vec<f64>)]) -> Vec<Vec<f64>> {
        let projected = inputs
            .iter()
            .enumerate()
            .map(|(position, (embedding, feature))| {
                let (x, input) = match self.kind {
                    Kind::Eagle => {
                        let x = self.fuse(&[&embedding[..], feature].concat());
                        (x.clone(), x)
                    }
                    Kind::Eagle3 => {
                        let embedding = self.tensor("input_layernorm").normalize(embedding);
                        let normed = self.tensor("hidden_norm").normalize(feature);
                        (feature.clone(), [embedding, normed].concat())
                    }
                };
                let of = |name: &str| self.tensor(&format!("self_attn.{name}")).times(&input);
                let (q, k) = (of("q_proj"), of("k_proj"));
                (x, rotate(&q, position), rotate(&k, position), of("v_proj"))
            });
        let projected: Vec<_> = projected.collect();
        (0..inputs.len())
            .map(|row| {
                let (x, q, ..) = &projected[row];
                let mut attended = Vec::new();
                for head in 0..HEADS {
                    let at = |head: usize| head * HEAD_DIM..(head + 1) * HEAD_DIM;
                    let group = at(head * KV_HEADS / HEADS);
                    let scores = projected[..=row].iter().map(|(_, _, k, _)| {
                        let products = q[at(head)].iter().zip(&k[group.clone()]);
                        products.map(|(q, k)| q * k).sum::<f64>() / (HEAD_DIM as f64).sqrt()
                    });
                    let weights = softmax(&scores.collect::<Vec<_>>());
                    attended.extend(group.map(|index| {
                        let values = projected.iter().map(|(.., v)| v[index]);
                        weights.iter().zip(values).map(|(w, v)| w * v).sum::<f64>()
                    }));
                }
                let after = sum(&self.tensor("self_attn.o_proj").times(&attended), x);
                let normed = self.tensor("post_attention_layernorm").normalize(&after);
                let gate = self.tensor("mlp.gate_proj").times(&normed);
                let up = self.tensor("mlp.up_proj").times(&normed);
                let silu = |x: f64| x / (1.0 + (-x).exp());
                let wide: Vec<f64> = gate
                    .iter()
                    .zip(up)
                    .map(|(gate, up)| silu(*gate) * up)
                    .collect();
                sum(&self.tensor("mlp.down_proj").times(&wide), &after)
            })
            .collect()
    }

    /// The logits of the head's own tokens.
    fn logits(&self, output: &[f64], target_head: &Tensor) -> Vec<f64> {
        match self.kind {
            Kind::Eagle => target_head.times(output),
            Kind::Eagle3 => {
                let normed = self.tensor("norm").normalize(output);
                self.tensor("lm_head").times(&normed)
            }
        }
    }

    /// The target's id of a token of the head.
    fn target(&self, token: usize) -> usize {
        match self.kind {
            Kind::Eagle => token,
            Kind::Eagle3 => token + OFFSET(token),
        }
    }

    fn captured_layers(&self) -> Vec<usize> {
        match self.kind {
            Kind::Eagle => vec![LAYERS],
            Kind::Eagle3 => vec![2, LAYERS / 2, LAYERS - 3],
        }
    }

    /// The feature of each token, from the target's hidden states.
    fn features(&self, hidden: &[f32]) -> Vec<Vec<f64>> {
        let rows = hidden.chunks(HIDDEN * self.captured_layers().len());
        rows.map(|row| {
            let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
            if self.kind == Kind::Eagle {
                row
            } else {
                self.fuse(&row)
            }
        })
        .collect()
    }
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Applies RoPE to the heads of a row (halves are pairs).
fn rotate(x: &[f64], position: usize) -> Vec<f64> {
    let mut rotated = x.to_vec();
    for head in rotated.chunks_mut(HEAD_DIM) {
        for pair in 0..HEAD_DIM / 2 {
            let frequency = THETA.powf(-2.0 * pair as f64 / HEAD_DIM as f64);
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            let (a, b) = (head[pair], head[pair + HEAD_DIM / 2]);
            head[pair] = a * cos - b * sin;
            head[pair + HEAD_DIM / 2] = b * cos + a * sin;
        }
    }
    rotated
}

/// A matrix of the target.
fn target_matrix(names: &[&str]) -> Tensor {
    let checkpoint = SafetensorsCheckpoint::open(pair::folder("target")).unwrap();
    let stored = names
        .iter()
        .find_map(|name| checkpoint.tensor(name))
        .unwrap();
    Tensor {
        values: dequantize(&stored).unwrap(),
        shape: stored.shape,
    }
}

fn embedding(table: &Tensor, token: u32) -> Vec<f64> {
    let row = &table.values[token as usize * HIDDEN..][..HIDDEN];
    row.iter().copied().map(f64::from).collect()
}

const EMBEDDING: &str = "model.embed_tokens.weight";

fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    let largest = expected.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let difference = (f64::from(*found) - expected).abs();
        assert!(
            difference < 1e-4 * largest,
            "{what}: {found} for {expected}"
        );
    }
}

/// The input of the first layer is the embedding, and the output head turns the output of the last norm into the logits.
#[test]
fn hidden_states_are_the_targets() {
    let target = load(
        &ModelFiles::Folder(pair::folder("target")),
        &LoadOptions::default(),
    )
    .unwrap();
    let target = SharedModel::new(target.model);
    let ids = &pair::licence_prompts(2)[1];
    let mut sequence = TokenSequence::new(&target);
    sequence.capture(&[0, LAYERS]);
    let logits = sequence.extend(ids, ids.len()).unwrap();
    let table = target_matrix(&[EMBEDDING]);
    let head = target_matrix(&["lm_head.weight", EMBEDDING]);
    for (token, id) in ids.iter().enumerate() {
        let (first, last) = logits.hidden_of(token).split_at(HIDDEN);
        assert_close(first, &embedding(&table, *id), "embedding");
        let last: Vec<f64> = last.iter().copied().map(f64::from).collect();
        assert_close(logits.row(token), &head.times(&last), "logits");
    }
    // Chunked prefill and a tree give the same.
    let mut again = TokenSequence::new(&target);
    again.capture(&[0, LAYERS]);
    let first = again.extend(&ids[..10], 0).unwrap().hidden().to_vec();
    let parents: Vec<Option<usize>> = (0..ids.len() - 10)
        .map(|token| token.checked_sub(1))
        .collect();
    let rest = again.extend_tree(&ids[10..], &parents, 1).unwrap();
    assert_eq!([&first, rest.hidden()].concat(), logits.hidden());
    again.truncate(10).unwrap();
    let mut copy = again.fork().unwrap();
    assert_eq!(copy.extend(&[7], 0).unwrap().hidden().len(), 2 * HIDDEN);
    let mut wrong = TokenSequence::new(&target);
    wrong.capture(&[LAYERS + 1]);
    assert!(
        wrong
            .extend(ids, 0)
            .unwrap_err()
            .to_string()
            .contains("captured layer = 5")
    );
}

#[test]
fn heads_compute_what_the_papers_define() {
    let target = load(
        &ModelFiles::Folder(pair::folder("target")),
        &LoadOptions::default(),
    )
    .unwrap();
    let table = target_matrix(&[EMBEDDING]);
    let target_head = target_matrix(&["lm_head.weight", EMBEDDING]);
    let ids = pair::licence_prompts(2).remove(0);
    for kind in [Kind::Eagle, Kind::Eagle3] {
        let folder = tempfile::tempdir().unwrap();
        let naive = Head::new(kind);
        naive.write(folder.path());
        let files = HeadFiles::open(&ModelFiles::Folder(folder.path().into()))
            .unwrap()
            .unwrap();
        let head = target.model.draft_head(&files).unwrap();
        assert_eq!(head.captured_layers(), naive.captured_layers());
        assert_eq!(head.info().architecture, format!("{kind:?}").to_lowercase());

        let shared = load(
            &ModelFiles::Folder(pair::folder("target")),
            &LoadOptions::default(),
        );
        let mut sequence = TokenSequence::new(&SharedModel::new(shared.unwrap().model));
        sequence.capture(head.captured_layers());
        let hidden = sequence.extend(&ids, 0).unwrap().hidden().to_vec();
        let features = naive.features(&hidden);
        let mut inputs: Vec<(Vec<f64>, Vec<f64>)> = ids[1..]
            .iter()
            .zip(features)
            .map(|(token, feature)| (embedding(&table, *token), feature))
            .collect();
        let mut drafting = head.begin().unwrap();
        let given = &hidden[..inputs.len() * head.width()];
        drafting.append(&ids[1..], given).unwrap();
        // Then the head continues from its own features.
        for token in [5, 9, 300] {
            let expected = naive.outputs(&inputs).pop().unwrap();
            let logits = naive.logits(&expected, &target_head);
            assert_close(&drafting.logits(None).unwrap(), &logits, "logits");
            inputs.push((embedding(&table, token), expected));
            drafting.draft(token).unwrap();
        }
        // Continued from a truncated state, it gives the same bits.
        drafting.truncate(9);
        let rest = &given[9 * head.width()..];
        drafting.append(&ids[10..], rest).unwrap();
        let mut fresh = head.begin().unwrap();
        fresh.append(&ids[1..], given).unwrap();
        let [a, b] = [&mut drafting, &mut fresh].map(|head| {
            head.draft(7).unwrap();
            head.logits(None).unwrap()
        });
        assert_eq!(a, b);
    }
}

fn decoder(naive: &Head) -> (tempfile::TempDir, SpeculativeDecoder) {
    let folder = tempfile::tempdir().unwrap();
    naive.write(folder.path());
    let target = pair::folder("target").display().to_string();
    let draft = folder.path().display().to_string();
    let decoder = SpeculativeDecoder::new(&target, &draft, Some(Device::Cpu)).unwrap();
    (folder, decoder)
}

#[test]
fn the_text_is_the_same_as_without_drafts() {
    for kind in [Kind::Eagle, Kind::Eagle3] {
        let (_folder, decoder) = decoder(&Head::new(kind));
        let mut accepted = 0;
        for (index, prompt) in pair::licence_prompts(4).into_iter().enumerate() {
            for temperature in [0.0, 1.5] {
                let generate = |draft, gamma| {
                    let config = SpeculativeConfig {
                        temperature,
                        gamma,
                        adaptive: index % 2 == 1,
                        draft: Some(draft),
                        seed: Some(index as u64),
                        max_new_tokens: 60,
                        ..SpeculativeConfig::unmodified()
                    };
                    decoder.generate_with(&prompt[..], &config).unwrap()
                };
                let plain = generate(DraftKind::NONE, 0);
                for (draft, gamma) in [
                    (DraftKind::MODEL, 1),
                    (DraftKind::MODEL, 4),
                    (DraftKind::AUTO, 8),
                ] {
                    let drafted = generate(draft, gamma);
                    assert_eq!(
                        tokens(&drafted),
                        tokens(&plain),
                        "{kind:?} {temperature} {gamma}"
                    );
                    accepted += drafted.stats.accepted;
                }
            }
        }
        assert!(accepted > 0, "{kind:?}");
    }
}

#[test]
fn acceptance_is_what_theory_says() {
    const GAMMA: usize = 3;
    const TEMPERATURE: f64 = 1.5;
    let table = target_matrix(&[EMBEDDING]);
    let target_head = target_matrix(&["lm_head.weight", EMBEDDING]);
    let distribution = |logits: Vec<f64>| {
        let logits: Vec<f64> = logits.into_iter().map(|x| x / TEMPERATURE).collect();
        softmax(&logits)
    };
    for kind in [Kind::Eagle, Kind::Eagle3] {
        let naive = Head::new(kind);
        let (_folder, decoder) = decoder(&naive);
        let (mut accepted, mut expected) = (0, Expected::default());
        for (seed, prompt) in pair::licence_prompts(20).into_iter().enumerate() {
            let config = SpeculativeConfig {
                gamma: GAMMA,
                adaptive: false,
                draft: Some(DraftKind::MODEL),
                verification: Verification::Rejection,
                temperature: TEMPERATURE,
                seed: Some(seed as u64),
                max_new_tokens: 40,
                ignore_eos: true,
                ..SpeculativeConfig::unmodified()
            };
            let generation = decoder.generate_with(&prompt[..], &config).unwrap();
            let text = [&prompt[..], &tokens(&generation)].concat();
            let mut sequence = decoder.sequence();
            sequence.capture(&naive.captured_layers());
            let read = sequence.extend(&text, text.len()).unwrap();
            let features = naive.features(read.hidden());
            let embedded: Vec<_> = text.iter().map(|token| embedding(&table, *token)).collect();
            let mut written = 0;
            for step in 0..generation.stats.steps {
                let new = generation.tokens.iter().filter(|token| token.step == step);
                let (new, last) = (new.count(), prompt.len() + written - 1);
                let drafted = GAMMA.min(config.max_new_tokens - written - 1);
                let known = embedded[1..=last].iter().cloned();
                let mut inputs: Vec<_> = known.zip(features.iter().cloned()).collect();
                // Drafted tokens after the first rejection were not verified.
                for position in 0..drafted.min(new) {
                    let output = naive.outputs(&inputs).pop().unwrap();
                    let row = read.row(last + position).iter().copied();
                    let p = distribution(row.map(f64::from).collect());
                    let mut q = vec![0.0; p.len()];
                    let own = distribution(naive.logits(&output, &target_head));
                    for (token, probability) in own.into_iter().enumerate() {
                        q[naive.target(token)] = probability;
                    }
                    expected.add(overlap(&p, &q));
                    inputs.push((embedded[last + position + 1].clone(), output));
                }
                accepted += new - 1;
                written += new;
            }
            assert_eq!(written, 40);
        }
        expected.assert_near(accepted);
        assert!(expected.tokens > 300);
    }
}

#[test]
fn heads_that_do_not_fit_are_refused() {
    let target = pair::folder("target").display().to_string();
    let refused = |change: &dyn Fn(&mut Head), config: &dyn Fn(&mut serde_json::Value)| {
        let mut head = Head::new(Kind::Eagle3);
        change(&mut head);
        let folder = tempfile::tempdir().unwrap();
        head.write(folder.path());
        let file = folder.path().join("config.json");
        let mut value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        config(&mut value);
        std::fs::write(&file, value.to_string()).unwrap();
        let draft = folder.path().display().to_string();
        let refused = SpeculativeDecoder::new(&target, &draft, Some(Device::Cpu)).map(drop);
        refused.unwrap_err().to_string()
    };
    let as_it_is = |_: &mut serde_json::Value| {};
    let without = |name: &'static str| {
        refused(
            &move |head: &mut Head| drop(head.tensors.remove(name)),
            &as_it_is,
        )
    };
    let message = without("midlayer.hidden_norm.weight");
    assert!(
        message.contains("\"midlayer.hidden_norm.weight\" is missing"),
        "{message}"
    );
    let message = without("midlayer.input_layernorm.weight");
    assert!(
        message.contains("\"midlayer.input_layernorm.weight\" is missing"),
        "{message}"
    );
    let message = without("lm_head.weight");
    assert!(message.contains("no lm_head.weight"), "{message}");
    let transposed = |head: &mut Head| {
        head.tensors.get_mut("fc.weight").unwrap().shape = vec![HIDDEN * 3, HIDDEN];
    };
    let message = refused(&transposed, &as_it_is);
    assert!(message.contains("expected [128, 384]"), "{message}");
    for (field, value, expected) in [
        ("hidden_size", serde_json::json!(64), "targets 64 wide"),
        (
            "vocab_size",
            serde_json::json!(32000),
            "targets of 32000 tokens",
        ),
        (
            "eagle_config",
            serde_json::json!({"eagle_aux_hidden_state_layer_ids": [1, 2, 4]}),
            "layers [2, 3, 5]",
        ),
        (
            "eagle_aux_hidden_state_layer_ids",
            serde_json::json!(["all"]),
            "numbers of layers",
        ),
        (
            "speculators_model_type",
            serde_json::json!("fastmtp"),
            "speculators' kind \"fastmtp\"",
        ),
        ("head_dim", serde_json::json!(4096), "expected [16384, 256]"),
        (
            "eagle_config",
            serde_json::json!({"eagle_aux_hidden_state_layer_ids": [u64::MAX, 0, 1]}),
            "numbers of layers",
        ),
        (
            "architectures",
            serde_json::json!(["DFlashDraftModel"]),
            "target_layer_ids: expected numbers of layers",
        ),
    ] {
        let message = refused(&|_| {}, &|config| config[field] = value.clone());
        assert!(message.contains(expected), "{field}: {message}");
    }
}

#[test]
fn heads_of_other_kinds_are_refused_by_their_tensors() {
    let target = pair::folder("target").display().to_string();
    for name in [
        "layers.1.self_attn.q_norm.weight",
        "midlayer.self_attn.q_norm.weight",
        "hidden_norm.weight",
        "confidence_head.proj.bias",
        "markov_head.markov_w1.weight",
        "medusa_head.0.0.linear.weight",
    ] {
        let mut head = Head::new(Kind::Eagle3);
        let tensor = Tensor {
            shape: vec![1],
            values: vec![0.0],
        };
        head.tensors.insert(name.to_owned(), tensor);
        let folder = tempfile::tempdir().unwrap();
        head.write(folder.path());
        let draft = folder.path().display().to_string();
        let refused = SpeculativeDecoder::new(&target, &draft, Some(Device::Cpu)).map(drop);
        let message = refused.unwrap_err().to_string();
        let expected = format!("tensor {name:?}, as no head of EAGLE's has");
        assert!(message.contains(&expected), "{message}");
    }
}
