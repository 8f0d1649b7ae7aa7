//! A toy recurrent layer for tests: linear attention whose memory decays, in the midst of a real model.

use std::path::Path;
use std::sync::Arc;

use super::Transformer;
use crate::architecture::names::NamedWeights;
use crate::backend::candle::CandleBackend;
use crate::backend::cpu::{CpuBackend, Tier};
use crate::backend::{
    Backend, Linear, Norm, NormKind, Recurrence, StorageType, StoredTensor, WeightPrecision,
};
use crate::hub::ModelFiles;
use crate::model::load::OpenModel;
use crate::model::mixer::{Mixer, Recurrent};
use crate::model::norms::Norms;
use crate::model::options::LoadOptions;
use crate::model::target_model::TargetModel;

/// Columns of the state that one block has.
const COLUMNS: usize = 16;
const BLOCKS: usize = 2;
/// Elements of a key.
const KEYS: usize = 4;

/// `S <- sigmoid(g) S + k v^T`, `o = S^T q`, with the inputs `[g | k | q | v]`.
struct DecayedSum;

impl Recurrence for DecayedSum {
    fn blocks(&self) -> usize {
        BLOCKS
    }

    fn state_width(&self) -> usize {
        KEYS * COLUMNS
    }

    fn input_width(&self) -> usize {
        1 + 2 * KEYS + BLOCKS * COLUMNS
    }

    fn output_width(&self) -> usize {
        COLUMNS
    }

    fn advance(&self, block: usize, input: &[f32], state: &mut [f32]) {
        let decay = 1.0 / (1.0 + libm::expf(-input[0]));
        let keys = &input[1..=KEYS];
        let values = &input[1 + 2 * KEYS + block * COLUMNS..][..COLUMNS];
        for (key, row) in keys.iter().zip(state.chunks_exact_mut(COLUMNS)) {
            for (value, state) in values.iter().zip(row) {
                *state = *state * decay + key * value;
            }
        }
    }

    fn output(&self, _block: usize, input: &[f32], state: &[f32], output: &mut [f32]) {
        output.fill(0.0);
        let queries = &input[1 + KEYS..][..KEYS];
        for (query, row) in queries.iter().zip(state.chunks_exact(COLUMNS)) {
            for (output, state) in output.iter_mut().zip(row) {
                *output += query * state;
            }
        }
    }
}

/// The kernels to compute with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On {
    Tier(Tier),
    Candle,
}

impl On {
    /// All that this machine has.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let tiers = Tier::ALL.iter().filter(|tier| tier.is_available());
        tiers.map(|tier| Self::Tier(*tier)).chain([Self::Candle])
    }
}

/// A model of the tests' pair ("target" or "draft"), every other layer of which is recurrent.
pub(crate) fn hybrid(name: &str, on: On) -> Box<dyn TargetModel> {
    match on {
        On::Tier(tier) => {
            let backend = CpuBackend::new(tier, WeightPrecision::Stored, Some(2)).unwrap();
            Box::new(transformer(name, backend))
        }
        On::Candle => {
            let device = candle_core::Device::Cpu;
            let backend = CandleBackend::new(device, WeightPrecision::Stored);
            Box::new(transformer(name, backend))
        }
    }
}

/// The same as a type whose sequences can be looked into.
pub(super) fn transformer<B: Backend>(name: &str, backend: B) -> Transformer<B> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pair");
    let opened = OpenModel::open(&ModelFiles::Folder(folder.join(name))).unwrap();
    let spec = opened.spec().unwrap();
    let weights = NamedWeights::new(opened.checkpoint(), &spec, false, &folder).unwrap();
    let options = LoadOptions::default();
    let mut model = Transformer::load(spec.clone(), backend, &weights, &options).unwrap();
    for layer in model.layers.iter_mut().skip(1).step_by(2) {
        let recurrent = recurrent(&*model.backend, model.spec.hidden_size);
        Arc::get_mut(layer).unwrap().mixer = Mixer::Recurrent(recurrent);
    }
    model
}

/// A recurrent mixer that fails: it returns rows of the wrong width.
pub(super) fn broken<B: Backend>(model: &Transformer<B>) -> Mixer<B> {
    let (backend, hidden_size) = (&*model.backend, model.spec.hidden_size);
    let mut recurrent = recurrent(backend, hidden_size);
    recurrent.output = linear(backend, hidden_size + 1, BLOCKS * COLUMNS);
    Mixer::Recurrent(recurrent)
}

fn recurrent<B: Backend>(backend: &B, hidden_size: usize) -> Recurrent<B> {
    let norm = Norm {
        kind: NormKind::Rms(1e-6),
        weight: backend.vector(vec![1.0; hidden_size]).unwrap(),
        bias: None,
    };
    Recurrent {
        norms: Norms {
            before: Some(norm),
            after: None,
            scale: 1.0,
        },
        input: linear(backend, DecayedSum.input_width(), hidden_size),
        recurrence: Box::new(DecayedSum),
        output: linear(backend, hidden_size, BLOCKS * COLUMNS),
    }
}

/// A matrix of fixed numbers between -0.3 and 0.3.
fn linear<B: Backend>(backend: &B, outputs: usize, inputs: usize) -> Linear<B> {
    let value = |index: usize| {
        let mixed = (index as u32).wrapping_mul(2_654_435_761) ^ 0x9e37_79b9;
        (mixed >> 8) as f32 / (1 << 24) as f32 * 0.6 - 0.3
    };
    let values = (0..outputs * inputs).map(value);
    let tensor = StoredTensor {
        storage: StorageType::F32,
        shape: vec![outputs, inputs],
        data: values
            .flat_map(f32::to_le_bytes)
            .collect::<Vec<u8>>()
            .into(),
    };
    Linear {
        matrix: backend.matrix(&tensor).unwrap(),
        bias: None,
    }
}
