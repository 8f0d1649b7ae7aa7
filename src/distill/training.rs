//! The training of a head: examples stream through the shuffle buffer, the learning rate rises and falls, and the best head is
//! written.

use std::collections::HashMap;
use std::path::Path;

use candle_nn::Optimizer;

use super::checkpoint::{Checkpoint, save_head};
use super::examples::{Example, ROWS, examples};
use super::network::{Network, Outcome, expected_tokens};
use super::shuffle::ShuffleBuffer;
use super::texts::Text;
use super::{Observer, Report, Settings};
use crate::architecture::ModelSpec;
use crate::decoder::SpeculativeDecoder;
use crate::error::{Error, Result};
use crate::model::{RecurrentConfig, RecurrentFiles, TokenRows};
use crate::sampling::Noise;

/// Examples of a step.
const BATCH: usize = 20;

/// How many tokens the head may draft.
const HEAD_TOKENS: usize = 4096;

/// Bytes of the shuffle buffer.
const BUFFER_BYTES: usize = 1 << 30;

/// The highest learning rate, and the steps in which it is reached.
const LEARNING_RATE: f64 = 1.5e-3;
const WARM_UP: usize = 40;

/// Steps between two judgements of the head.
const JUDGE_EVERY: usize = 100;

/// Trains a head on some texts, judges it by others, and writes the best one.
pub(super) fn train(
    decoder: &SpeculativeDecoder,
    (spec, rows): (&ModelSpec, TokenRows),
    (texts, foreign): (&[Text], &[Text]),
    folder: &Path,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<Report> {
    let config = config(spec);
    let layers = config.target_layers.clone();
    let capture = |text: &Text| examples(decoder, &layers, text);
    let judged = foreign.iter().map(capture).collect::<Result<Vec<_>>>()?;
    let judged: Vec<Example> = judged.into_iter().flatten().collect();
    if judged.is_empty() {
        let reason =
            "the target's answers to the prompts that judge the head are too short: give others";
        return Err(Error::Compute(reason.into()));
    }
    let saved = Checkpoint::load(folder)?;
    let noise = Noise::new(settings.seed);
    let to_target = match &saved {
        Some(saved) => saved.to_target.clone(),
        None => frequent_tokens(texts, spec.vocab_size),
    };
    let network = Network::new(
        config,
        to_target,
        (rows, spec.logit_softcap),
        settings.device.open()?,
        &mut noise.stream(0),
    )?;
    let per_text: Vec<usize> = texts
        .iter()
        .map(|text| text.answer().len() / ROWS)
        .collect();
    let total = (per_text.iter().sum::<usize>() * settings.epochs).div_ceil(BATCH);
    let (mut step, mut best) = (0, Vec::new());
    if let Some(saved) = saved {
        network.restore(&saved.values)?;
        (step, best) = (saved.steps, saved.acceptance);
    }
    let began_at = step;
    // The texts before were used up.
    let mut used = step * BATCH / settings.epochs;
    let unused = per_text.iter().take_while(|count| {
        let is_used = **count <= used;
        used = used.saturating_sub(**count);
        is_used
    });
    let mut waiting = texts[unused.count()..].iter();
    let mut buffer = ShuffleBuffer::new(BUFFER_BYTES, noise.stream(1));
    let mut optimizer = network.optimizer()?;
    while step < total {
        while !buffer.is_full()
            && let Some(text) = waiting.next()
        {
            observer.check()?;
            capture(text)?
                .into_iter()
                .for_each(|example| buffer.add(example, settings.epochs));
        }
        let batch = buffer.draw(BATCH);
        if batch.is_empty() {
            break;
        }
        if step == 0 {
            network.start_from(&batch)?;
        }
        optimizer.set_learning_rate(learning_rate(step, step - began_at, total));
        let loss = network.train(&batch, &mut optimizer)?;
        step += 1;
        let is_last = step == total || (waiting.len() == 0 && buffer.is_empty());
        let judge = is_last || step.is_multiple_of(JUDGE_EVERY);
        if judge {
            let outcome = network.evaluate(&judged)?;
            if best.is_empty() || expected_tokens(&outcome.acceptance) > expected_tokens(&best) {
                save_head(&network, folder)?;
                best = outcome.acceptance.to_vec();
            }
            Checkpoint::save(&network, step, &best, folder)?;
            let Outcome {
                loss: judged,
                acceptance,
            } = outcome;
            tracing::info!(
                step,
                of = total,
                loss,
                judged,
                ?acceptance,
                "a head is trained"
            );
            observer.trained(step, total, Some(&outcome.acceptance))?;
        } else {
            observer.trained(step, total, None)?;
        }
    }
    Ok(Report {
        tokens: texts.iter().map(|text| text.answer().len()).sum(),
        steps: step,
        acceptance: best,
    })
}

/// The shape of a target's head: it reads a low, a middle and the last layer.
fn config(spec: &ModelSpec) -> RecurrentConfig {
    let layers = spec.layers.len();
    let mut target_layers = vec![layers / 3, 2 * layers / 3, layers];
    target_layers.dedup();
    let hidden = spec.hidden_size;
    RecurrentConfig {
        architectures: [RecurrentFiles::ARCHITECTURE.into()],
        hidden_size: hidden,
        // A power of two, from half the hidden size to all of it.
        intermediate_size: (hidden + 1).next_power_of_two() / 2,
        vocab_size: spec.vocab_size,
        rms_norm_eps: spec.norm.epsilon(),
        target_layers,
    }
}

/// The most frequent tokens of some texts, in ascending order, filled up with the lowest.
fn frequent_tokens(texts: &[Text], vocab_size: usize) -> Vec<u32> {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for token in texts.iter().flat_map(Text::answer) {
        *counts.entry(*token).or_default() += 1;
    }
    let mut tokens: Vec<u32> = (0..vocab_size as u32).collect();
    tokens.sort_by_key(|token| std::cmp::Reverse(counts.get(token).copied().unwrap_or(0)));
    tokens.truncate(HEAD_TOKENS);
    tokens.sort_unstable();
    tokens
}

/// It rises for some steps, also after an interruption, and falls along a cosine.
fn learning_rate(step: usize, since_begin: usize, total: usize) -> f64 {
    let rising = (since_begin + 1) as f64 / WARM_UP as f64;
    let falling = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / total as f64).cos());
    LEARNING_RATE * rising.min(1.0) * falling
}
