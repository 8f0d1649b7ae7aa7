//! LoRA adapters, merged when a model is loaded, against what PEFT computes with them unmerged.

mod support;

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use specdec_rs::backend::WeightPrecision;
use specdec_rs::hub::{LocateOptions, ModelFiles, locate};
use specdec_rs::model::LanguageModel;
use specdec_rs::progress::Silent;
use support::fixtures;
use support::models::{all_kernels, extend, folders, open};

/// Largest difference of a logit from float64, as in tests/golden.rs. PEFT's own float32 lies within 1e-5.
const MAX_ERROR: f32 = 5e-5;

struct Golden {
    ids: Vec<u32>,
    logits: Vec<f32>,
}

impl Golden {
    fn read(folder: &Path) -> Self {
        let bytes = std::fs::read(folder.join("golden.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let data = |name| tensors.tensor(name).unwrap().data().to_vec();
        let ids = data("ids");
        let ids = ids
            .chunks(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32);
        let logits = data("logits");
        let logits = logits
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        Self {
            ids: ids.collect(),
            logits: logits.collect(),
        }
    }

    /// The largest difference of a model's logits from these.
    fn difference(&self, model: &mut dyn LanguageModel) -> f32 {
        let logits = extend(model, 0, &self.ids, self.ids.len());
        assert_eq!(logits.len(), self.logits.len());
        let pairs = logits.iter().zip(&self.logits);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }
}

fn adapter(name: &str) -> PathBuf {
    fixtures().join("adapters").join(name)
}

fn located(name: &Path) -> ModelFiles {
    let options = LocateOptions {
        revision: None,
        with_head: false,
        progress: &Silent,
    };
    locate(name.to_str().unwrap(), &options).unwrap()
}

#[test]
fn adapters_give_the_logits_of_peft() {
    let adapters = folders(&fixtures().join("adapters"));
    assert!(adapters.len() >= 10);
    for folder in adapters {
        let golden = Golden::read(&folder);
        let files = located(&folder);
        for kernels in all_kernels() {
            let mut model = open(&files, WeightPrecision::F32, kernels);
            let difference = golden.difference(model.as_mut());
            println!("{} {kernels:?}: {difference:.1e}", folder.display());
            assert!(
                difference <= MAX_ERROR,
                "{}: {difference}",
                folder.display()
            );
        }
    }
}

#[test]
fn a_gguf_adapter_gives_the_same() {
    let golden = Golden::read(&adapter("olmo2"));
    let base = ModelFiles::Gguf(fixtures().join("gguf/olmo2-BF16.gguf"));
    let adapted = base
        .clone()
        .with_adapters(vec![adapter("olmo2/adapter.gguf")]);
    let adapted = adapted.unwrap();
    for kernels in all_kernels() {
        let mut model = open(&adapted, WeightPrecision::F32, kernels);
        let difference = golden.difference(model.as_mut());
        assert!(difference <= MAX_ERROR, "{kernels:?}: {difference}");
        let mut model = open(&base, WeightPrecision::F32, kernels);
        assert!(golden.difference(model.as_mut()) > 0.3);
    }
}
