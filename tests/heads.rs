//! Draft heads against golden drafts.

#[path = "support/heads.rs"]
mod random_heads;
mod support;

use std::path::Path;
use std::sync::Arc;

use random_heads::{CLUSTERS, DEPTHS, MASK, assistant, centroid_of, published, with_prediction};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use specdec_rs::backend::{OutputTiles, WeightPrecision};
use specdec_rs::hub::ModelFiles;
use specdec_rs::model::{
    DraftHead, Extend, HeadFiles, Kernels, Logits, OpenModel, Parents, SequenceId,
};
use specdec_rs::{Device, SpeculativeDecoder};
use support::models::{all_kernels, newer_file, newer_folder, open};
use support::{fixtures, pair, repository, shared};
use tempfile::TempDir;

/// A golden file.
struct Golden(Vec<u8>);

impl Golden {
    fn read(file: &Path) -> Self {
        Self(std::fs::read(file).unwrap())
    }

    fn of<T, const BYTES: usize>(&self, name: &str, number: fn([u8; BYTES]) -> T) -> Vec<T> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let data = tensors.tensor(name).unwrap();
        let (numbers, rest) = data.data().as_chunks();
        assert!(rest.is_empty());
        numbers.iter().copied().map(number).collect()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.of(name, f32::from_le_bytes)
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        let ids = self.of(name, i64::from_le_bytes).into_iter();
        ids.map(|id| u32::try_from(id).unwrap()).collect()
    }
}

fn assert_close(ours: &[f32], golden: &[f32], what: &str) {
    assert_eq!(ours.len(), golden.len(), "{what}");
    for (index, (ours, golden)) in ours.iter().zip(golden).enumerate() {
        let difference = (ours - golden).abs();
        assert!(
            difference <= 1e-4,
            "{what}, {index}: {ours}, expected {golden}"
        );
    }
}

fn argmax(row: &[f32]) -> u32 {
    let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a)));
    best.unwrap() as u32
}

/// The layers that predict further tokens: the model, its golden file, and how the golden logits are called there.
fn predictions() -> [(ModelFiles, Golden, &'static str); 3] {
    let folder = |name| {
        let ModelFiles::Folder(folder) = newer_folder(name) else {
            unreachable!("a folder")
        };
        let golden = Golden::read(&folder.join("golden_mtp.safetensors"));
        (ModelFiles::Folder(folder), golden, "logits")
    };
    let ModelFiles::Gguf(file) = newer_file("qwen35-F16") else {
        unreachable!("a file")
    };
    let golden = Golden::read(&file.with_extension("golden.safetensors"));
    [
        folder("qwen3_5-mtp"),
        folder("glm4_moe"),
        (ModelFiles::Gguf(file), golden, "mtp_logits"),
    ]
}

/// Where a published head lies: in its own layout, and in a GGUF file that llama.cpp's converter made of it, if there is one.
fn layouts(name: &str) -> Vec<ModelFiles> {
    let folder = shared().join("fixtures/2026/heads").join(name);
    let file = repository().join(format!("tests/data/heads/{name}.gguf"));
    let file = file.is_file().then_some(ModelFiles::Gguf(file));
    [ModelFiles::Folder(folder)]
        .into_iter()
        .chain(file)
        .collect()
}

/// A published head, on its target with these kernels.
fn head(files: &ModelFiles, kernels: Kernels) -> Arc<dyn DraftHead> {
    let target = ModelFiles::Folder(shared().join("fixtures/hf/qwen3"));
    let target = open(&target, WeightPrecision::F32, kernels);
    let files = HeadFiles::open(files).unwrap().unwrap();
    target.draft_head(&files).unwrap()
}

fn golden(name: &str) -> Golden {
    let folder = shared().join("fixtures/2026/heads").join(name);
    Golden::read(&folder.join("golden.safetensors"))
}

/// Each layout of a head with all kernels, with words for errors.
fn heads(name: &str) -> Vec<(Arc<dyn DraftHead>, String)> {
    let layouts = layouts(name).into_iter();
    let heads = layouts.flat_map(|files| {
        all_kernels().map(move |kernels| (head(&files, kernels), format!("{files:?} {kernels:?}")))
    });
    heads.collect()
}

#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn eagle_3_in_the_layout_of_speculators_gives_the_golden_logits_and_drafts() {
    let golden = golden("eagle3-speculators");
    for (head, named) in heads("eagle3-speculators") {
        assert_eq!(head.captured_layers(), [0, 1, 2]);
        let (ids, features) = (golden.ids("ids"), golden.floats("features"));
        let rows = golden.floats("logits");
        let (width, tokens) = (head.width(), head.to_target().unwrap().len());
        let mut sequence = head.begin().unwrap();
        for (index, row) in rows.chunks(tokens).enumerate() {
            let features = &features[index * width..][..width];
            sequence.append(&ids[index + 1..][..1], features).unwrap();
            let what = format!("{named} row {index}");
            assert_close(&sequence.logits(None).unwrap(), row, &what);
        }
        let (draft, rows) = (golden.ids("draft"), golden.floats("draft_logits"));
        let mut sequence = head.begin().unwrap();
        sequence
            .append(&ids[1..65], &features[..64 * width])
            .unwrap();
        for (index, (token, row)) in draft.iter().zip(rows.chunks(tokens)).enumerate() {
            let ours = sequence.logits(None).unwrap();
            assert_close(&ours, row, &format!("{named} draft {index}"));
            let chosen = head.to_target().unwrap()[argmax(&ours) as usize];
            assert_eq!(chosen, *token);
            sequence.draft(chosen).unwrap();
        }
    }
}

#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn block_drafters_give_the_golden_logits_drafts_and_confidence() {
    for (name, slots) in [("dflash", 7), ("dspark", 5)] {
        let golden = golden(name);
        for (head, named) in heads(name) {
            let (ids, features) = (golden.ids("ids"), golden.floats("features"));
            let (at, draft) = (golden.ids("at"), golden.ids("draft"));
            let (rows, width) = (golden.floats("logits"), head.width());
            let tokens = rows.len() / (at.len() * slots);
            let mut rows = rows.chunks(tokens);
            let mut sequence = head.begin().unwrap();
            let mut read = 0;
            for (index, at) in at.into_iter().enumerate() {
                let at = at as usize;
                let features = &features[read * width..at * width];
                sequence.append(&ids[read + 1..=at], features).unwrap();
                read = at;
                for slot in 0..slots {
                    let what = format!("{named} at {at}, slot {slot}");
                    let logits = sequence.logits(None).unwrap();
                    assert_close(&logits, rows.next().unwrap(), &what);
                    let confidence = sequence.confidence().unwrap();
                    if name == "dspark" {
                        let golden = golden.floats("confidence")[index * slots + slot];
                        assert_close(&[confidence.unwrap()], &[golden], &what);
                    } else {
                        assert_eq!(confidence, None);
                    }
                    let token = draft[index * slots + slot];
                    assert_eq!(argmax(&logits), token, "{what}");
                    assert_eq!(sequence.room() == 0, slot == slots - 1);
                    sequence.draft(token).unwrap();
                }
                sequence.truncate(read);
            }
        }
    }
}

#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn layers_for_multi_token_prediction_give_the_golden_logits_and_drafts() {
    for (files, golden, logits) in predictions() {
        let (ids, hidden) = (golden.ids("ids"), golden.floats("hidden"));
        let width = hidden.len() / ids.len();
        let rows = golden.floats(logits);
        let vocab_size = rows.len() / (ids.len() - 1);
        for kernels in all_kernels() {
            let model = open(&files, WeightPrecision::F32, kernels);
            let head = HeadFiles::within(OpenModel::open(&files).unwrap()).unwrap();
            let head = model.draft_head(&head.unwrap()).unwrap();
            assert_eq!(head.info().architecture, "mtp");
            assert_eq!(head.width(), width);
            // One at a time, and some at once.
            for step in [1, 7] {
                let mut sequence = head.begin().unwrap();
                let mut read = 0;
                while read + 1 < ids.len() {
                    let new = step.min(ids.len() - 1 - read);
                    let features = &hidden[read * width..(read + new) * width];
                    sequence.append(&ids[read + 1..][..new], features).unwrap();
                    read += new;
                    let golden = &rows[(read - 1) * vocab_size..][..vocab_size];
                    let what = format!("{files:?} {kernels:?} row {read}");
                    assert_close(&sequence.logits(None).unwrap(), golden, &what);
                }
            }
            if logits == "logits" {
                let (draft, rows) = (golden.ids("draft"), golden.floats("draft_logits"));
                let mut sequence = head.begin().unwrap();
                sequence.append(&ids[1..65], &hidden[..64 * width]).unwrap();
                for (index, (token, row)) in draft.iter().zip(rows.chunks(vocab_size)).enumerate() {
                    let ours = sequence.logits(None).unwrap();
                    assert_close(&ours, row, &format!("{files:?} {kernels:?} draft {index}"));
                    assert_eq!(argmax(&ours), *token);
                    sequence.draft(*token).unwrap();
                }
            }
        }
    }
}

#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn an_assistant_gives_the_golden_logits_and_drafts() {
    let golden = golden("gemma4-assistant");
    let ids = golden.ids("ids");
    let target = newer_folder("gemma4-e2b");
    for files in layouts("gemma4-assistant") {
        for kernels in all_kernels() {
            let mut target = open(&target, WeightPrecision::F32, kernels);
            let head = HeadFiles::open(&files).unwrap().unwrap();
            let head = target.draft_head(&head).unwrap();
            assert_eq!(head.info().architecture, "assistant");
            assert_eq!(head.captured_layers(), [1, 2, 6]);
            let mut logits = Logits::new(target.vocab_size());
            let batch = [Extend {
                sequence: SequenceId(0),
                tokens: &ids,
                parents: Parents::Chain,
                rows: 1,
            }];
            let captured = [head.captured_layers()];
            target
                .extend_capturing(&batch, &captured, &mut logits)
                .unwrap();
            let (mut features, width) = (logits.hidden().to_vec(), head.width());
            let hidden = golden.floats("hidden");
            let mut sequence = head.begin().unwrap();
            let mut read = 0;
            let rows = golden.floats("logits");
            let mut rows = rows.chunks(target.vocab_size());
            let mut drafts = golden.ids("draft").into_iter();
            for (index, at) in golden.ids("at").into_iter().enumerate() {
                let (at, what) = (at as usize, format!("{files:?} {kernels:?} at {at}"));
                // The golden state itself: errors of the target's are not the head's.
                let state = &mut features[(at - 1) * width..at * width][width - 64..];
                let golden = &hidden[index * 64..][..64];
                assert_close(state, golden, &what);
                state.copy_from_slice(golden);
                sequence.truncate(read);
                let features = &features[read * width..at * width];
                sequence.append(&ids[read + 1..=at], features).unwrap();
                read = at;
                for step in 0..4 {
                    let ours = sequence.logits(None).unwrap();
                    assert_close(&ours, rows.next().unwrap(), &format!("{what}, {step}"));
                    let token = drafts.next().unwrap();
                    assert_eq!(argmax(&ours), token, "{what}, {step}");
                    sequence.draft(token).unwrap();
                }
            }
        }
    }
}

#[test]
fn an_assistant_scores_the_tokens_of_the_nearest_clusters_alone() {
    let target = ModelFiles::Folder(fixtures().join("hf/gemma4"));
    let logits = [false, true].map(|has_clusters| {
        let target = open(&target, WeightPrecision::F32, Kernels::default());
        let folder = assistant(has_clusters);
        let files = ModelFiles::Folder(folder.path().to_owned());
        let files = HeadFiles::open(&files).unwrap().unwrap();
        let head = target.draft_head(&files).unwrap();
        let features: Vec<f32> = (0..20 * head.width())
            .map(|index| ((index * 37 % 101) as f32 - 50.0) / 50.0)
            .collect();
        let mut sequence = head.begin().unwrap();
        let tokens: Vec<u32> = (1..21).collect();
        sequence.append(&tokens, &features).unwrap();
        let mut among = OutputTiles::new(300);
        for token in [5, 70, 200] {
            among.add(token);
        }
        let some = sequence.logits(Some(&among)).unwrap();
        let all = sequence.logits(None).unwrap();
        for (token, score) in among.iter().zip(some) {
            let same = all[token as usize];
            let is_same = score.to_bits() == same.to_bits() || (score - same).abs() < 1e-5;
            assert!(is_same, "{token}");
        }
        all
    });
    let [all, nearest] = logits;
    let (clusters, size, chosen) = CLUSTERS;
    let mut order: Vec<usize> = (0..clusters).collect();
    order.sort_by(|a, b| all[centroid_of(*b)].total_cmp(&all[centroid_of(*a)]));
    let chosen = &order[..chosen];
    for (token, (all, nearest)) in all.into_iter().zip(nearest).enumerate() {
        match chosen.contains(&(token / size)) {
            true => assert!(
                (all - nearest).abs() < 1e-5,
                "{token}: {nearest}, not {all}"
            ),
            false => assert!(nearest.is_infinite(), "{token}"),
        }
    }
}

#[test]
fn assistants_that_do_not_fit_are_refused_with_the_reason() {
    for (fields, expected) in [
        (
            &["text_config", "num_kv_shared_layers"][..],
            "keys and values of their own",
        ),
        (
            &["text_config", "global_head_dim"],
            "reads 1 heads of 6 of a layer with full attention",
        ),
        (&["text_config", "vocab_size"], "6 tokens"),
        (&["backbone_hidden_size"], "for targets 6 wide"),
        (
            &["num_centroids"],
            "tensor \"masked_embedding.token_ordering\": 300 of 300 tokens in 7 clusters",
        ),
    ] {
        let folder = assistant(true);
        let file = folder.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let field = fields
            .iter()
            .fold(&mut config, |config, field| &mut config[*field]);
        *field = match fields.last() {
            Some(&"num_kv_shared_layers") => json!(0),
            Some(&"num_centroids") => json!(7),
            _ => json!(6),
        };
        std::fs::write(&file, config.to_string()).unwrap();
        let target = fixtures().join("hf/gemma4");
        let refused = load(&target, &folder.path().display().to_string());
        let message = refused.map(drop).unwrap_err().to_string();
        assert!(message.contains(expected), "{fields:?}: {message}");
    }
    // It is no model.
    let folder = assistant(false);
    let message = load(folder.path(), "none")
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("it is a draft head (--draft), and no model"),
        "{message}"
    );
}

#[test]
fn a_head_with_masks_drafts_what_rows_of_the_mask_give() {
    let target = ModelFiles::Folder(pair::folder("target"));
    let target = open(&target, WeightPrecision::F32, Kernels::default());
    let folder = published("peagle");
    let load = || {
        let files = ModelFiles::Folder(folder.path().to_owned());
        let files = HeadFiles::open(&files).unwrap().unwrap();
        target.draft_head(&files).unwrap()
    };
    let parallel = load();
    assert_eq!(parallel.info().architecture, "peagle");
    assert_eq!(parallel.tokens_a_pass(), DEPTHS);
    // The same weights as a head that drafts token by token.
    let weights = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let hidden = stored.tensor("mask_hidden").unwrap().data().to_vec();
    let (hidden, _) = hidden.as_chunks::<4>();
    let hidden: Vec<f32> = hidden.iter().copied().map(f32::from_le_bytes).collect();
    let others = stored.tensors().into_iter();
    let others = others.filter(|(name, _)| name != "mask_hidden");
    safetensors::serialize_to_file(others, None, &weights).unwrap();
    let stepwise = load();
    assert_eq!(stepwise.info().architecture, "eagle3");
    let width = parallel.width();
    let feature = |index: usize| ((index * 37 % 101) as f32 - 50.0) / 50.0;
    let features: Vec<f32> = (0..60 * width).map(feature).collect();
    let tokens: Vec<u32> = (1..61).collect();
    let mut drafting = parallel.begin().unwrap();
    let mut read = 0;
    // Fewer tokens than wait for the masks, and more.
    for new in [1, 3, 40, 2] {
        let own = &features[read * width..(read + new) * width];
        drafting.truncate(read);
        drafting.append(&tokens[read..read + new], own).unwrap();
        read += new;
        let mut by_hand = stepwise.begin().unwrap();
        let whole = &features[..read * width];
        by_hand.append(&tokens[..read], whole).unwrap();
        for slot in 0..DEPTHS {
            let ours = drafting.logits(None).unwrap();
            let expected = by_hand.logits(None).unwrap();
            assert_close(&ours, &expected, &format!("after {read}, slot {slot}"));
            assert_eq!(drafting.room() == 0, slot == DEPTHS - 1);
            drafting.draft(argmax(&ours)).unwrap();
            by_hand.append(&[MASK], &hidden).unwrap();
        }
    }
}

/// A model without its layer for multi-token prediction, and a folder for heads beside it: `folder/tiny`, `folder/tiny/...`.
fn split() -> TempDir {
    let whole = with_prediction("qwen3_5");
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(whole.path().join("model.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    for (name, is_head) in [("", false), ("mtp-tiny", true)] {
        let own = folder.path().join(name);
        std::fs::create_dir_all(&own).unwrap();
        for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            if whole.path().join(file).is_file() {
                std::fs::copy(whole.path().join(file), own.join(file)).unwrap();
            }
        }
        let tensors = stored.tensors().into_iter();
        let tensors = tensors.filter(|(name, _)| name.starts_with("mtp.") == is_head);
        safetensors::serialize_to_file(tensors, None, &own.join("model.safetensors")).unwrap();
    }
    folder
}

fn load(target: &Path, draft: &str) -> specdec_rs::Result<SpeculativeDecoder> {
    let builder = SpeculativeDecoder::builder();
    let builder = builder.target(target.display().to_string());
    builder.draft(draft).device(Device::Cpu).load()
}

fn draft_of(target: &Path, draft: &str) -> Option<String> {
    let decoder = load(target, draft).unwrap();
    decoder.draft_info().map(|info| info.architecture)
}

#[test]
fn heads_are_found_in_the_model_and_beside_it() {
    let whole = with_prediction("glm4_moe");
    for draft in ["auto", "mtp"] {
        assert_eq!(draft_of(whole.path(), draft).as_deref(), Some("mtp"));
    }
    assert_eq!(draft_of(whole.path(), "ngram"), None);
    assert_eq!(draft_of(whole.path(), "none"), None);
    let folder = split();
    let beside = folder.path().join("mtp-tiny");
    assert_eq!(draft_of(folder.path(), "auto").as_deref(), Some("mtp"));
    assert_eq!(draft_of(folder.path(), "mtp").as_deref(), Some("mtp"));
    let named = beside.display().to_string();
    assert_eq!(draft_of(folder.path(), &named).as_deref(), Some("mtp"));
    // It is for other targets: named it is refused, otherwise left alone.
    std::fs::remove_dir_all(&beside).unwrap();
    let other = published("dflash");
    let misfit = folder.path().join("dflash-other");
    std::fs::rename(other.path(), &misfit).unwrap();
    assert_eq!(draft_of(folder.path(), "auto"), None);
    let refused = |draft: &str| {
        load(folder.path(), draft)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    let message = refused(&misfit.display().to_string());
    assert!(
        message.contains("it is for targets 128 wide, and this one is 32"),
        "{message}"
    );
    let message = refused("mtp");
    assert!(
        message.contains("multi-token prediction, in its files or beside them"),
        "{message}"
    );
}

/// Why a published head with another setting is refused.
fn refusal(kind: &str, field: &str, value: Value) -> String {
    let folder = published(kind);
    let file = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    config[field] = value;
    std::fs::write(&file, config.to_string()).unwrap();
    let draft = folder.path().display().to_string();
    let refused = load(&pair::folder("target"), &draft);
    refused.map(drop).unwrap_err().to_string()
}

#[test]
fn masks_that_do_not_fit_are_refused_with_the_reason() {
    for (field, value, expected) in [
        (
            "mask_token_id",
            512,
            "its mask token, 512, is none of the target's 512 tokens",
        ),
        (
            "num_depths",
            0,
            "num_depths: expected a number from 1 to 64",
        ),
    ] {
        let message = refusal("peagle", field, json!(value));
        assert!(message.contains(expected), "{field}: {message}");
    }
}

#[test]
fn heads_that_do_not_fit_are_refused_with_the_reason() {
    for (kind, field, value, expected) in [
        (
            "dflash",
            "mask_token_id",
            json!(512),
            "none of the target's 512 tokens",
        ),
        (
            "dflash",
            "mask_token_id",
            json!(-1),
            "mask_token_id: expected a number",
        ),
        (
            "dflash",
            "num_target_layers",
            json!(5),
            "targets of 5 layers, and this one has 4",
        ),
        (
            "dflash",
            "target_layer_ids",
            json!([0, 9]),
            "layers [1, 10] of a target that has 4",
        ),
        (
            "dflash",
            "block_size",
            json!(1),
            "block_size: expected at least 2",
        ),
        (
            "dflash",
            "block_size",
            json!(4096),
            "block_size: expected a number up to 64",
        ),
        (
            "dflash",
            "dflash_config",
            json!({"conv_kernel_size": 4}),
            "sets conv_kernel_size to 4",
        ),
        (
            "dflash",
            "final_logit_softcapping",
            json!(30.0),
            "sets final_logit_softcapping to 30.0",
        ),
        (
            "dspark",
            "markov_head_type",
            json!("gated"),
            "markov_head_type is \"gated\"",
        ),
        (
            "dspark",
            "markov_rank",
            json!(8),
            "expected 512 rows of 8 columns",
        ),
        (
            "dspark",
            "vocab_size",
            json!(32000),
            "targets of 32000 tokens, and this one has 512",
        ),
        (
            "eagle3-speculators",
            "norm_before_residual",
            json!("yes"),
            "expected true or false",
        ),
        (
            "eagle3-speculators",
            "target_hidden_size",
            json!(64),
            "targets 64 wide",
        ),
        (
            "eagle3-speculators",
            "speculators_model_type",
            json!("fastmtp"),
            "speculators' kind \"fastmtp\"",
        ),
    ] {
        let message = refusal(kind, field, value);
        assert!(message.contains(expected), "{kind}, {field}: {message}");
    }
}

#[test]
fn distilled_heads_that_do_not_fit_are_refused_with_the_reason() {
    for (field, value, expected) in [
        ("hidden_size", json!(64), "targets 64 wide"),
        (
            "target_layers",
            json!([1, 9, 4]),
            "layers [1, 9, 4] of a target that has 4",
        ),
        (
            "target_layers",
            json!([1, 4]),
            "tensor \"fc.weight\": expected [128, 256]",
        ),
        (
            "intermediate_size",
            json!(0),
            "intermediate_size: expected a number from 1 to",
        ),
        ("depth", json!(2), "unknown field `depth`"),
    ] {
        let message = refusal("recurrent", field, value);
        assert!(message.contains(expected), "{field}: {message}");
    }
}
