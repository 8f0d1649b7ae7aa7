//! A family's row and a file's keys to a [`ModelSpec`].

use super::keys::{self, Half, KeyReader, LayerHeads, RopeFor};
use super::preset::{
    AttentionScale, DenseMlp, EmbeddingScale, ExpertsPreset, LogitScale, Positions, Preset,
    RecurrentKind, SharedExpert, StateSpacePreset,
};
use super::spec::{
    AttentionSpec, DeltaNetSpec, KeyValueSource, LatentSpec, LayerInputsSpec, LayerSpec, MixerSpec,
    ModelSpec, ShortConvSpec, StateSpaceFactors, StateSpaceSpec, StreamsSpec,
};
use super::variants::{
    Biases, ExpertGroups, ExpertsSpec, MlpSpec, QueryKeyNorm, Residual, RouterSpec,
    SharedExpertSpec,
};
use crate::backend::{AttentionShape, Gating, NormKind, Rope};
use crate::error::{Error, Result};

/// The specification of one model of a family.
pub(super) fn build(keys: &impl KeyReader, preset: &'static Preset) -> Result<ModelSpec> {
    Builder { keys, preset }.spec()
}

struct Builder<'a, K: KeyReader> {
    keys: &'a K,
    preset: &'static Preset,
}

impl<K: KeyReader> Builder<'_, K> {
    fn spec(&self) -> Result<ModelSpec> {
        let (keys, preset) = (self.keys, self.preset);
        let hidden_size = keys.required(&keys::HIDDEN_SIZE)?;
        let prediction_layers = self.count(&keys::PREDICTION_LAYERS)?.unwrap_or(0);
        let layers = self.layer_count(prediction_layers)?;
        let context_length = keys.required(&keys::CONTEXT_LENGTH)?;
        let attention = self.attention(hidden_size, layers)?;
        let experts = self.experts()?;
        let layers = self.layers(layers, hidden_size, attention, experts)?;
        self.check_heads(&layers)?;
        let norm = self.norm()?;
        Ok(ModelSpec {
            family: preset,
            vocab_size: keys
                .vocab_size()?
                .ok_or_else(|| keys.missing(&keys::VOCAB_SIZE))?,
            hidden_size,
            context_length,
            ropes: self.ropes(&layers, attention, context_length)?,
            layers,
            prediction_layers,
            norm,
            after_norm: self.after_norm(norm)?,
            norm_placement: preset.norm_placement,
            query_key_norm: self.query_key_norm()?,
            value_norm: preset.value_norm,
            attention_gate: preset.attention_gate,
            attention_sinks: preset.attention_sinks,
            activation: keys.activation()?.unwrap_or(preset.activation),
            residual: match keys.flag(&keys::PARALLEL_RESIDUAL) {
                Some(false) => Residual::Sequential,
                _ => preset.residual,
            },
            residual_scale: match preset.has_residual_scale {
                true => keys.number(&keys::RESIDUAL_SCALE)?.unwrap_or(1.0) as f32,
                false => 1.0,
            },
            mlp_scales: keys.factors::<2>("mlp_multipliers")?,
            learned_positions: preset.positions == Positions::Learned,
            biases: match (preset.biases, keys.flag(&keys::ATTENTION_BIAS)) {
                (Biases::All, Some(false)) => Biases::AsStored,
                (biases, _) => biases,
            },
            embedding_scale: match preset.embedding_scale {
                EmbeddingScale::None => 1.0,
                EmbeddingScale::RootOfHidden => (hidden_size as f32).sqrt(),
                EmbeddingScale::Stated => {
                    keys.number(&keys::EMBEDDING_SCALE)?.unwrap_or(1.0) as f32
                }
            },
            embedding_norm: preset.embedding_norm,
            layer_inputs: self.layer_inputs()?,
            streams: self.streams()?,
            layer_scales: preset.layer_scales,
            logit_scale: self.logit_scale()?,
            logit_softcap: keys.cap(&keys::LOGIT_SOFTCAP, preset.logit_softcap)?,
            tied_head: keys.flag(&keys::TIED_HEAD),
        })
    }

    /// Refuses layers whose heads differ where they share rotary embeddings, or keys and values.
    fn check_heads(&self, layers: &[LayerSpec]) -> Result<()> {
        let shapes = |layer: usize| Some(layers.get(layer)?.mixer.attention()?.shape);
        let attentions = || layers.iter().filter_map(|layer| layer.mixer.attention());
        for attention in attentions() {
            let shape = attention.shape;
            let first = attentions().find(|other| other.rope == attention.rope);
            let differs = attention.rope.is_some()
                && first.is_some_and(|first| first.shape.head_dim != shape.head_dim);
            if differs {
                let expected = "the same in all layers with the same rotary embedding";
                return Err(self.keys.wrong(&keys::HEAD_DIM, expected, &shape.head_dim));
            }
            let KeyValueSource::Layer(lender) = attention.source else {
                continue;
            };
            let lent = shapes(lender).map(|shape| (shape.head_dim, shape.kv_heads));
            if lent != Some((shape.head_dim, shape.kv_heads)) {
                let expected = "as many as in the layer whose keys and values are used";
                return Err(self.keys.wrong(&keys::KV_HEADS, expected, &shape.kv_heads));
            }
        }
        Ok(())
    }

    /// A positive integer, or none where the file says zero.
    fn count(&self, key: &keys::Key) -> Result<Option<usize>> {
        match self.keys.is_zero(key) {
            true => Ok(None),
            false => self.keys.size(key),
        }
    }

    fn layer_count(&self, prediction_layers: usize) -> Result<usize> {
        let listed = match self.preset.half_layers {
            true => self.keys.listed_layers().filter(|layers| *layers > 0),
            false => None,
        };
        let mut layers = self.keys.size_or(&keys::LAYERS, listed)?;
        if self.keys.counts_prediction_layers() {
            if prediction_layers >= layers {
                let expected = format!("less than the {layers} layers");
                let key = &keys::PREDICTION_LAYERS;
                return Err(self.keys.wrong(key, &expected, &prediction_layers));
            }
            layers -= prediction_layers;
        }
        if layers > keys::MAX_LAYERS {
            let expected = format!("at most {}", keys::MAX_LAYERS);
            return Err(self.keys.wrong(&keys::LAYERS, &expected, &layers));
        }
        Ok(layers)
    }

    fn attention(&self, hidden_size: usize, layers: usize) -> Result<AttentionShape> {
        let keys = self.keys;
        let heads = keys.required(&keys::HEADS)?;
        let kv_heads = match self.preset.heads_by_sliding {
            true => keys.layer_size(&keys::KV_HEADS, 0, layers)?,
            false => keys.size(&keys::KV_HEADS)?,
        };
        let kv_heads = kv_heads.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            let expected = format!("a divisor of the {heads} query heads");
            return Err(keys.wrong(&keys::KV_HEADS, &expected, &kv_heads));
        }
        let share = hidden_size / heads;
        let head_dim = keys.size_or(&keys::HEAD_DIM, Some(share))?;
        if !head_dim.is_multiple_of(2) {
            return Err(keys.wrong(&keys::HEAD_DIM, "an even number", &head_dim));
        }
        keys.check(self.preset, head_dim)?;
        let inverse_root = |width: f64| width.powf(-0.5);
        let scale = match self.preset.attention_scale {
            AttentionScale::HeadDim => inverse_root(head_dim as f64),
            AttentionScale::QueryScalar { largest } => {
                inverse_root(keys.query_scalar(head_dim, share, layers == largest)?)
            }
            AttentionScale::Stated => keys
                .number(&keys::ATTENTION_SCALE)?
                .unwrap_or(inverse_root(head_dim as f64)),
            AttentionScale::One => 1.0,
        };
        Ok(AttentionShape {
            heads,
            kv_heads,
            head_dim,
            scale: match keys.flag(&keys::SCALED_ATTENTION) {
                Some(false) => 1.0,
                _ => scale as f32,
            },
            softcap: keys.cap(&keys::ATTENTION_SOFTCAP, self.preset.attention_softcap)?,
        })
    }

    /// The width of a layer's MLP without experts.
    fn mlp_width(
        &self,
        layer: usize,
        layers: usize,
        hidden_size: usize,
        experts: Option<ExpertsSpec>,
    ) -> Result<usize> {
        let default = self.preset.mlp_ratio.map(|ratio| ratio * hidden_size);
        let key = &keys::INTERMEDIATE_SIZE;
        // Where no layer has experts, what stands beside them elsewhere is the MLP (Granite 4).
        let beside = self
            .preset
            .experts
            .filter(|own| own.shared == SharedExpert::Ungated);
        let shared = match (beside, experts) {
            (Some(_), None) => self.keys.size(&keys::SHARED_EXPERT_WIDTH)?,
            _ => None,
        };
        let stated = match shared {
            None => self.keys.layer_size(key, layer, layers)?,
            shared => shared,
        };
        let width = stated.or(default).ok_or_else(|| self.keys.missing(key))?;
        match self.preset.adjusted_width {
            true => self.keys.adjusted(width),
            false => Ok(width),
        }
    }

    /// How many of the last layers use the keys and values of earlier ones.
    fn sharing_layers(&self, layers: usize) -> Result<usize> {
        let key = &keys::SHARED_KEYS;
        if !self.preset.may_share_keys || self.keys.says_none(key) {
            return Ok(0);
        }
        let sharing = self.count(key)?.unwrap_or(0);
        if sharing >= layers {
            let expected = format!("less than the {layers} layers");
            return Err(self.keys.wrong(key, &expected, &sharing));
        }
        Ok(sharing)
    }

    fn layer_inputs(&self) -> Result<Option<LayerInputsSpec>> {
        let key = &keys::LAYER_INPUTS;
        if !self.preset.may_have_layer_inputs || self.keys.says_none(key) {
            return Ok(None);
        }
        let Some(width) = self.count(key)? else {
            return Ok(None);
        };
        let vocab_size = self.keys.layer_inputs_vocab()?;
        let vocab_size = vocab_size.ok_or_else(|| self.keys.missing(&keys::LAYER_INPUTS_VOCAB))?;
        Ok(Some(LayerInputsSpec { width, vocab_size }))
    }

    fn streams(&self) -> Result<Option<StreamsSpec>> {
        if !self.preset.streams {
            return Ok(None);
        }
        let count = self.keys.size_or(&keys::STREAMS, Some(4))?;
        if !(2..=keys::MAX_STREAMS).contains(&count) {
            let expected = format!("2 to {}", keys::MAX_STREAMS);
            return Err(self.keys.wrong(&keys::STREAMS, &expected, &count));
        }
        let rank = self.keys.laurel_rank().or(Some(64));
        Ok(Some(StreamsSpec {
            count,
            laurel_rank: self.keys.size_or(&keys::LAUREL_RANK, rank)?,
        }))
    }

    /// The heads of a layer's attention.
    fn shape_of(
        &self,
        of_model: AttentionShape,
        layer: usize,
        slides: bool,
    ) -> Result<AttentionShape> {
        let mut shape = of_model;
        if self.keys.flag(&keys::SCALED_BY_LAYER) == Some(true) {
            shape.scale /= (layer + 1) as f32;
        }
        if self.preset.heads_by_sliding {
            let LayerHeads { head_dim, kv_heads } = self.keys.heads_of(layer, slides)?;
            shape.head_dim = head_dim.unwrap_or(shape.head_dim);
            shape.kv_heads = kv_heads.unwrap_or(shape.kv_heads);
            if !shape.heads.is_multiple_of(shape.kv_heads) {
                let expected = format!("a divisor of the {} query heads", shape.heads);
                let found = shape.kv_heads;
                return Err(self.keys.wrong(&keys::KV_HEADS, &expected, &found));
            }
            if !shape.head_dim.is_multiple_of(2) {
                let found = shape.head_dim;
                return Err(self.keys.wrong(&keys::HEAD_DIM, "an even number", &found));
            }
        }
        Ok(shape)
    }

    /// The mixtures of experts of the layers that have them.
    fn experts(&self) -> Result<Option<ExpertsSpec>> {
        let Some(preset) = &self.preset.experts else {
            return Ok(None);
        };
        let keys = self.keys;
        if self.preset.may_lack_experts && self.count(&keys::EXPERTS)?.is_none() {
            return Ok(None);
        }
        if self.count(&keys::LATENT_SIZE)?.is_some() {
            let expected = "none: experts on a narrower stream are not supported";
            return Err(keys.wrong(&keys::LATENT_SIZE, expected, &"stated"));
        }
        let count = keys.required(&keys::EXPERTS)?;
        if count > keys::MAX_EXPERTS {
            let expected = format!("at most {}", keys::MAX_EXPERTS);
            return Err(keys.wrong(&keys::EXPERTS, &expected, &count));
        }
        let chosen = keys.required(&keys::CHOSEN_EXPERTS)?;
        if chosen > count {
            let expected = format!("at most the {count} experts");
            return Err(keys.wrong(&keys::CHOSEN_EXPERTS, &expected, &chosen));
        }
        let width = match keys.size(&keys::EXPERT_WIDTH)? {
            Some(width) => width,
            None => keys.required(&keys::INTERMEDIATE_SIZE)?,
        };
        let normalized = match preset.states_normalized {
            true => keys.flag(&keys::NORMALIZED_EXPERTS),
            false => None,
        };
        let scale = match preset.states_scale {
            true => keys.number(&keys::ROUTER_SCALE)?,
            false => None,
        };
        Ok(Some(ExpertsSpec {
            count,
            chosen,
            width,
            is_gated: preset.gated,
            router: RouterSpec {
                scores: preset.scores,
                biased: keys.flag(&keys::BIASED_ROUTER).unwrap_or(preset.biased),
                normalized: normalized
                    .unwrap_or(preset.normalized)
                    .then_some(preset.epsilon),
                scale: scale.unwrap_or(1.0) as f32,
                groups: self.expert_groups(count, chosen)?,
                is_normed: preset.beside_dense,
            },
            gating: match preset.gating {
                Some(Gating::Clamped { limit, alpha }) => {
                    let number = |key, default| {
                        let number = keys.number(key)?.map(|number| number as f32);
                        Ok::<_, Error>(number.unwrap_or(default))
                    };
                    Some(Gating::Clamped {
                        limit: number(&keys::EXPERT_LIMIT, limit)?,
                        alpha: number(&keys::EXPERT_ALPHA, alpha)?,
                    })
                }
                product => product,
            },
            shared: self.shared_expert(preset, width)?,
        }))
    }

    fn shared_expert(
        &self,
        preset: &ExpertsPreset,
        width: usize,
    ) -> Result<Option<SharedExpertSpec>> {
        match preset.shared {
            SharedExpert::None => Ok(None),
            kind @ (SharedExpert::Gated | SharedExpert::Ungated) => Ok(Some(SharedExpertSpec {
                width: self.keys.required(&keys::SHARED_EXPERT_WIDTH)?,
                is_gated: kind == SharedExpert::Gated,
            })),
            SharedExpert::Times => {
                if self.keys.says_none(&keys::SHARED_EXPERTS) {
                    return Ok(None);
                }
                let times = self.keys.required(&keys::SHARED_EXPERTS)?;
                if times > keys::MAX_EXPERTS {
                    let expected = format!("at most {}", keys::MAX_EXPERTS);
                    return Err(self.keys.wrong(&keys::SHARED_EXPERTS, &expected, &times));
                }
                Ok(Some(SharedExpertSpec {
                    width: times * width,
                    is_gated: false,
                }))
            }
        }
    }

    /// The groups that a token's experts lie in, of families whose experts may be grouped.
    fn expert_groups(&self, experts: usize, chosen: usize) -> Result<Option<ExpertGroups>> {
        let groups = self.keys.size(&keys::EXPERT_GROUPS)?.unwrap_or(1);
        if groups == 1 {
            return Ok(None);
        }
        if !experts.is_multiple_of(groups) {
            let expected = format!("a divisor of the {experts} experts");
            return Err(self.keys.wrong(&keys::EXPERT_GROUPS, &expected, &groups));
        }
        let of_groups = self.keys.required(&keys::CHOSEN_GROUPS)?;
        if of_groups > groups || of_groups * (experts / groups) < chosen {
            let expected = format!("at most {groups}, with at least {chosen} experts in them");
            return Err(self.keys.wrong(&keys::CHOSEN_GROUPS, &expected, &of_groups));
        }
        Ok(Some(ExpertGroups {
            count: groups,
            chosen: of_groups,
        }))
    }

    /// The kind of norms on what mixer and MLP return.
    fn after_norm(&self, norm: NormKind) -> Result<NormKind> {
        let stated = self.keys.number(&keys::AFTER_EPSILON)?;
        let stated = stated.map(|epsilon| epsilon as f32);
        Ok(match (norm, self.preset.after_epsilon) {
            (NormKind::Rms(_), Some(default)) => NormKind::Rms(stated.unwrap_or(default)),
            (NormKind::Layer(_), Some(default)) => NormKind::Layer(stated.unwrap_or(default)),
            (norm, None) => norm,
        })
    }

    fn query_key_norm(&self) -> Result<QueryKeyNorm> {
        Ok(match self.preset.query_key_norm {
            _ if self.preset.may_lack_query_key_norm && self.keys.lacks_query_key_norm() => {
                QueryKeyNorm::None
            }
            // Converters make weights of the factor.
            QueryKeyNorm::Unweighted { .. } if self.keys.is_converted() => QueryKeyNorm::PerHead,
            QueryKeyNorm::Unweighted { query } => {
                let stated = self.keys.number(&keys::QUERY_NORM_FACTOR)?;
                QueryKeyNorm::Unweighted {
                    query: stated.map_or(query, |factor| factor as f32),
                }
            }
            norm => norm,
        })
    }

    fn logit_scale(&self) -> Result<f32> {
        let kind = self.preset.logit_scale;
        let is_folded = kind == LogitScale::Folded && self.keys.is_converted();
        if kind == LogitScale::None || is_folded {
            return Ok(1.0);
        }
        let stated = self.keys.number(&keys::LOGIT_SCALE)?;
        let scale = stated.ok_or_else(|| self.keys.missing(&keys::LOGIT_SCALE))?;
        Ok(match kind {
            LogitScale::Divisor => (1.0 / scale) as f32,
            LogitScale::Factor | LogitScale::Folded | LogitScale::None => scale as f32,
        })
    }

    fn norm(&self) -> Result<NormKind> {
        Ok(match self.preset.norm {
            NormKind::Rms(default) => {
                let epsilon = self.keys.number(&keys::RMS_EPSILON)?;
                NormKind::Rms(epsilon.map_or(default, |epsilon| epsilon as f32))
            }
            NormKind::Layer(default) => {
                let epsilon = self.keys.number(&keys::LAYER_EPSILON)?;
                NormKind::Layer(epsilon.map_or(default, |epsilon| epsilon as f32))
            }
        })
    }

    /// In a family with two, that of the sliding layers comes first.
    fn ropes(
        &self,
        layers: &[LayerSpec],
        attention: AttentionShape,
        context_length: usize,
    ) -> Result<Vec<Rope>> {
        let which: &[RopeFor] = match self.preset.positions {
            Positions::Learned | Positions::Unstated => &[],
            Positions::Rotary
            | Positions::RotaryButEvery(_)
            | Positions::RotaryIfSliding
            | Positions::RotaryIfStated => &[RopeFor::Full],
            Positions::RotaryBySliding | Positions::RotaryStretchedUnlessSliding => {
                &[RopeFor::Sliding, RopeFor::Full]
            }
        };
        let head_dim = |rope: usize| {
            let mut attentions = layers.iter().filter_map(|layer| layer.mixer.attention());
            let layer = attentions.find(|layer| layer.rope == Some(rope));
            let of_latent = layers.iter().find_map(|layer| layer.mixer.latent());
            match (layer, of_latent) {
                (Some(layer), _) => layer.shape.head_dim,
                (None, Some(latent)) => latent.rotary_dim,
                (None, None) => attention.head_dim,
            }
        };
        let rope = |(index, rope_for): (usize, &RopeFor)| {
            let (keys, preset) = (self.keys, self.preset);
            let head_dim = head_dim(index);
            let rope = keys.rope(*rope_for, preset, head_dim, context_length)?;
            if !(rope.theta.is_finite() && rope.theta > 1.0) {
                return Err(keys.wrong(rope_for.theta(), "a number above 1", &rope.theta));
            }
            let pairing = keys.pairing(preset);
            Ok(Rope {
                growth: rope.growth,
                ..rope.scaling.rope(rope.dims, rope.theta, pairing)
            })
        };
        which.iter().enumerate().map(rope).collect()
    }

    fn layers(
        &self,
        layers: usize,
        hidden_size: usize,
        attention: AttentionShape,
        experts: Option<ExpertsSpec>,
    ) -> Result<Vec<LayerSpec>> {
        let (keys, preset) = (self.keys, self.preset);
        let slides = (0..layers).map(|layer| keys.slides(layer, layers, preset));
        let slides: Vec<bool> = slides.collect::<Result<_>>()?;
        let window = match slides.contains(&true) {
            true => self.window()?,
            false => None,
        };
        let first_sharing = layers - self.sharing_layers(layers)?;
        let source = |layer: usize| {
            if layer < first_sharing {
                let one = preset.heads_by_sliding && keys.has_one_projection(layer, slides[layer]);
                return Ok(match one {
                    true => KeyValueSource::OneProjection,
                    false => KeyValueSource::Projections,
                });
            }
            let lender = (0..first_sharing).rfind(|lender| slides[*lender] == slides[layer]);
            let lender = lender.ok_or_else(|| {
                let expected = "so few that a layer of the same type is before them";
                keys.wrong(&keys::SHARED_KEYS, expected, &(layers - first_sharing))
            });
            lender.map(KeyValueSource::Layer)
        };
        let latent = match preset.latent {
            true => Some(self.latent(attention.heads)?),
            false => None,
        };
        let attention_of = |layer: usize| {
            let slides = slides[layer];
            Ok::<_, Error>(AttentionSpec {
                shape: self.shape_of(attention, layer, slides)?,
                window: window.filter(|_| slides),
                rope: self.rope_of(layer, slides, window.is_some())?,
                source: source(layer)?,
                output_scale: 1.0,
            })
        };
        let mlp_of = |layer: usize, has_experts: bool| {
            let width = || -> Result<usize> {
                let width = self.mlp_width(layer, layers, hidden_size, experts)?;
                let is_doubled = layer >= first_sharing && keys.doubles_mlps();
                Ok(if is_doubled { 2 * width } else { width })
            };
            Ok::<_, Error>(match (experts.filter(|_| has_experts), preset.mlp) {
                (Some(experts), _) if experts.router.is_normed => {
                    let width = width()?;
                    MlpSpec::GatedAndExperts { width, experts }
                }
                (Some(experts), _) => MlpSpec::Experts(experts),
                (None, DenseMlp::Gated) => {
                    let width = width()?;
                    let deviations = match preset.streams {
                        true => keys.gate_deviations(layer, layers)?,
                        false => None,
                    };
                    deviations.map_or(MlpSpec::Gated { width }, |deviations| {
                        MlpSpec::SparseGated { width, deviations }
                    })
                }
                (None, DenseMlp::Plain) => MlpSpec::Plain { width: width()? },
            })
        };
        let layer = |layer: usize| {
            if preset.half_layers {
                let half = keys.half(layer, layers)?;
                let mixer = match half {
                    Half::Recurrent => self.recurrent(preset.recurrent, hidden_size)?,
                    Half::Attention => MixerSpec::Attention(attention_of(layer)?),
                    Half::Mlp | Half::Experts => MixerSpec::None,
                };
                let mlp = match half {
                    Half::Mlp | Half::Experts => mlp_of(layer, half == Half::Experts)?,
                    Half::Recurrent | Half::Attention => MlpSpec::None,
                };
                return Ok(LayerSpec { mixer, mlp });
            }
            let mixer = match (latent, preset.recurrent) {
                (Some(latent), _) => MixerSpec::Latent(latent),
                (None, Some(RecurrentKind::StateSpace(space))) if space.beside_attention => {
                    self.side_by_side(attention_of(layer)?, space, hidden_size)?
                }
                (None, Some(kind)) if keys.is_recurrent(layer, layers)? => {
                    self.recurrent(Some(kind), hidden_size)?
                }
                _ => MixerSpec::Attention(attention_of(layer)?),
            };
            let has_experts = experts.is_some() && keys.has_experts(layer, layers)?;
            let mlp = mlp_of(layer, has_experts)?;
            Ok(LayerSpec { mixer, mlp })
        };
        (0..layers).map(layer).collect()
    }

    /// The rotary embedding of a layer; `has_windows`: whether those that slide have a window.
    fn rope_of(&self, layer: usize, slides: bool, has_windows: bool) -> Result<Option<usize>> {
        let is_stated = self.preset.positions == Positions::RotaryIfStated;
        let stated = || match self.keys.is_converted() && !is_stated {
            // There, the key has another meaning.
            true => Ok(None),
            false => self.keys.states_rotated(layer),
        };
        let one = |is_rotated: bool| is_rotated.then_some(0);
        Ok(match self.preset.positions {
            Positions::Learned | Positions::Unstated => None,
            Positions::Rotary => Some(0),
            Positions::RotaryIfStated => one(stated()?.unwrap_or(self.keys.is_converted())),
            Positions::RotaryBySliding => Some(usize::from(!slides)),
            Positions::RotaryStretchedUnlessSliding => Some(usize::from(!(slides && has_windows))),
            Positions::RotaryButEvery(n) => {
                one(stated()?.unwrap_or(!(layer + 1).is_multiple_of(n)))
            }
            Positions::RotaryIfSliding => one(stated()?.unwrap_or(slides || !has_windows)),
        })
    }

    fn recurrent(&self, kind: Option<RecurrentKind>, hidden_size: usize) -> Result<MixerSpec> {
        match kind {
            None => Ok(MixerSpec::None),
            Some(RecurrentKind::ShortConv) => {
                let taps = self.taps(&keys::CONVOLVED)?;
                Ok(MixerSpec::ShortConv(ShortConvSpec { taps }))
            }
            Some(RecurrentKind::DeltaNet { is_reordered }) => {
                let is_grouped = !(is_reordered && self.keys.is_converted());
                self.delta_net(is_grouped).map(MixerSpec::DeltaNet)
            }
            Some(RecurrentKind::StateSpace(preset)) => {
                let space = self.state_space(preset, hidden_size)?;
                Ok(MixerSpec::StateSpace(space))
            }
        }
    }

    /// Attention and a state space on the same input, with a factor on each (Falcon-H1).
    fn side_by_side(
        &self,
        mut attention: AttentionSpec,
        preset: StateSpacePreset,
        hidden_size: usize,
    ) -> Result<MixerSpec> {
        let factor = |name| self.keys.factors::<1>(name).map(|[factor]| factor);
        // A factor on keys, and one on all that is attended with, are factors on scores and values.
        let input = factor("attention_in_multiplier")?;
        let is_one = |factor: f32| factor.to_bits() == 1.0_f32.to_bits();
        let is_biased = self.keys.flag(&keys::ATTENTION_BIAS) == Some(true);
        if is_biased && !(is_one(input) && is_one(factor("key_multiplier")?)) {
            let expected = "false where queries and keys have factors";
            return Err(self.keys.wrong(&keys::ATTENTION_BIAS, expected, &true));
        }
        attention.shape.scale *= factor("key_multiplier")? * input * input;
        attention.output_scale = factor("attention_out_multiplier")? * input;
        let mut space = self.state_space(preset, hidden_size)?;
        let input = factor("ssm_in_multiplier")?;
        let parts = self.keys.factors::<5>("ssm_multipliers")?;
        space.factors = StateSpaceFactors {
            parts: parts.map(|part| part * input),
            output: factor("ssm_out_multiplier")?,
        };
        Ok(MixerSpec::AttentionAndStateSpace(attention, space))
    }

    fn state_space(&self, preset: StateSpacePreset, hidden_size: usize) -> Result<StateSpaceSpec> {
        let keys = self.keys;
        let heads = keys.required(&keys::SPACE_HEADS)?;
        let groups = keys.size_or(&keys::SPACE_GROUPS, Some(1))?;
        if !heads.is_multiple_of(groups) {
            let expected = format!("a divisor of the {heads} heads");
            return Err(keys.wrong(&keys::SPACE_GROUPS, &expected, &groups));
        }
        let head_dim = match keys.size(&keys::SPACE_HEAD_DIM)? {
            Some(dim) => dim,
            None => {
                let expanded = keys.size_or(&keys::SPACE_EXPANSION, Some(2))?;
                let expanded = expanded.saturating_mul(hidden_size);
                let all = keys.size(&keys::DELTA_INNER)?.unwrap_or(expanded);
                if !all.is_multiple_of(heads) {
                    let expected = format!("a divisor of the {all} elements of all heads");
                    return Err(keys.wrong(&keys::SPACE_HEADS, &expected, &heads));
                }
                all / heads
            }
        };
        let state_dim = keys.required(&keys::SPACE_STATE)?;
        let state = heads
            .checked_mul(head_dim)
            .and_then(|inner| inner.checked_mul(state_dim));
        let shared = groups.checked_mul(state_dim);
        let largest = shared.and_then(|shared| Some(shared.max(state?)));
        if largest.is_none_or(|largest| largest > keys::MAX_SIZE as usize) {
            let expected = format!("heads with a state of at most {} elements", keys::MAX_SIZE);
            return Err(keys.wrong(&keys::SPACE_HEADS, &expected, &heads));
        }
        Ok(StateSpaceSpec {
            heads,
            head_dim,
            groups,
            state_dim,
            taps: self.taps(&keys::SPACE_TAPS)?,
            finish: keys.state_space_finish(preset),
            norm_parts: if preset.norm_by_group { groups } else { 1 },
            step_limits: keys.step_limits()?,
            factors: StateSpaceFactors::ONE,
        })
    }

    /// Attention over compressed keys and values.
    fn latent(&self, heads: usize) -> Result<LatentSpec> {
        let keys = self.keys;
        let query_rank = match keys.says_none(&keys::QUERY_RANK) {
            true => None,
            false => keys.size(&keys::QUERY_RANK)?,
        };
        let rotary_dim = keys.required(&keys::ROTARY_DIM)?;
        let plain_dim = match keys.size(&keys::PLAIN_DIM)? {
            Some(dim) => dim,
            None => {
                let whole = keys.required(&keys::WHOLE_DIM)?;
                whole
                    .checked_sub(rotary_dim)
                    .filter(|dim| *dim > 0)
                    .ok_or_else(|| {
                        let expected = format!("more than the {rotary_dim} that are rotated");
                        keys.wrong(&keys::WHOLE_DIM, &expected, &whole)
                    })?
            }
        };
        if !rotary_dim.is_multiple_of(2) {
            return Err(keys.wrong(&keys::ROTARY_DIM, "an even number", &rotary_dim));
        }
        let context_length = keys.required(&keys::CONTEXT_LENGTH)?;
        let rope = keys.rope(RopeFor::Full, self.preset, rotary_dim, context_length)?;
        let root = ((plain_dim + rotary_dim) as f64).powf(-0.5);
        Ok(LatentSpec {
            heads,
            query_rank,
            rank: keys.required(&keys::KEY_RANK)?,
            plain_dim,
            rotary_dim,
            value_dim: keys.required(&keys::VALUE_DIM)?,
            scale: (root * rope.latent_scale) as f32,
            rope: 0,
        })
    }

    /// The tokens that a convolution sees.
    fn taps(&self, key: &keys::Key) -> Result<usize> {
        let taps = self.keys.required(key)?;
        if taps > keys::MAX_TAPS {
            let expected = format!("at most {}", keys::MAX_TAPS);
            return Err(self.keys.wrong(key, &expected, &taps));
        }
        Ok(taps)
    }

    fn delta_net(&self, is_grouped: bool) -> Result<DeltaNetSpec> {
        let keys = self.keys;
        let key_heads = keys.required(&keys::DELTA_KEY_HEADS)?;
        let value_heads = keys.required(&keys::DELTA_VALUE_HEADS)?;
        if !value_heads.is_multiple_of(key_heads) {
            let expected = format!("a multiple of the {key_heads} key heads");
            return Err(keys.wrong(&keys::DELTA_VALUE_HEADS, &expected, &value_heads));
        }
        let value_dim = match keys.size(&keys::DELTA_VALUE_DIM)? {
            Some(dim) => dim,
            None => {
                let all = keys.required(&keys::DELTA_INNER)?;
                if !all.is_multiple_of(value_heads) {
                    let expected = format!("a multiple of the {value_heads} value heads");
                    return Err(keys.wrong(&keys::DELTA_INNER, &expected, &all));
                }
                all / value_heads
            }
        };
        let spec = DeltaNetSpec {
            key_heads,
            value_heads,
            key_dim: keys.required(&keys::DELTA_KEY_DIM)?,
            value_dim,
            taps: self.taps(&keys::DELTA_TAPS)?,
            is_grouped,
        };
        let width = |heads: usize, dim: usize| heads.checked_mul(dim);
        let [queries, values] = [
            width(key_heads, spec.key_dim),
            width(value_heads, value_dim),
        ];
        let state = values.and_then(|values| width(values, spec.key_dim));
        let largest = queries.and_then(|queries| Some(queries.max(state?)));
        match largest {
            Some(largest) if largest <= keys::MAX_SIZE as usize => Ok(spec),
            _ => {
                let expected = format!("heads with a state of at most {} elements", keys::MAX_SIZE);
                Err(keys.wrong(&keys::DELTA_VALUE_HEADS, &expected, &value_heads))
            }
        }
    }

    fn window(&self) -> Result<Option<usize>> {
        if self.keys.says_none(&keys::WINDOW) {
            return Ok(None);
        }
        let window = self.keys.size(&keys::WINDOW)?;
        Ok(window.or(self.preset.window))
    }
}
