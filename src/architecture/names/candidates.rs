//! Under which names a model's tensors may be stored, and how: by themselves, fused with others, stacked, in groups.

use std::borrow::Cow;

use super::rows::Rows;
use crate::architecture::spec::{MixerSpec, ModelSpec};
use crate::architecture::tensor_names::{
    ExpertNames, ExpertTensor, LayerTensor, ModelTensor, TensorNames,
};
use crate::architecture::variants::AttentionGate;
use crate::backend::AttentionShape;

/// A name under which a tensor of ours may be stored, and which of its rows are ours.
pub(super) struct Candidate {
    pub(super) name: Cow<'static, str>,
    /// Whether nothing follows the name.
    pub(super) is_whole_name: bool,
    pub(super) rows: Rows,
}

impl Candidate {
    fn new(name: impl Into<Cow<'static, str>>, rows: Rows) -> Self {
        Self {
            name: name.into(),
            is_whole_name: false,
            rows,
        }
    }

    fn whole(name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name, Rows::All)
    }
}

/// The names of one model's tensors.
#[derive(Clone, Copy)]
pub(super) struct Candidates<'a> {
    pub(super) names: &'static TensorNames,
    pub(super) spec: &'a ModelSpec,
}

impl Candidates<'_> {
    /// The names under which a tensor may be stored; the first that is there counts.
    pub(super) fn of(&self, tensor: ModelTensor) -> Vec<Candidate> {
        let whole = |name: &'static str| Candidate::whole(name);
        let names = self.names;
        let (layer, tensor) = match tensor {
            ModelTensor::Embedding => return vec![whole(names.embedding)],
            ModelTensor::LayerInputs => return vec![whole(names.layer_inputs[0])],
            ModelTensor::LayerInputsProjection => return vec![whole(names.layer_inputs[1])],
            ModelTensor::LayerInputsNorm => return vec![whole(names.layer_inputs[2])],
            ModelTensor::StreamProjection(stream) => return self.of_stream(0, stream),
            ModelTensor::StreamUnembedding(stream) => return self.of_stream(1, stream),
            ModelTensor::Positions => return names.positions.map(whole).into_iter().collect(),
            ModelTensor::FinalNorm => {
                return names.final_norm.iter().copied().map(whole).collect();
            }
            ModelTensor::Head => return names.head.iter().copied().map(whole).collect(),
            ModelTensor::Layer(layer, LayerTensor::Expert(expert, tensor)) => {
                return self.of_expert(layer, expert, tensor);
            }
            ModelTensor::Layer(layer, tensor) => (layer, tensor),
        };
        if let Some(half) = self.half_of_query(layer, tensor) {
            return half;
        }
        let own = names.layer.iter().filter(|(named, _)| *named == tensor);
        let mut candidates: Vec<Candidate> = own.map(|(_, name)| whole(name)).collect();
        if tensor == LayerTensor::MlpNorm && self.spec.norm_placement.after() {
            // The others are names of the norm after attention.
            candidates.truncate(1);
        }
        let bare = names.bare.iter().filter(|(named, _)| *named == tensor);
        candidates.extend(bare.map(|(_, name)| Candidate {
            is_whole_name: true,
            ..whole(name)
        }));
        candidates.extend(self.of_key_heads(layer, tensor));
        candidates.extend(self.of_state_space(layer, tensor));
        candidates.extend(self.of_latent(layer, tensor));
        if let Some(fused) = self.fused(layer, tensor) {
            // Where "up" is both matrices' name, the size tells which it is.
            let index = usize::from(tensor != LayerTensor::Up);
            candidates.insert(index.min(candidates.len()), fused);
        }
        candidates
    }

    fn attention_of(&self, layer: usize) -> Option<AttentionShape> {
        let attention = self.spec.layers.get(layer)?.mixer.attention()?;
        Some(attention.shape)
    }

    /// Of each head of a gated attention's query matrix, the rows of the query or of the gate.
    fn half_of_query(&self, layer: usize, tensor: LayerTensor) -> Option<Vec<Candidate>> {
        if self.spec.attention_gate != AttentionGate::BesideQuery {
            return None;
        }
        let shape = self.attention_of(layer)?;
        let index = match tensor {
            LayerTensor::Query => 0,
            LayerTensor::QueryGate => 1,
            _ => return None,
        };
        let names = self
            .names
            .layer
            .iter()
            .filter(|(named, _)| *named == LayerTensor::Query);
        let rows = Rows::interleaved(index, 2, shape.heads, shape.head_dim);
        Some(names.map(|(_, name)| Candidate::new(*name, rows)).collect())
    }

    /// The rows of a delta net's matrices that are grouped by key head (Qwen3-Next).
    fn of_key_heads(&self, layer: usize, tensor: LayerTensor) -> Option<Candidate> {
        let MixerSpec::DeltaNet(spec) = self.spec.layers.get(layer)?.mixer else {
            return None;
        };
        let per_head = spec.value_heads / spec.key_heads;
        let (keys, values) = (spec.key_dim, per_head * spec.value_dim);
        let (name, group_rows, parts) = match tensor {
            LayerTensor::DeltaInput => (
                self.names.grouped_qkvz,
                2 * (keys + values),
                [(0, keys), (keys, keys), (2 * keys, values)],
            ),
            LayerTensor::DeltaGate => (
                self.names.grouped_qkvz,
                2 * (keys + values),
                [(2 * keys + values, values), (0, 0), (0, 0)],
            ),
            LayerTensor::DeltaStep => (
                self.names.grouped_ba,
                2 * per_head,
                [(0, per_head), (0, 0), (0, 0)],
            ),
            LayerTensor::DeltaDecay => (
                self.names.grouped_ba,
                2 * per_head,
                [(per_head, per_head), (0, 0), (0, 0)],
            ),
            _ => return None,
        };
        let rows = Rows::OfGroups {
            groups: spec.key_heads,
            group_rows,
            parts,
        };
        Some(Candidate::new(name, rows))
    }

    /// The matrices between the parts of a residual stream: each by itself, or all in one.
    fn of_stream(&self, direction: usize, stream: usize) -> Vec<Candidate> {
        let (name, rows) = (self.names.streams[direction], self.spec.hidden_size);
        let before = stream * rows;
        vec![
            Candidate::whole(format!("{name}.{stream}")),
            Candidate::new(name, Rows::Expert { before, rows }),
        ]
    }

    /// The rows of a state space's one input matrix.
    fn of_state_space(&self, layer: usize, tensor: LayerTensor) -> Vec<Candidate> {
        let spec = self.spec.layers.get(layer);
        let Some(space) = spec.and_then(|layer| layer.mixer.state_space()) else {
            return Vec::new();
        };
        let inner = space.heads * space.head_dim;
        let channels = inner + 2 * space.groups * space.state_dim;
        let (before, rows) = match tensor {
            LayerTensor::SpaceGate => (0, inner),
            LayerTensor::SpaceInput => (inner, channels),
            LayerTensor::SpaceStep => (inner + channels, space.heads),
            _ => return Vec::new(),
        };
        let rows = Rows::Stacked { before, rows };
        let names = self.names.fused_space.iter();
        names.map(|name| Candidate::new(*name, rows)).collect()
    }

    /// The rows of matrices of compressed keys and values.
    fn of_latent(&self, layer: usize, tensor: LayerTensor) -> Vec<Candidate> {
        let spec = self.spec.layers.get(layer);
        let Some(spec) = spec.and_then(|layer| layer.mixer.latent()) else {
            return Vec::new();
        };
        let of_head = spec.plain_dim + spec.value_dim;
        let (key_down, kv_up) = (self.names.fused_key_down, self.names.fused_kv_up);
        let stacked = |name, before, rows| Candidate::new(name, Rows::Stacked { before, rows });
        let of_head_alone = |name, head: usize, rows: usize| {
            let before = head * rows;
            Candidate::new(name, Rows::Expert { before, rows })
        };
        match tensor {
            LayerTensor::KeyDown => vec![stacked(key_down, 0, spec.rank)],
            LayerTensor::RotaryKey => vec![stacked(key_down, spec.rank, spec.rotary_dim)],
            LayerTensor::KeyUp(head) => vec![stacked(kv_up, head * of_head, spec.plain_dim)],
            LayerTensor::TransposedKeyUp(head) => {
                vec![of_head_alone("attn_k_b", head, spec.rank)]
            }
            LayerTensor::ValueUp(head) => {
                let before = head * of_head + spec.plain_dim;
                vec![
                    of_head_alone("attn_v_b", head, spec.value_dim),
                    stacked(kv_up, before, spec.value_dim),
                ]
            }
            _ => Vec::new(),
        }
    }

    /// The names under which an expert's matrix may be stored.
    fn of_expert(&self, layer: usize, expert: usize, tensor: ExpertTensor) -> Vec<Candidate> {
        let spec = self.spec.layers.get(layer);
        let experts = spec.and_then(|layer| layer.mlp.experts());
        let width = experts.map_or(0, |experts| experts.width);
        let hidden = self.spec.hidden_size;
        let index = tensor as usize;
        let of = |names: &ExpertNames| match names {
            ExpertNames::Each { experts, names } => {
                Candidate::whole(format!("{experts}.{expert}.{}", names[index]))
            }
            ExpertNames::Stacked(names) => {
                let rows = if tensor == ExpertTensor::Down {
                    hidden
                } else {
                    width
                };
                let before = expert * rows;
                Candidate::new(names[index], Rows::Expert { before, rows })
            }
            ExpertNames::StackedFused { gate_up, down } => {
                let (name, before, rows) = match tensor {
                    ExpertTensor::Gate => (*gate_up, 2 * expert * width, width),
                    ExpertTensor::Up => (*gate_up, (2 * expert + 1) * width, width),
                    ExpertTensor::Down => (*down, expert * hidden, hidden),
                };
                Candidate {
                    is_whole_name: true,
                    ..Candidate::new(name, Rows::Expert { before, rows })
                }
            }
            ExpertNames::Interleaved { gate_up, down } => {
                let (name, first, step) = match tensor {
                    ExpertTensor::Gate => (*gate_up, 0, 2),
                    ExpertTensor::Up => (*gate_up, 1, 2),
                    ExpertTensor::Down => (*down, 0, 1),
                };
                let rows = Rows::OfExpert {
                    expert,
                    first,
                    step,
                };
                Candidate {
                    is_whole_name: true,
                    ..Candidate::new(name, rows)
                }
            }
        };
        self.names.experts.iter().map(of).collect()
    }

    /// The matrix in which a tensor may be fused with others.
    fn fused(&self, layer: usize, tensor: LayerTensor) -> Option<Candidate> {
        let shape = self.attention_of(layer);
        let sizes = shape.map(|shape| (shape, shape.query_size(), shape.kv_size()));
        let (shape, index, before, rows) = match (tensor, sizes) {
            (LayerTensor::Query, Some((shape, queries, _))) => (shape, 0, 0, queries),
            (LayerTensor::Key, Some((shape, queries, keys))) => (shape, 1, queries, keys),
            (LayerTensor::Value, Some((shape, queries, keys))) => (shape, 2, queries + keys, keys),
            (LayerTensor::Gate | LayerTensor::Up, _) => {
                let width = self.spec.layers.get(layer)?.mlp.dense_width()?;
                let before = if tensor == LayerTensor::Up { width } else { 0 };
                let rows = width;
                let name = self.names.fused_gate_up?;
                return Some(Candidate::new(name, Rows::Stacked { before, rows }));
            }
            (LayerTensor::SharedGate | LayerTensor::SharedUp, _) => {
                let rows = self.spec.layers.get(layer)?.mlp.experts()?.shared?.width;
                let before = if tensor == LayerTensor::SharedUp {
                    rows
                } else {
                    0
                };
                let name = self.names.fused_shared?;
                return Some(Candidate::new(name, Rows::Stacked { before, rows }));
            }
            _ => return None,
        };
        let rows = match self.names.interleaved_qkv {
            true => Rows::interleaved(index, 3, shape.heads, shape.head_dim),
            false => Rows::Stacked { before, rows },
        };
        Some(Candidate::new(self.names.fused_qkv, rows))
    }
}
