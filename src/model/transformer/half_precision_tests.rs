//! Candle in 16 bits, as accelerators compute, here on the CPU: every family is what it is in 32 bits, but for rounding.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device};

use super::Transformer;
use crate::architecture::config_json;
use crate::architecture::names::NamedWeights;
use crate::backend::candle::{CandleBackend, half_precision};
use crate::backend::{CachePrecision, StorageType, WeightPrecision};
use crate::hub::ModelFiles;
use crate::model::open_model::OpenModel;
use crate::model::options::LoadOptions;
use crate::model::{LogitsRow, SharedModel, TokenSequence};

fn model(folder: &Path, compute: DType) -> SharedModel {
    let opened = OpenModel::open(&ModelFiles::Folder(folder.to_path_buf())).unwrap();
    let spec = opened.spec().unwrap();
    let weights = NamedWeights::new(opened.checkpoint(), &spec, false, folder).unwrap();
    let backend = CandleBackend::new(Device::Cpu, WeightPrecision::Stored).computing_in(compute);
    let options = LoadOptions::default();
    let model = Transformer::load(spec.clone(), backend, &weights, &options).unwrap();
    SharedModel::new(Box::new(model))
}

/// The logits of a prompt's last rows, of a tree after it, and of what follows an accepted path.
fn logits(model: &SharedModel) -> Vec<Vec<f32>> {
    let mut sequence = TokenSequence::new(model);
    let vocab_size = model.vocab_size();
    let rows = |logits: crate::model::Logits| -> Vec<Vec<f32>> {
        logits
            .into_vec()
            .chunks(vocab_size)
            .map(<[f32]>::to_vec)
            .collect()
    };
    let prompt: Vec<u32> = (0..40).map(|position| (position * 37 + 5) % 250).collect();
    let mut all = rows(sequence.extend(&prompt, 5).unwrap());
    let parents = [None, Some(0), Some(0), Some(2)];
    all.extend(rows(
        sequence.extend_tree(&[7, 8, 9, 10], &parents, 4).unwrap(),
    ));
    sequence.accept(&[0, 2]).unwrap();
    all.extend(rows(sequence.extend(&[3], 1).unwrap()));
    all
}

#[test]
fn sixteen_bits_are_thirty_two_but_for_rounding() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hf");
    let mut families = 0;
    for family in fs::read_dir(data).unwrap() {
        let folder = family.unwrap().path();
        let expected = logits(&model(&folder, DType::F32));
        let spec = config_json::read(&folder.join("config.json")).unwrap();
        let has_experts = spec
            .layers
            .iter()
            .any(|layer| layer.mlp.experts().is_some());
        // Families of a wide range are never computed in f16. On Arm, Candle's products on the CPU sum in f16,
        // where accelerators sum in f32: they would show more than the rounding of what is kept.
        let skips_f16 = spec.has_wide_range() || cfg!(target_arch = "aarch64");
        // f16 has 11 bits, bf16 8: so many roundings of the largest logit.
        for (dtype, roundoff) in [(DType::F16, 1.0 / 2048.0), (DType::BF16, 1.0 / 256.0)] {
            if dtype == DType::F16 && skips_f16 {
                continue;
            }
            let tolerance = 40.0 * roundoff;
            let found = logits(&model(&folder, dtype));
            let error = |(found, expected): (&Vec<f32>, &Vec<f32>)| {
                let largest = expected.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
                let pairs = found.iter().zip(expected);
                pairs.fold(0.0_f32, |max, (a, b)| max.max((a - b).abs())) / largest
            };
            let mut errors: Vec<f32> = found.iter().zip(&expected).map(error).collect();
            errors.sort_by(f32::total_cmp);
            assert!(
                errors[0] > 0.0,
                "{folder:?}, {dtype:?}: nothing was computed in 16 bits"
            );
            // Rounding may choose another expert, in a row here and there.
            let error = errors[if has_experts {
                errors.len() / 2
            } else {
                errors.len() - 1
            }];
            assert!(error <= tolerance, "{folder:?}, {dtype:?}: {error}");
        }
        families += 1;
    }
    assert!(families >= 10);
}

#[test]
fn the_type_of_the_weights_is_computed_in() {
    let compute = |stored, wide_range| half_precision(&Device::Cpu, stored, wide_range);
    assert_eq!(compute(StorageType::F16, false), DType::F16);
    assert_eq!(compute(StorageType::F16, true), DType::BF16);
    assert_eq!(compute(StorageType::BF16, false), DType::BF16);
    assert_eq!(compute(StorageType::Q4_0, true), DType::BF16);
}

#[test]
fn an_argmax_is_found_where_the_rows_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pair/target");
    let model = model(&folder, DType::F16);
    let mut sequence = TokenSequence::new(&model);
    let mut batch = [crate::model::Append {
        sequence: &mut sequence,
        tokens: &[5, 6, 7],
        parents: crate::model::Parents::Chain,
        rows: 3,
    }];
    let logits = crate::model::extend_all(&mut batch).unwrap();
    for row in 0..3 {
        let row = logits.of(0).row(row);
        let found = row.argmax().unwrap();
        assert_eq!(
            found,
            LogitsRow::from(row.values().unwrap()).argmax().unwrap()
        );
    }
}

#[test]
fn a_cache_of_another_type_is_refused_by_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pair/target");
    let opened = OpenModel::open(&ModelFiles::Folder(folder.clone())).unwrap();
    let spec = opened.spec().unwrap();
    let weights = NamedWeights::new(opened.checkpoint(), &spec, false, &folder).unwrap();
    let options = LoadOptions {
        kv_cache: CachePrecision::Q8_0,
        ..LoadOptions::default()
    };
    let backend = CandleBackend::new(Device::Cpu, WeightPrecision::Stored).computing_in(DType::F16);
    let error = Transformer::load(spec.clone(), backend, &weights, &options)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("keep keys and values in f16"),
        "{error}"
    );
}
