//! A toy recurrent layer for tests: a state space whose memory decays, in the midst of a real model.

use std::path::Path;
use std::sync::Arc;

use super::Transformer;
use crate::architecture::names::NamedWeights;
use crate::backend::candle::CandleBackend;
use crate::backend::cpu::{CpuBackend, Tier};
use crate::backend::{
    Backend, Linear, Norm, NormKind, Recurrence, StateSpace, StorageType, StoredTensor,
    WeightPrecision,
};
use crate::hub::ModelFiles;
use crate::model::mixer::{Mixer, Recurrent};
use crate::model::norms::Norms;
use crate::model::open_model::OpenModel;
use crate::model::options::LoadOptions;
use crate::model::target_model::TargetModel;

/// Of the toy's state.
const HEADS: usize = 2;
const HEAD_DIM: usize = 16;
const STATE_DIM: usize = 4;

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
    recurrent.output = linear(backend, hidden_size + 1, HEADS * HEAD_DIM);
    Mixer::Recurrent(recurrent)
}

fn recurrent<B: Backend>(backend: &B, hidden_size: usize) -> Recurrent<B> {
    let norm = Norm {
        kind: NormKind::Rms(1e-6),
        weight: backend.vector(vec![1.0; hidden_size]).unwrap(),
        bias: None,
    };
    let space = StateSpace {
        heads: HEADS,
        head_dim: HEAD_DIM,
        groups: 1,
        state_dim: STATE_DIM,
        skip: vec![0.0; HEADS],
    };
    // Decays and steps don't depend on the token.
    let mut bias = vec![0.0; space.channels()];
    bias.extend([0.9, 0.7, 1.0, 1.0]);
    let input = Linear {
        bias: Some(backend.vector(bias.clone()).unwrap()),
        ..matrix(backend, bias.len(), hidden_size, space.channels())
    };
    Recurrent {
        norms: Norms {
            before: Some(norm),
            after: None,
            scale: 1.0,
        },
        input,
        recurrence: Recurrence::StateSpace(space),
        output: linear(backend, hidden_size, HEADS * HEAD_DIM),
    }
}

/// A matrix of fixed numbers between -0.3 and 0.3.
fn linear<B: Backend>(backend: &B, outputs: usize, inputs: usize) -> Linear<B> {
    matrix(backend, outputs, inputs, outputs)
}

/// The same with zeros in the rows from `nonzero` on.
fn matrix<B: Backend>(backend: &B, outputs: usize, inputs: usize, nonzero: usize) -> Linear<B> {
    let value = |index: usize| {
        let mixed = (index as u32).wrapping_mul(2_654_435_761) ^ 0x9e37_79b9;
        match index < nonzero * inputs {
            true => (mixed >> 8) as f32 / (1 << 24) as f32 * 0.6 - 0.3,
            false => 0.0,
        }
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
