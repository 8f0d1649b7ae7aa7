//! The head while it is trained: [`RecurrentConfig`]'s network in Candle's tensors, which have gradients.
//!
//! It is taught by the target: after each token the head's distribution over its own tokens is to be the target's, whose state
//! after the last norm is among the hidden states, so that its logits are computed here. Half of the weight lies on the target's
//! first choice, which greedy decoding takes.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::ops::{rms_norm_slow, silu, softmax_last_dim};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use half::bf16;

use super::examples::{Example, ROWS, STEPS, TOKENS};
use crate::error::{Error, Result};
use crate::model::{RecurrentConfig, TokenRows, recurrent_tensors as names};
use crate::sampling::NoiseStream;

/// How much less the next drafted token weighs than the one before it.
const STEP_WEIGHT: f64 = 0.8;

/// The longest gradient; longer ones are shortened to it.
const MAX_GRADIENT: f64 = 1.0;

/// A head in training.
pub(super) struct Network {
    config: RecurrentConfig,
    variables: BTreeMap<String, Var>,
    /// The target's output rows of the head's tokens, `[tokens, hidden]`: they stay as they are.
    output: Tensor,
    /// The target's token of each of the head's.
    to_target: Vec<u32>,
    rows: TokenRows,
    softcap: Option<f32>,
    device: Device,
}

/// What a batch gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    /// The cross-entropy of the first drafted token.
    pub(super) loss: f64,
    /// How often the head's first choice was the target's next token, given that its earlier choices were: for each step.
    pub(super) acceptance: [f64; STEPS],
}

/// How many of some drafted tokens are right, if each is that often, given that those before it are.
pub(super) fn expected_tokens(acceptance: &[f64]) -> f64 {
    let reached = acceptance.iter().scan(1.0, |reached, share| {
        *reached *= share;
        Some(*reached)
    });
    reached.sum()
}

/// The sum over all rows of the cross-entropy of probabilities with labels.
fn cross_entropy(probable: &Tensor, labels: &Tensor) -> Result<f64> {
    let log = (probable + 1e-30)?.log()?;
    let sum = (log * labels)?.sum_all()?.to_scalar::<f32>()?;
    Ok(-f64::from(sum))
}

/// A batch as tensors.
struct Batch {
    /// `[examples, TOKENS, layers, hidden]`
    hidden: Tensor,
    /// `[examples, TOKENS, hidden]`
    embedded: Tensor,
    /// `[examples][TOKENS + 1]`
    tokens: Vec<u32>,
}

impl Network {
    /// A head that has learned nothing: it drafts what the target's state before the token says, which its last layer is.
    pub(super) fn new(
        config: RecurrentConfig,
        to_target: Vec<u32>,
        (rows, softcap): (TokenRows, Option<f32>),
        device: Device,
        noise: &mut NoiseStream,
    ) -> Result<Self> {
        let (hidden, width) = (config.hidden_size, config.intermediate_size);
        let layers = config.target_layers.len();
        let output = to_target.iter().map(|token| rows.output(*token));
        let output = output.collect::<Result<Vec<_>>>()?.concat();
        let output = Tensor::from_vec(output, (to_target.len(), hidden), &device)?;
        let mut random = |outputs: usize, inputs: usize, scale: f64| {
            // Of the variance of a normal distribution with the same deviation.
            let reach = scale * (3.0 / inputs as f64).sqrt();
            let mut value = || ((2.0 * noise.uniform() - 1.0) * reach) as f32;
            let values = (0..outputs * inputs).map(|_| value()).collect();
            Tensor::from_vec::<_, f32>(values, (outputs, inputs), &device)
        };
        let last = Tensor::eye(hidden, DType::F32, &device)?;
        let others = Tensor::zeros((hidden, (layers - 1) * hidden), DType::F32, &device)?;
        let ones = Tensor::ones(hidden, DType::F32, &device)?;
        let mut values = vec![
            (
                names::FUSION.to_owned(),
                Tensor::cat(&[&others, &(last * 0.5)?], 1)?,
            ),
            (names::EMBEDDING_NORM.to_owned(), ones.clone()),
            (names::STATE_NORM.to_owned(), ones.clone()),
            (names::GATE.to_owned(), random(width, 2 * hidden, 1.0)?),
            (names::UP.to_owned(), random(width, 2 * hidden, 1.0)?),
            (names::DOWN.to_owned(), random(hidden, width, 0.1)?),
            (names::FINAL_NORM.to_owned(), ones.clone()),
        ];
        values.extend((0..layers).map(|index| (names::tap_norm(index), ones.clone())));
        let variables = values
            .into_iter()
            .map(|(name, value)| Ok((name, Var::from_tensor(&value)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            config,
            variables,
            output,
            to_target,
            rows,
            softcap,
            device,
        })
    }

    pub(super) fn config(&self) -> &RecurrentConfig {
        &self.config
    }

    /// Sets the last norm so that the logits begin half as far apart as the target's are.
    pub(super) fn start_from(&self, examples: &[&Example]) -> Result<()> {
        let hidden = self.batch(examples)?.hidden;
        let layers = self.config.target_layers.len();
        let last = hidden.narrow(2, layers - 1, 1)?;
        let scale = 0.5 * f64::from(last.sqr()?.mean_all()?.to_scalar::<f32>()?).sqrt();
        let norm = self.variable(names::FINAL_NORM);
        norm.set(&(norm.ones_like()? * scale)?)?;
        Ok(())
    }

    fn variable(&self, name: &str) -> &Var {
        &self.variables[name]
    }

    fn batch(&self, examples: &[&Example]) -> Result<Batch> {
        let (count, hidden) = (examples.len(), self.config.hidden_size);
        let layers = self.config.target_layers.len();
        let tokens: Vec<u32> = examples
            .iter()
            .flat_map(|one| &one.tokens)
            .copied()
            .collect();
        let read = examples.iter().flat_map(|one| &one.tokens[..TOKENS]);
        let embedded = read.map(|token| self.rows.embedding(*token));
        let embedded = embedded.collect::<Result<Vec<_>>>()?.concat();
        let states = examples.iter().flat_map(|one| &one.hidden);
        let states: Vec<f32> = states.copied().map(bf16::to_f32).collect();
        Ok(Batch {
            hidden: Tensor::from_vec(states, (count, TOKENS, layers, hidden), &self.device)?,
            embedded: Tensor::from_vec(embedded, (count, TOKENS, hidden), &self.device)?,
            tokens,
        })
    }

    /// The states after tokens that the target has processed, `[rows, hidden]`, of its hidden states, `[rows, layers, hidden]`.
    fn fuse(&self, hidden: &Tensor) -> Result<Tensor> {
        let layers = self.config.target_layers.len();
        let taps = (0..layers).map(|index| {
            let tap = hidden.narrow(1, index, 1)?.squeeze(1)?.contiguous()?;
            self.norm(&tap, &names::tap_norm(index))
        });
        let taps = Tensor::cat(&taps.collect::<Result<Vec<_>>>()?, 1)?;
        self.linear(&taps, names::FUSION)
    }

    /// The states after the next tokens, of whose embeddings these are, `[rows, hidden]`.
    fn step(&self, state: &Tensor, embedded: &Tensor) -> Result<Tensor> {
        let embedded = self.norm(embedded, names::EMBEDDING_NORM)?;
        let normed = self.norm(state, names::STATE_NORM)?;
        let both = Tensor::cat(&[embedded, normed], 1)?;
        let gated = (silu(&self.linear(&both, names::GATE)?)? * self.linear(&both, names::UP)?)?;
        Ok((state + self.linear(&gated, names::DOWN)?)?)
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let epsilon = self.config.rms_norm_eps;
        Ok(rms_norm_slow(x, self.variable(name), epsilon)?)
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        Ok(x.matmul(&self.variable(name).t()?)?)
    }

    /// What the head is to give for the tokens after each but the first of an example's, `[examples, TOKENS - 1, tokens]`: half of
    /// it is the target's distribution over the head's tokens, half its first choice among them.
    fn labels(&self, hidden: &Tensor) -> Result<Tensor> {
        let layers = self.config.target_layers.len();
        let (count, ..) = hidden.dims4()?;
        let last = hidden.narrow(2, layers - 1, 1)?.narrow(1, 1, TOKENS - 1)?;
        let last = last.reshape(((), self.config.hidden_size))?;
        let mut logits = last.matmul(&self.output.t()?)?;
        if let Some(cap) = self.softcap.map(f64::from) {
            logits = ((logits / cap)?.tanh()? * cap)?;
        }
        let chosen = logits.broadcast_eq(&logits.max_keepdim(1)?)?;
        let chosen = chosen.to_dtype(DType::F32)?;
        let labels = ((softmax_last_dim(&logits)? + chosen)? * 0.5)?;
        Ok(labels.reshape((count, TOKENS - 1, ()))?)
    }

    /// Computes a batch; `grade` is called for each step with the head's normed states, `[rows, hidden]`, their logits and labels,
    /// both `[rows, tokens]`.
    fn unroll(
        &self,
        batch: &Batch,
        mut grade: impl FnMut(usize, Tensor, Tensor, Tensor) -> Result<()>,
    ) -> Result<()> {
        let size = self.config.hidden_size;
        let layers = self.config.target_layers.len();
        let labels = self.labels(&batch.hidden)?;
        let seen = batch.hidden.narrow(1, 0, ROWS)?;
        let mut state = self.fuse(&seen.reshape(((), layers, size))?)?;
        for step in 0..STEPS {
            let next = batch.embedded.narrow(1, step + 1, ROWS)?;
            state = self.step(&state, &next.reshape(((), size))?)?;
            let normed = self.norm(&state, names::FINAL_NORM)?;
            let logits = normed.detach().matmul(&self.output.t()?)?;
            let labels = labels.narrow(1, step, ROWS)?;
            grade(
                step,
                normed,
                logits,
                labels.reshape(((), self.to_target.len()))?,
            )?;
        }
        Ok(())
    }

    /// Learns from a batch; returns the loss of the first step.
    pub(super) fn train(&self, examples: &[&Example], optimizer: &mut AdamW) -> Result<f64> {
        let batch = self.batch(examples)?;
        let rows = (examples.len() * ROWS) as f64;
        let (mut total, mut first) = (None, 0.0);
        self.unroll(&batch, |step, normed, logits, labels| {
            let probable = softmax_last_dim(&logits)?;
            if step == 0 {
                first = cross_entropy(&probable, &labels)? / rows;
            }
            // The gradient of the cross-entropy by the normed states: no gradient need go through the matrix.
            let by_logits = ((probable - labels)? * (STEP_WEIGHT.powi(step as i32) / rows))?;
            let by_normed = by_logits.matmul(&self.output)?.detach();
            let part = (normed * by_normed)?.sum_all()?;
            total = Some(match total.take() {
                None => part,
                Some(sum) => (part + sum)?,
            });
            Ok(())
        })?;
        let total: Tensor = total.ok_or_else(|| Error::Compute("an empty batch".into()))?;
        let mut gradients = total.backward()?;
        let mut length = 0.0;
        for variable in self.variables.values() {
            if let Some(gradient) = gradients.get(variable) {
                length += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
            }
        }
        let length = length.sqrt();
        if !length.is_finite() {
            let reason = "the head's gradients are not finite, maybe because the target's hidden states are not";
            return Err(Error::Compute(reason.into()));
        }
        if length > MAX_GRADIENT {
            for variable in self.variables.values() {
                if let Some(gradient) = gradients.remove(variable) {
                    gradients.insert(variable, (gradient * (MAX_GRADIENT / length))?);
                }
            }
        }
        optimizer.step(&gradients)?;
        Ok(first)
    }

    /// How often the head's first choice is the next token of these examples.
    pub(super) fn evaluate(&self, examples: &[Example]) -> Result<Outcome> {
        /// Examples at once.
        const AT_ONCE: usize = 32;
        let (mut reached, mut loss) = ([0.0; STEPS + 1], 0.0);
        for examples in examples.chunks(AT_ONCE) {
            let examples: Vec<&Example> = examples.iter().collect();
            let batch = self.batch(&examples)?;
            let mut right = vec![true; examples.len() * ROWS];
            reached[0] += right.len() as f64;
            self.unroll(&batch, |step, _, logits, labels| {
                if step == 0 {
                    loss += cross_entropy(&softmax_last_dim(&logits)?, &labels)?;
                }
                let chosen = logits.argmax(1)?.to_vec1::<u32>()?;
                for (row, chosen) in chosen.into_iter().enumerate() {
                    let next = batch.tokens[row / ROWS * (TOKENS + 1) + row % ROWS + step + 2];
                    right[row] &= self.to_target[chosen as usize] == next;
                }
                reached[step + 1] += right.iter().filter(|right| **right).count() as f64;
                Ok(())
            })?;
        }
        let share = |step: usize| match reached[step] > 0.0 {
            true => reached[step + 1] / reached[step],
            false => 0.0,
        };
        Ok(Outcome {
            loss: loss / f64::max(reached[0], 1.0),
            acceptance: std::array::from_fn(share),
        })
    }

    /// An optimizer of all that is learned.
    pub(super) fn optimizer(&self) -> Result<AdamW> {
        let settings = ParamsAdamW {
            weight_decay: 0.05,
            ..ParamsAdamW::default()
        };
        Ok(AdamW::new(
            self.variables.values().cloned().collect(),
            settings,
        )?)
    }

    /// What is learned, by the names of the head's tensors.
    pub(super) fn values(&self) -> HashMap<String, Tensor> {
        let values = self.variables.iter();
        values
            .map(|(name, value)| (format!("{name}.weight"), value.as_detached_tensor()))
            .collect()
    }

    /// Takes up what was learned before.
    pub(super) fn restore(&self, values: &HashMap<String, Tensor>) -> Result<()> {
        for (name, variable) in &self.variables {
            let name = format!("{name}.weight");
            let value = values
                .get(&name)
                .filter(|value| value.shape() == variable.shape());
            let value = value.ok_or_else(|| {
                Error::Compute(format!(
                    "the folder holds a checkpoint that lacks {name}, or has it in another shape: give another folder (--output)"
                ))
            })?;
            variable.set(&value.to_device(&self.device)?)?;
        }
        Ok(())
    }

    /// The finished head's tensors, in 16 bits.
    pub(super) fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        let mut tensors = self.values();
        for value in tensors.values_mut() {
            *value = value.to_dtype(DType::BF16)?;
        }
        let offsets = (0_i64..).zip(&self.to_target);
        let offsets: Vec<i64> = offsets
            .map(|(own, target)| i64::from(*target) - own)
            .collect();
        let count = offsets.len();
        let offsets = Tensor::from_vec(offsets, count, &self.device)?;
        tensors.insert(names::TO_TARGET.to_owned(), offsets);
        Ok(tensors)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::distill::checkpoint::save_head;
    use crate::hub::ModelFiles;
    use crate::model::{HeadFiles, LoadOptions, OpenModel, RecurrentFiles, load};
    use crate::sampling::Noise;

    #[test]
    fn a_finished_head_gives_the_logits_of_the_network_that_was_trained() {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pair/target");
        let target = ModelFiles::Folder(target);
        let opened = OpenModel::open(&target).unwrap();
        let (spec, rows) = (opened.spec().unwrap(), TokenRows::of(&opened).unwrap());
        let config = RecurrentConfig {
            architectures: [RecurrentFiles::ARCHITECTURE.into()],
            hidden_size: spec.hidden_size,
            intermediate_size: 48,
            vocab_size: spec.vocab_size,
            rms_norm_eps: 1e-5,
            target_layers: vec![1, 3, 4],
        };
        let mut noise = Noise::new(5).stream(0);
        let to_target: Vec<u32> = (0..200).map(|token| 2 * token + 1).collect();
        let rows = (rows, None);
        let network =
            Network::new(config, to_target.clone(), rows, Device::Cpu, &mut noise).unwrap();
        // Each weight matters, and is exact in 16 bits.
        for variable in network.variables.values() {
            let change = (variable.rand_like(-0.1, 0.1).unwrap() + variable.as_tensor()).unwrap();
            let change = change.to_dtype(DType::BF16).unwrap();
            variable.set(&change.to_dtype(DType::F32).unwrap()).unwrap();
        }
        let mut number = || bf16::from_f64(2.0 * noise.uniform() - 1.0);
        let width = 3 * spec.hidden_size;
        let example = Example {
            tokens: (0..=TOKENS as u32).map(|token| token * 7 + 3).collect(),
            hidden: (0..TOKENS * width).map(|_| number()).collect(),
        };
        let folder = tempfile::tempdir().unwrap();
        save_head(&network, folder.path()).unwrap();
        let model = load(&target, &LoadOptions::default()).unwrap().model;
        let files = ModelFiles::Folder(folder.path().to_owned());
        let head = HeadFiles::open(&files).unwrap().unwrap();
        let head = model.draft_head(&head).unwrap();
        assert_eq!(head.to_target(), Some(&to_target[..]));
        let batch = network.batch(&[&example]).unwrap();
        let mut drafted = Vec::new();
        let grade = |_, _, logits: Tensor, _| {
            drafted.push(logits.to_vec2::<f32>()?);
            Ok(())
        };
        network.unroll(&batch, grade).unwrap();
        let features: Vec<f32> = example.hidden.iter().map(|value| value.to_f32()).collect();
        for row in [0, 1, ROWS - 1] {
            let mut sequence = head.begin().unwrap();
            // What comes before the last token does not matter.
            let tokens = &example.tokens[1..=row + 1];
            sequence
                .append(tokens, &features[..tokens.len() * width])
                .unwrap();
            for (step, expected) in drafted.iter().enumerate() {
                let ours = sequence.logits(None).unwrap();
                let largest = expected[row]
                    .iter()
                    .fold(0.0_f32, |most, logit| most.max(logit.abs()));
                assert!(largest > 0.1);
                for (ours, expected) in ours.iter().zip(&expected[row]) {
                    let off = (ours - expected).abs() / largest;
                    assert!(
                        off < 1e-2,
                        "row {row}, step {step}: {ours}, expected {expected}"
                    );
                }
                sequence.draft(example.tokens[row + step + 2]).unwrap();
            }
        }
    }
}
