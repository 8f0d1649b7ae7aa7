//! One decoder for every architecture: a [`ModelSpec`] says what a layer does, a [`Backend`] does it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::draft_head::DraftHead;
use super::eagle::{Eagle, EagleFiles, Host};
use super::language_model::{Extend, LanguageModel, Logits, ModelInfo, SequenceId};
use super::layers::{Layer, Loader, embed};
use super::names::{NamedWeights, Slot};
use super::options::LoadOptions;
use super::spec::{ModelSpec, Residual};
use super::tree::{self, Parents};
use crate::backend::{
    Attention, Backend, Batch, CachePrecision, HostRows, Linear, MAX_TREE_ROWS, Norm, Segment,
};
use crate::error::{Error, Result};

/// Rows computed at once when a prompt is read; bounds the memory of a step.
const LARGEST_STEP: usize = 512;

/// A decoder-only transformer. What it is made of may be another's, too.
pub struct Transformer<B: Backend> {
    spec: ModelSpec,
    backend: Arc<B>,
    embedding: Arc<Linear<B>>,
    positions: Option<Arc<B::Matrix>>,
    layers: Vec<Arc<Layer<B>>>,
    final_norm: Arc<Norm<B>>,
    head: Arc<Linear<B>>,
    sequences: HashMap<SequenceId, Sequence<B>>,
    info: ModelInfo,
    /// How keys and values are kept.
    cache_precision: CachePrecision,
}

/// One sequence's cache and how much of it counts: rolling back is forgetting a number.
struct Sequence<B: Backend> {
    cache: B::KvCache,
    length: usize,
    /// A tree behind the tokens that count: what each of its tokens follows, as bits.
    tree: Vec<u64>,
}

impl<B: Backend> Transformer<B> {
    /// Brings a checkpoint's weights to a backend.
    pub fn load(
        mut spec: ModelSpec,
        backend: B,
        weights: &NamedWeights<'_>,
        options: &LoadOptions,
    ) -> Result<Self> {
        let wanted = options.context_length.unwrap_or(spec.context_length);
        // A table of positions can't be read past its end; rotations can.
        if wanted > spec.context_length && spec.learned_positions {
            let expected = format!("at most {} for this model", spec.context_length);
            return Err(Error::invalid("context_length", wanted, expected));
        }
        if wanted > spec.context_length {
            tracing::warn!(
                "context_length {wanted} is beyond the {} tokens that the model was made for",
                spec.context_length
            );
        }
        let mut loader = Loader::new(&spec, &backend, weights, options.progress.as_ref());
        let hidden = spec.hidden_size;
        let embedding = Arc::new(loader.linear(Slot::Embedding, spec.vocab_size, hidden, false)?);
        let positions = spec
            .learned_positions
            .then(|| loader.positions().map(Arc::new))
            .transpose()?;
        let layers = (0..spec.layers.len())
            .map(|layer| loader.layer(layer).map(Arc::new))
            .collect::<Result<_>>()?;
        let final_norm = Arc::new(loader.norm(Slot::FinalNorm, hidden)?);
        let head = loader.head(&embedding)?;
        let is_quantized = loader.most_common_storage().block_elements() > 1;
        let cache_precision = match options.kv_cache {
            // Whoever keeps weights unquantized wants their precision.
            CachePrecision::Auto if !is_quantized => CachePrecision::F32,
            chosen => chosen,
        };
        // What the device can't keep is refused now, not with the first prompt.
        drop(backend.kv_cache(0, &spec.attention, cache_precision, wanted)?);
        let heads = spec.layers.len() * spec.attention.kv_heads;
        let info = ModelInfo {
            context_length: wanted,
            cache_bytes_per_token: 2 * heads * cache_precision.bytes(spec.attention.head_dim),
            ..loader.info()
        };
        spec.context_length = wanted;
        Ok(Self {
            spec,
            backend: Arc::new(backend),
            embedding,
            positions,
            layers,
            final_norm,
            head,
            sequences: HashMap::new(),
            info,
            cache_precision,
        })
    }

    /// What the model is made of.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The same weights, with these layers alone.
    fn of_layers(&self, layers: &[usize]) -> Result<Self> {
        let known = self.layers.len();
        if let Some(layer) = layers.iter().find(|layer| **layer >= known) {
            let expected = format!("below the number of the model's layers, {known}");
            return Err(Error::invalid("layer", layer, expected));
        }
        let mut spec = self.spec.clone();
        spec.layers = layers
            .iter()
            .map(|layer| self.layers[*layer].spec)
            .collect();
        Ok(Self {
            spec,
            backend: self.backend.clone(),
            embedding: self.embedding.clone(),
            positions: self.positions.clone(),
            layers: layers
                .iter()
                .map(|layer| self.layers[*layer].clone())
                .collect(),
            final_norm: self.final_norm.clone(),
            head: self.head.clone(),
            sequences: HashMap::new(),
            info: ModelInfo {
                // Nothing that the model doesn't hold already.
                bytes: 0,
                ..self.info.clone()
            },
            cache_precision: self.cache_precision,
        })
    }

    /// Runs the rows of one step through all layers; appends the logits of `wanted` rows.
    fn forward(
        &self,
        ids: &[u32],
        batch: Batch<'_>,
        caches: &mut [&mut B::KvCache],
        wanted: &[usize],
        watched: &mut [Watched],
        rows: &mut HostRows,
    ) -> Result<()> {
        let backend = &self.backend;
        let step = backend.begin(batch, &self.spec.ropes)?;
        let mut x = self.embed(ids, batch)?;
        for (index, layer) in self.layers.iter().enumerate() {
            self.watch(index, &x, watched)?;
            let attention = Attention {
                layer: index,
                shape: self.spec.attention,
                window: layer.spec.window,
                rope: layer.spec.rope,
                query_norm: layer.query_norm.as_ref(),
                key_norm: layer.key_norm.as_ref(),
            };
            let projections = [&layer.query, &layer.key, &layer.value];
            let [q, k, v] = backend.project(&x, &layer.attention_norm, projections)?;
            let attended = backend.attention(q, k, v, &attention, caches, &step)?;
            let post_norm = layer.post_attention_norm.as_ref();
            let after_attention = backend.linear_add(&attended, &layer.output, post_norm, &x)?;
            let mlp_input = match self.spec.residual {
                Residual::Sequential => &after_attention,
                Residual::Parallel => &x,
            };
            let activation = self.spec.activation;
            let gate = layer.gate.as_ref();
            let widened = backend.mlp(mlp_input, &layer.mlp_norm, gate, &layer.up, activation)?;
            let post_norm = layer.post_mlp_norm.as_ref();
            x = backend.linear_add(&widened, &layer.down, post_norm, &after_attention)?;
        }
        if watched
            .iter()
            .any(|watched| watched.layer == self.layers.len())
        {
            let last = backend.norm(&x, &self.final_norm)?;
            self.watch(self.layers.len(), &last, watched)?;
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let x = backend.select(&x, wanted)?;
        let [mut logits] = backend.project(&x, &self.final_norm, [&self.head])?;
        if let Some(cap) = self.spec.logit_softcap {
            logits = backend.softcap(logits, cap)?;
        }
        backend.read(logits, rows)
    }

    /// Copies the hidden states that go into a layer, if they are wanted.
    fn watch(&self, layer: usize, x: &B::Activations, watched: &mut [Watched]) -> Result<()> {
        for watched in watched.iter_mut().filter(|watched| watched.layer == layer) {
            let rows = self.backend.select(x, &watched.rows)?;
            self.backend.read(rows, &mut watched.values)?;
        }
        Ok(())
    }

    fn embed(&self, ids: &[u32], batch: Batch<'_>) -> Result<B::Activations> {
        let x = embed(
            &*self.backend,
            &self.embedding,
            self.spec.embedding_scale,
            ids,
        )?;
        match &self.positions {
            None => Ok(x),
            Some(table) => {
                let positions: PerRow<u32> =
                    batch.positions().map(|position| position as u32).collect();
                self.backend
                    .add(&x, &self.backend.embed(table, &positions)?)
            }
        }
    }

    /// Refuses what can't be computed, before anything is changed.
    fn check(&self, batch: &[Extend<'_>]) -> Result<()> {
        for extend in batch {
            if let Some(id) = extend
                .tokens
                .iter()
                .find(|id| **id as usize >= self.spec.vocab_size)
            {
                let expected = format!("below the vocabulary's size, {}", self.spec.vocab_size);
                return Err(Error::invalid("token id", id, expected));
            }
            if extend.rows > extend.tokens.len() {
                let expected = format!("at most the {} tokens appended", extend.tokens.len());
                return Err(Error::invalid("rows", extend.rows, expected));
            }
            let layers = self.layers.len();
            if let Some(layer) = extend.hidden.iter().find(|layer| **layer > layers) {
                let expected = format!("at most the number of layers, {layers}");
                return Err(Error::invalid("hidden", layer, expected));
            }
            extend
                .parents
                .check(extend.tokens.len(), self.max_tree_tokens())?;
            let held = self.sequences.get(&extend.sequence);
            if held.is_some_and(|held| !held.tree.is_empty()) {
                let reason = "the sequence ends in a tree: keep one of its paths, or truncate it";
                return Err(Error::Compute(reason.into()));
            }
            let past = held.map_or(0, |held| held.length);
            let tokens = past + extend.tokens.len();
            if tokens > self.spec.context_length {
                return Err(Error::ContextOverflow {
                    tokens,
                    context_length: self.spec.context_length,
                });
            }
        }
        let mut watched = batch
            .iter()
            .map(|extend| extend.hidden)
            .filter(|hidden| !hidden.is_empty());
        if let Some(first) = watched.next()
            && watched.any(|hidden| hidden != first)
        {
            let reason = "a batch asks for hidden states of different layers";
            return Err(Error::Compute(reason.into()));
        }
        let mut names: PerSequence<SequenceId> =
            batch.iter().map(|extend| extend.sequence).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::Compute(
                "a batch names the same sequence twice".into(),
            ));
        }
        Ok(())
    }

    fn new_sequence(&self) -> Result<Sequence<B>> {
        let (layers, shape) = (self.layers.len(), &self.spec.attention);
        Ok(Sequence {
            cache: self.backend.kv_cache(
                layers,
                shape,
                self.cache_precision,
                self.spec.context_length,
            )?,
            length: 0,
            tree: Vec::new(),
        })
    }

    /// Computes one step's pieces; appends the wanted logits, and fills in the hidden states.
    fn compute(
        &self,
        batch: &[Extend<'_>],
        pieces: &[Piece],
        sequences: &mut [Sequence<B>],
        rows: &mut HostRows,
        hidden: &mut [f32],
    ) -> Result<()> {
        let mut ids = PerRow::<u32>::new();
        let mut wanted = PerRow::<usize>::new();
        let mut segments = PerSequence::<Segment>::new();
        let mut ancestors = PerRow::<u64>::new();
        for piece in pieces {
            let extend = &batch[piece.sequence];
            let first_wanted = extend.tokens.len() - extend.rows;
            let seen = piece.tokens.clone().filter(|token| *token >= first_wanted);
            wanted.extend(seen.map(|token| ids.len() + token - piece.tokens.start));
            segments.push(Segment {
                past: sequences[piece.sequence].length + piece.tokens.start,
                first_row: ids.len(),
                rows: piece.tokens.len(),
                is_tree: extend.parents != Parents::Chain,
            });
            if extend.parents != Parents::Chain {
                ancestors.resize(ids.len(), 0);
                ancestors.extend(extend.parents.ancestors());
            }
            ids.extend_from_slice(&extend.tokens[piece.tokens.clone()]);
        }
        let mut caches: PerSequence<&mut B::KvCache> = sequences
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| pieces.iter().any(|piece| piece.sequence == *index))
            .map(|(_, sequence)| &mut sequence.cache)
            .collect();
        let step = Batch {
            segments: &segments,
            ancestors: &ancestors,
        };
        let mut watched = Watched::of(batch, pieces, &segments);
        self.forward(&ids, step, &mut caches, &wanted, &mut watched, rows)?;
        let size = self.spec.hidden_size;
        for (place, one) in watched.iter().enumerate() {
            for (token, values) in one.tokens.iter().zip(one.values.values().chunks(size)) {
                hidden[(token * watched.len() + place) * size..][..size].copy_from_slice(values);
            }
        }
        Ok(())
    }
}

/// The hidden states of one layer that are wanted of a step.
struct Watched {
    layer: usize,
    /// Rows of the step, and which they are of the batch's tokens whose hidden states are wanted.
    rows: Vec<usize>,
    tokens: Vec<usize>,
    values: HostRows,
}

impl Watched {
    fn of(batch: &[Extend<'_>], pieces: &[Piece], segments: &[Segment]) -> Vec<Self> {
        let (mut rows, mut tokens) = (Vec::new(), Vec::new());
        let mut layers: &[usize] = &[];
        for (piece, segment) in pieces.iter().zip(segments) {
            let extend = &batch[piece.sequence];
            if !extend.hidden.is_empty() {
                layers = extend.hidden;
                let before = watched_tokens(&batch[..piece.sequence]);
                tokens.extend(piece.tokens.clone().map(|token| before + token));
                rows.extend(segment.first_row..segment.first_row + segment.rows);
            }
        }
        let layers = layers.iter().map(|layer| Self {
            layer: *layer,
            rows: rows.clone(),
            tokens: tokens.clone(),
            values: HostRows::default(),
        });
        layers.collect()
    }
}

/// How many tokens' hidden states are wanted.
fn watched_tokens(batch: &[Extend<'_>]) -> usize {
    let watched = batch.iter().filter(|extend| !extend.hidden.is_empty());
    watched.map(|extend| extend.tokens.len()).sum()
}

/// What a step needs for each of its rows; on the stack, while they are as few as when decoding.
type PerRow<T> = SmallVec<[T; 32]>;
/// What a step needs for each of its sequences.
type PerSequence<T> = SmallVec<[T; 8]>;

/// A run of tokens of one sequence of a batch that is computed in one step.
struct Piece {
    /// Index into the batch.
    sequence: usize,
    /// Indices into the tokens to append.
    tokens: Range<usize>,
}

/// The pieces of one step.
type Pieces = PerSequence<Piece>;

/// Cuts a batch into steps and computes them; a sequence appears once in a step.
///
/// What a sequence gets doesn't depend on its company, where the backend can do so. So rows whose logits are wanted are
/// computed few enough at a time to be exact; and those before them, unless larger steps are as good, as many as memory
/// allows, but apart from other sequences.
fn for_each_step(
    batch: &[Extend<'_>],
    exact_rows: usize,
    mut compute: impl FnMut(&[Piece]) -> Result<()>,
) -> Result<()> {
    // A tree is computed at once, and is small.
    let first_shared = |extend: &Extend<'_>| match extend.parents {
        Parents::Chain if exact_rows < LARGEST_STEP => extend.tokens.len() - extend.rows,
        Parents::Chain | Parents::Tree(_) => 0,
    };
    for (sequence, extend) in batch.iter().enumerate() {
        let end = first_shared(extend);
        for start in (0..end).step_by(LARGEST_STEP) {
            let tokens = start..end.min(start + LARGEST_STEP);
            compute(&[Piece { sequence, tokens }])?;
        }
    }
    let largest_step = LARGEST_STEP.min(exact_rows);
    let (mut pieces, mut room) = (Pieces::new(), largest_step);
    for (sequence, extend) in batch.iter().enumerate() {
        let mut rest = first_shared(extend)..extend.tokens.len();
        while !rest.is_empty() {
            let least = match extend.parents {
                Parents::Chain => 1,
                Parents::Tree(_) => rest.len(),
            };
            if room < least {
                compute(&pieces)?;
                (pieces, room) = (Pieces::new(), largest_step);
            }
            let tokens = rest.start..rest.end.min(rest.start.saturating_add(room));
            room -= tokens.len();
            rest.start = tokens.end;
            pieces.push(Piece { sequence, tokens });
        }
    }
    if pieces.is_empty() {
        return Ok(());
    }
    compute(&pieces)
}

impl<B: Backend> LanguageModel for Transformer<B> {
    fn vocab_size(&self) -> usize {
        self.spec.vocab_size
    }

    fn context_length(&self) -> usize {
        self.spec.context_length
    }

    fn extend(&mut self, batch: &[Extend<'_>], logits: &mut Logits) -> Result<()> {
        self.check(batch)?;
        for extend in batch {
            if !self.sequences.contains_key(&extend.sequence) {
                let begun = self.new_sequence()?;
                self.sequences.insert(extend.sequence, begun);
            }
        }
        let taken = batch
            .iter()
            .filter_map(|extend| self.sequences.remove(&extend.sequence));
        let mut sequences: PerSequence<Sequence<B>> = taken.collect();
        let layers = batch.iter().map(|extend| extend.hidden.len()).max();
        let width = layers.unwrap_or(0) * self.spec.hidden_size;
        let (rows, hidden) = logits.parts_mut(watched_tokens(batch), width);
        let result = for_each_step(batch, self.backend.batch_invariant_rows(), |pieces| {
            self.compute(batch, pieces, &mut sequences, rows, hidden)
        });
        for (extend, mut sequence) in batch.iter().zip(sequences) {
            // What a failed step wrote lies past the length, where nothing reads it.
            match extend.parents {
                _ if result.is_err() => {}
                Parents::Chain => sequence.length += extend.tokens.len(),
                tree @ Parents::Tree(_) => sequence.tree.extend(tree.ancestors()),
            }
            self.sequences.insert(extend.sequence, sequence);
        }
        result
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) -> Result<()> {
        match self.sequences.get_mut(&sequence) {
            Some(held) if length <= held.length => {
                held.length = length;
                held.tree.clear();
            }
            None if length == 0 => {}
            held => {
                let held = held.map_or(0, |held| held.length);
                let expected = format!("at most the {held} tokens held");
                return Err(Error::invalid("length", length, expected));
            }
        }
        Ok(())
    }

    fn max_tree_tokens(&self) -> usize {
        MAX_TREE_ROWS.min(self.backend.batch_invariant_rows())
    }

    fn accept(&mut self, sequence: SequenceId, path: &[usize]) -> Result<()> {
        let Some(held) = self.sequences.get_mut(&sequence) else {
            return tree::check_path(&[], path);
        };
        tree::check_path(&held.tree, path)?;
        self.backend.accept(&mut held.cache, held.length, path)?;
        held.length += path.len();
        held.tree.clear();
        Ok(())
    }

    fn can_fork(&self) -> bool {
        true
    }

    fn fork(&mut self, sequence: SequenceId, copy: SequenceId, length: usize) -> Result<()> {
        let Some(original) = self.sequences.get(&sequence) else {
            return Ok(());
        };
        let length = length.min(original.length);
        let forked = Sequence {
            cache: self.backend.fork(&original.cache, length)?,
            length,
            tree: Vec::new(),
        };
        self.sequences.insert(copy, forked);
        Ok(())
    }

    fn free(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }

    fn with_layers(&self, layers: &[usize]) -> Result<Box<dyn LanguageModel>> {
        Ok(Box::new(self.of_layers(layers)?))
    }

    fn draft_head(&self, files: &EagleFiles) -> Result<Arc<dyn DraftHead>> {
        let host = Host {
            spec: &self.spec,
            backend: &self.backend,
            embedding: &self.embedding,
            head: &self.head,
        };
        Ok(Arc::new(Eagle::load(files, &host)?))
    }

    fn info(&self) -> ModelInfo {
        self.info.clone()
    }
}
