//! Every fixture model against logits computed by transformers in float64.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use safetensors::SafeTensors;
use specdec_rs::Device;
use specdec_rs::architecture::{Preset, RecurrentKind, config_json};
use specdec_rs::backend::{CachePrecision, WeightPrecision};
use specdec_rs::hub::ModelFiles;
use specdec_rs::model::{
    Extend, Kernels, LanguageModel, LoadOptions, Logits, Parents, SequenceId, load,
};
use support::models::{
    NEWER_FILES, NEWER_FOLDERS, all_fixtures, all_kernels, extend, extend_all, folders,
    gguf_models, hugging_face_models, newer_file, newer_folder, open, shared_fixtures,
};

struct Golden {
    ids: Vec<u32>,
    logits: Vec<f32>,
    greedy: Vec<u32>,
}

impl Golden {
    fn read(file: &Path) -> Self {
        let bytes = std::fs::read(file).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let integers = |name| -> Vec<u32> {
            let data = tensors.tensor(name).unwrap().data().to_vec();
            let wide = data
                .chunks(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()));
            wide.map(|id| u32::try_from(id).unwrap()).collect()
        };
        let logits = tensors.tensor("logits").unwrap().data().to_vec();
        Self {
            ids: integers("ids"),
            logits: logits
                .chunks(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
            greedy: integers("greedy"),
        }
    }

    fn vocab_size(&self) -> usize {
        self.logits.len() / self.ids.len()
    }
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// The median over the rows of each one's largest difference.
fn median_difference(logits: &[f32], golden: &Golden) -> f32 {
    let width = golden.vocab_size();
    let rows = logits.chunks(width).zip(golden.logits.chunks(width));
    let mut rows: Vec<f32> = rows.map(|(a, b)| largest_difference(a, b)).collect();
    rows.sort_by(f32::total_cmp);
    rows[rows.len() / 2]
}

fn argmax(row: &[f32]) -> u32 {
    let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a)));
    best.unwrap() as u32
}

/// So many tokens of a model's vocabulary.
fn text(model: &dyn LanguageModel, tokens: usize) -> Vec<u32> {
    let ids = (0..tokens).map(|i| (i * 37 + 11) % model.vocab_size());
    ids.map(|id| id as u32).collect()
}

/// All positions at once.
fn at_once(model: &mut dyn LanguageModel, golden: &Golden) -> Vec<f32> {
    let logits = extend(model, 0, &golden.ids, golden.ids.len());
    model.free(SequenceId(0));
    logits
}

/// One token at a time.
fn one_by_one(model: &mut dyn LanguageModel, golden: &Golden) -> Vec<f32> {
    let rows = golden.ids.iter().map(|id| extend(model, 1, &[*id], 1));
    let logits = rows.collect::<Vec<_>>().concat();
    model.free(SequenceId(1));
    logits
}

/// The last token, after all others as a prompt.
fn after_a_prompt(model: &mut dyn LanguageModel, golden: &Golden) -> Vec<f32> {
    let logits = extend(model, 4, &golden.ids, 1);
    model.free(SequenceId(4));
    let before = golden.logits.len() - golden.vocab_size();
    [&golden.logits[..before], &logits].concat()
}

/// In random chunks, with wrong tokens appended and rolled back in between.
fn with_rollbacks(model: &mut dyn LanguageModel, golden: &Golden) -> Vec<f32> {
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut logits = vec![0.0; golden.logits.len()];
    let vocab_size = golden.vocab_size();
    let mut done = 0;
    while done < golden.ids.len() {
        let wrong: Vec<u32> = (0..rng.next_u32() % 20)
            .map(|_| rng.next_u32() % 300)
            .collect();
        extend(model, 2, &wrong, wrong.len());
        model.truncate(SequenceId(2), done).unwrap();
        let rows = (1 + rng.next_u32() as usize % 9).min(golden.ids.len() - done);
        let chunk = extend(model, 2, &golden.ids[done..done + rows], rows);
        logits[done * vocab_size..(done + rows) * vocab_size].copy_from_slice(&chunk);
        done += rows;
        // Back into what was right, too: the next pass overwrites it with the same.
        done -= (rng.next_u32() as usize % 3)
            .min(done.saturating_sub(1))
            .min(rows - 1);
        model.truncate(SequenceId(2), done).unwrap();
    }
    model.free(SequenceId(2));
    logits
}

fn greedy(model: &mut dyn LanguageModel, golden: &Golden) -> Vec<u32> {
    let mut logits = extend(model, 3, &golden.ids[..8], 1);
    let mut tokens = Vec::new();
    while tokens.len() < golden.greedy.len() {
        tokens.push(argmax(&logits));
        logits = extend(model, 3, &tokens[tokens.len() - 1..], 1);
    }
    model.free(SequenceId(3));
    tokens
}

/// The four ways to the same logits, and the largest difference of each.
fn differences(model: &mut dyn LanguageModel, golden: &Golden) -> [(&'static str, f32); 4] {
    [
        ("at once", at_once(model, golden)),
        ("after a prompt", after_a_prompt(model, golden)),
        ("one by one", one_by_one(model, golden)),
        ("with rollbacks", with_rollbacks(model, golden)),
    ]
    .map(|(how, logits)| (how, largest_difference(&logits, &golden.logits)))
}

/// Largest difference of a logit from float64. transformers' own float32 lies within 6e-6 of the repository's models, and
/// within 1e-5 of the shared ones; nearly every mistake moves some logit by more than 1e-3.
const MAX_ERROR_OWN: f32 = 5e-5;
const MAX_ERROR_SHARED: f32 = 2e-4;
/// Of f32 activations on the weights as they are dequantized.
const MAX_ERROR_GGUF: f32 = 1e-4;

fn give_their_golden_logits(models: Vec<ModelFiles>, largest: f32) {
    assert!(!models.is_empty());
    for files in models {
        let (file, precision) = match &files {
            ModelFiles::Folder(folder) => (
                folder.join("golden.safetensors"),
                // Quantized weights are widened when loaded.
                match is_quantized(folder) {
                    true => WeightPrecision::F32,
                    false => WeightPrecision::Stored,
                },
            ),
            ModelFiles::Gguf(file) => (
                file.with_extension("golden.safetensors"),
                WeightPrecision::F32,
            ),
            ModelFiles::Adapted(_) => unreachable!("no fixture of a model is one"),
        };
        let golden = Golden::read(&file);
        let name = name_of(&files);
        for kernels in all_kernels() {
            let mut model = open(&files, precision, kernels);
            for (how, difference) in differences(model.as_mut(), &golden) {
                println!("{name:>15} {kernels:?} {how:>15}: {difference:.1e}");
                assert!(
                    difference <= largest,
                    "{name}, {kernels:?}, {how}: {difference}"
                );
            }
            let tokens = greedy(model.as_mut(), &golden);
            assert_eq!(tokens, golden.greedy, "{name}, {kernels:?}");
        }
    }
}

fn is_quantized(folder: &Path) -> bool {
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    config.contains("\"quant_method\"")
}

fn name_of(files: &ModelFiles) -> String {
    let path = match files {
        ModelFiles::Folder(path) | ModelFiles::Gguf(path) => path,
        ModelFiles::Adapted(files) => &files.adapters[0],
    };
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

#[test]
fn hugging_face_models_give_their_golden_logits() {
    let models = hugging_face_models(&support::fixtures());
    give_their_golden_logits(models, MAX_ERROR_OWN);
}

#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn shared_hugging_face_models_give_their_golden_logits() {
    let models = hugging_face_models(&support::shared().join("fixtures"));
    give_their_golden_logits(models, MAX_ERROR_SHARED);
}

#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn newer_shared_models_give_their_golden_logits() {
    for (name, bound) in NEWER_FOLDERS {
        give_their_golden_logits(vec![newer_folder(name)], bound);
    }
    let files = NEWER_FILES.map(newer_file);
    give_their_golden_logits(files.into(), MAX_ERROR_GGUF);
}

#[test]
fn gguf_models_give_their_golden_logits() {
    give_their_golden_logits(gguf_models(&support::fixtures()), MAX_ERROR_GGUF);
}

#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn shared_gguf_models_give_their_golden_logits() {
    let models = gguf_models(&support::shared().join("fixtures"));
    give_their_golden_logits(models, MAX_ERROR_GGUF);
}

/// A clone protects every architecture.
#[test]
fn every_architecture_has_a_golden_model() {
    let models = folders(&support::fixtures().join("hf"));
    let family = |folder: &std::path::PathBuf| {
        let spec = config_json::read(&folder.join("config.json")).unwrap();
        spec.family.name()
    };
    let covered: BTreeSet<&str> = models.iter().map(family).collect();
    // Some rows are for GGUF files alone.
    let in_folders = Preset::all().filter(|preset| !preset.model_types.is_empty());
    let expected: BTreeSet<&str> = in_folders.map(Preset::name).collect();
    assert_eq!(covered, expected);
}

/// The families, as the documentation lists them.
fn table_of_families() -> String {
    let head = "| models | `model_type` | GGUF | layers |\n|---|---|---|---|\n";
    let mut rows = Vec::new();
    for preset in Preset::all().filter(|preset| !preset.model_types.is_empty()) {
        let mut layers = match preset.recurrent {
            None if preset.latent => vec!["latent attention"],
            None => vec!["attention"],
            Some(RecurrentKind::ShortConv) => vec!["convolutions, attention"],
            Some(RecurrentKind::DeltaNet { .. }) => vec!["gated delta nets, attention"],
            Some(RecurrentKind::StateSpace(_)) => vec!["state spaces, attention"],
        };
        if preset.attention_sinks {
            layers.push("sinks");
        }
        if preset.may_share_keys {
            layers.push("shared keys and values");
        }
        layers.push(match preset.experts {
            Some(_) if preset.may_lack_experts => "experts or none",
            Some(_) => "experts",
            None => "dense",
        });
        let types: Vec<String> = preset
            .model_types
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let row = [
            preset.models,
            &types.join(", "),
            &format!("`{}`", preset.gguf),
            &layers.join(", "),
        ];
        rows.push(format!("| {} |\n", row.join(" | ")));
    }
    [head, &rows.concat()].concat()
}

/// `SPECDEC_WRITE_DOCS=1` writes the table.
#[test]
fn the_documentation_lists_every_family() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/models.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let [start, end] = ["<!-- families -->\n", "<!-- end of families -->"];
    let (before, rest) = text.split_once(start).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    let expected = table_of_families();
    if std::env::var_os("SPECDEC_WRITE_DOCS").is_some() {
        std::fs::write(&page, [before, start, &expected, end, after].concat()).unwrap();
    } else {
        assert_eq!(found, expected);
    }
}

/// What the shared folder has more is not forgotten.
#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn every_newer_model_is_compared() {
    let newer = support::shared().join("fixtures/2026");
    let stems = |kind: &str, is_model: fn(&Path) -> bool| -> BTreeSet<String> {
        let found = folders(&newer.join(kind)).into_iter();
        let models = found.filter(|path| is_model(path));
        models
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    let compared = NEWER_FOLDERS.map(|(name, _)| name.to_owned());
    assert_eq!(stems("hf", Path::is_dir), BTreeSet::from(compared));
    let files = stems("gguf", |path| path.extension().is_some_and(|e| e == "gguf"));
    assert_eq!(files, BTreeSet::from(NEWER_FILES.map(str::to_owned)));
}

/// The quantized kernels round activations to 8 bits: reported, and kept from being garbage.
fn quantized_kernels_are_close(models: Vec<ModelFiles>) {
    assert!(!models.is_empty());
    for files in models {
        let ModelFiles::Gguf(file) = &files else {
            panic!("{files:?}");
        };
        let name = name_of(&files);
        let golden = Golden::read(&file.with_extension("golden.safetensors"));
        let largest = golden.logits.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        for kernels in all_kernels() {
            let mut quantized = open(&files, WeightPrecision::Stored, kernels);
            let logits = one_by_one(quantized.as_mut(), &golden);
            let difference = largest_difference(&logits, &golden.logits) / largest;
            println!("{name:>15} {kernels:?}       quantized: {difference:.1e}");
            assert!(
                difference <= 0.1,
                "{name}, {kernels:?}, quantized: {difference}"
            );
        }
    }
}

#[test]
fn quantized_kernels_are_close_on_the_repository_s_models() {
    quantized_kernels_are_close(gguf_models(&support::fixtures()));
}

#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn quantized_kernels_are_close_on_shared_models() {
    quantized_kernels_are_close(gguf_models(&support::shared().join("fixtures")));
}

/// Forcing a tier changes speed alone.
fn tiers_give_the_same_bits(models: Vec<ModelFiles>) {
    for files in models {
        let mut expected: Option<Vec<f32>> = None;
        for kernels in all_kernels().filter(|kernels| *kernels != Kernels::Candle) {
            let mut model = open(&files, WeightPrecision::Stored, kernels);
            let ids = text(model.as_ref(), 100);
            let logits = extend(model.as_mut(), 0, &ids, ids.len());
            let expected = expected.get_or_insert_with(|| logits.clone());
            assert!(logits == *expected, "{files:?}, {kernels:?}");
        }
    }
}

#[test]
fn every_tier_gives_the_same_bits() {
    tiers_give_the_same_bits(all_fixtures());
}

#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn every_tier_gives_the_same_bits_on_shared_models() {
    tiers_give_the_same_bits(shared_fixtures());
}

/// What makes greedy speculation identical to plain decoding: a row's logits are the same bits
/// whether it is computed alone, with others, or beside another sequence.
fn chunks_give_the_same_bits(models: Vec<ModelFiles>) {
    for files in models {
        for kernels in [Kernels::Best, Kernels::Candle] {
            chunks_equal_single_tokens(&files, kernels);
        }
    }
}

#[test]
fn chunks_give_the_same_bits_as_single_tokens() {
    chunks_give_the_same_bits(all_fixtures());
}

#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn chunks_give_the_same_bits_as_single_tokens_on_shared_models() {
    chunks_give_the_same_bits(shared_fixtures());
}

fn chunks_equal_single_tokens(files: &ModelFiles, kernels: Kernels) {
    let mut model = open(files, WeightPrecision::Stored, kernels);
    let ids = text(model.as_ref(), 120);
    let alone: Vec<f32> = ids
        .iter()
        .flat_map(|id| extend(model.as_mut(), 0, &[*id], 1))
        .collect();
    let vocab_size = model.vocab_size();
    let mut done = 0;
    for rows in [1, 2, 3, 5, 8, 9, 12, 80] {
        let tokens = &ids[done..done + rows];
        let batch = [
            Extend {
                sequence: SequenceId(7),
                tokens: &ids[..rows],
                parents: Parents::Chain,
                rows: 0,
            },
            Extend {
                sequence: SequenceId(1),
                tokens,
                parents: Parents::Chain,
                rows,
            },
        ];
        let together = extend_all(model.as_mut(), &batch);
        model.truncate(SequenceId(7), 0).unwrap();
        let expected = &alone[done * vocab_size..(done + rows) * vocab_size];
        assert!(together == expected, "{files:?}, {rows} rows");
        done += rows;
    }
}

/// A sequence's prompt is read the same whether or not others are read with it.
#[test]
fn a_batch_changes_no_bits() {
    let file = support::fixtures().join("gguf/llama-Q4_0.gguf");
    let files = ModelFiles::Gguf(file);
    let mut model = open(&files, WeightPrecision::Stored, Kernels::Best);
    let ids = text(model.as_ref(), 20);
    let alone = extend(model.as_mut(), 0, &ids, 1);
    let pair = [SequenceId(1), SequenceId(2)].map(|sequence| Extend {
        sequence,
        tokens: &ids,
        parents: Parents::Chain,
        rows: 1,
    });
    let together = extend_all(model.as_mut(), &pair);
    assert!(together == [alone.clone(), alone].concat());
    let next = extend(model.as_mut(), 0, &[5], 1);
    assert!(extend(model.as_mut(), 2, &[5], 1) == next);
}

/// Keys and values in eight bits: reported, and kept from being garbage; where the device has none, refused on loading.
#[test]
fn a_cache_of_eight_bits_is_close() {
    for folder in folders(&support::fixtures().join("hf")) {
        let golden = Golden::read(&folder.join("golden.safetensors"));
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let with = |kernels| {
            let options = LoadOptions {
                device: Some(Device::Cpu),
                kv_cache: CachePrecision::Q8_0,
                kernels,
                ..LoadOptions::default()
            };
            load(&ModelFiles::Folder(folder.clone()), &options)
        };
        let mut model = with(Kernels::Best).unwrap().model;
        let logits = one_by_one(model.as_mut(), &golden);
        let largest = golden.logits.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        let spec = config_json::read(&folder.join("config.json")).unwrap();
        let mut layers = spec.layers.iter();
        // Rounding may choose another expert, in a row here and there.
        let difference = match layers.any(|layer| layer.mlp.experts().is_some()) {
            true => median_difference(&logits, &golden),
            false => largest_difference(&logits, &golden.logits),
        };
        let difference = difference / largest;
        println!("{name:>15} {difference:.1e}");
        assert!(
            difference > 0.0 && difference <= 0.1,
            "{name}: {difference}"
        );
        let refused = with(Kernels::Candle).err().unwrap().to_string();
        assert!(refused.contains("kv_cache_dtype"), "{refused}");
    }
}

#[test]
fn a_shorter_context_can_be_asked_for() {
    for folder in folders(&support::fixtures().join("hf")) {
        let files = ModelFiles::Folder(folder);
        let with = |tokens| {
            let options = LoadOptions {
                context_length: Some(tokens),
                ..LoadOptions::default()
            };
            load(&files, &options)
        };
        let mut model = with(16).unwrap().model;
        assert_eq!(model.context_length(), 16);
        assert_eq!(model.info().context_length, 16);
        extend(model.as_mut(), 0, &[5; 16], 1);
        let (sequence, tokens) = (SequenceId(0), &[5][..]);
        let over = Extend {
            sequence,
            tokens,
            parents: Parents::Chain,
            rows: 1,
        };
        assert!(
            model
                .extend(&[over], &mut Logits::new(model.vocab_size()))
                .unwrap_err()
                .to_string()
                .contains("16")
        );
    }
}
