//! The planner replayed over recorded texts: how fast speculation would be, without a model, a clock or luck.
//!
//!     cargo bench --bench planner -- record spec_bench.jsonl planner.json
//!     cargo bench --bench planner -- replay planner.json
//!
//! Recording generates the answers to the first turns of prompts in Spec-Bench's format with the default model, greedily,
//! with the top tokens after each token, and measures what passes over 1 to 24 rows cost. A replay lets the planner draft
//! with prompt lookup and token recycling, and adds up these costs. It prints the speedup over plain decoding; once as the
//! costs are, and once where the planner's measurements of them are noisy (a tenth, outliers, a machine that changes its
//! speed). `benches/constants.py` compares values of the planner's constants by it.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use specdec_rs::model::LogitsRow;
use specdec_rs::sampling::top_k;
use specdec_rs::speculation::retrieval::{NgramDrafter, RecyclingDrafter};
use specdec_rs::speculation::{
    Acceptance, Controller, DraftingStatistics, Load, RetrievalDrafter, RetrievalDrafters,
};
use specdec_rs::{Message, RenderOptions, SpeculativeConfig, SpeculativeDecoder};

/// Prompts of each category that are recorded.
const PER_CATEGORY: usize = 6;
const NEW_TOKENS: usize = 128;
/// Tokens that are recorded as likely after each token: as many as recycling stores.
const LIKELY: usize = 8;
const ROWS: usize = 24;
const MAX_TREE_TOKENS: usize = 64;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["record", prompts, file] => record(prompts, file),
        ["replay", file] => replay(file),
        // `cargo bench` runs all benchmarks.
        [] => Ok(()),
        _ => Err("usage: planner record PROMPTS FILE | planner replay FILE".into()),
    }
}

fn record(prompts: &str, file: &str) -> Outcome {
    let decoder = SpeculativeDecoder::new(specdec_rs::DEFAULT_MODEL, "none", None)?;
    let config = SpeculativeConfig {
        temperature: 0.0,
        max_new_tokens: NEW_TOKENS,
        ..SpeculativeConfig::default()
    };
    let mut categories: Vec<(String, usize)> = Vec::new();
    let mut texts = Vec::new();
    for line in fs::read_to_string(prompts)?.lines() {
        let prompt: Value = serde_json::from_str(line)?;
        let category = prompt["category"].as_str().unwrap_or_default().to_owned();
        let index = categories.iter().position(|(known, _)| *known == category);
        let index = index.unwrap_or_else(|| {
            categories.push((category.clone(), 0));
            categories.len() - 1
        });
        categories[index].1 += 1;
        if categories[index].1 > PER_CATEGORY {
            continue;
        }
        let turn = prompt["turns"][0].as_str().unwrap_or_default();
        let generation = decoder.chat(&[Message::new("user", turn)], &config)?;
        let prompt =
            decoder.chat_prompt(&[Message::new("user", turn)], &RenderOptions::default())?;
        let specdec_rs::Prompt::Tokens(prompt) = prompt else {
            return Err("a conversation's prompt is tokens".into());
        };
        let answer = generation.token_ids();
        let mut sequence = decoder.sequence();
        sequence.extend(&prompt[..prompt.len() - 1], 0)?;
        let mut likely = Vec::new();
        for token in prompt.last().into_iter().chain(&answer[..answer.len() - 1]) {
            likely.push(top_k(sequence.extend(&[*token], 1)?.row(0), LIKELY));
        }
        texts.push(
            json!({ "category": category, "prompt": prompt, "answer": answer, "likely": likely }),
        );
    }
    let recording = json!({
        "vocab_size": decoder.info().vocab_size,
        "passes": passes(&decoder)?,
        "texts": texts,
    });
    fs::write(file, recording.to_string())?;
    Ok(())
}

/// Median seconds of passes over 1, 2, ... rows at context length 300.
fn passes(decoder: &SpeculativeDecoder) -> Outcome<Vec<f64>> {
    let mut sequence = decoder.sequence();
    let tokens: Vec<u32> = (0..300 + ROWS as u32).map(|n| 100 + n * 7 % 9000).collect();
    sequence.extend(&tokens[..300], 0)?;
    let mut times = vec![Vec::new(); ROWS];
    for _ in 0..25 {
        for (rows, times) in times.iter_mut().enumerate() {
            let began = Instant::now();
            sequence.extend(&tokens[300..=300 + rows], rows + 1)?;
            times.push(began.elapsed().as_secs_f64());
            sequence.truncate(300)?;
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok(times.iter_mut().map(median).collect())
}

/// A recorded prompt and answer.
struct Text {
    prompt: Vec<u32>,
    answer: Vec<u32>,
    likely: Vec<Vec<u32>>,
}

fn replay(file: &str) -> Outcome {
    let recording: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let passes: Vec<f64> = serde_json::from_value(recording["passes"].clone())?;
    let vocab_size = recording["vocab_size"].as_u64().unwrap_or(0) as usize;
    let mut texts = Vec::new();
    for text in recording["texts"].as_array().into_iter().flatten() {
        texts.push(Text {
            prompt: serde_json::from_value(text["prompt"].clone())?,
            answer: serde_json::from_value(text["answer"].clone())?,
            likely: serde_json::from_value(text["likely"].clone())?,
        });
    }
    let exact = speedup(&texts, &passes, vocab_size, None)?;
    let seeds = 1..=3;
    let noisy = seeds.map(|seed| speedup(&texts, &passes, vocab_size, Some(Noise::new(seed))));
    let noisy = noisy.collect::<Outcome<Vec<f64>>>()?;
    let noisy = noisy.iter().sum::<f64>() / noisy.len() as f64;
    println!("exact {exact:.4} noisy {noisy:.4}");
    Ok(())
}

/// The time of plain decoding over that of speculation, of all texts; one decoder's requests, one after the other.
fn speedup(
    texts: &[Text],
    passes: &[f64],
    vocab_size: usize,
    mut noise: Option<Noise>,
) -> Outcome<f64> {
    let statistics = DraftingStatistics::default();
    let seconds = |rows: usize| match passes.get(rows - 1) {
        Some(seconds) => *seconds,
        None => passes[ROWS - 1] * rows as f64 / ROWS as f64,
    };
    let mut measured = |rows: usize| {
        let factor = noise.as_mut().map_or(1.0, Noise::factor);
        Duration::from_secs_f64(seconds(rows) * factor)
    };
    for rows in [1, 2, 4, 8, 16] {
        statistics
            .costs
            .observe_pass(16, rows, measured(rows).as_secs_f64());
    }
    let (mut plain, mut speculative) = (0.0, 0.0);
    for text in texts {
        let sources: Vec<Box<dyn RetrievalDrafter>> = vec![
            Box::new(NgramDrafter::default()),
            Box::new(RecyclingDrafter::new(&statistics.successors)),
        ];
        let mut controller = Controller::new(
            usize::MAX,
            true,
            &statistics.costs,
            Acceptance::new(&statistics.acceptance, true),
            RetrievalDrafters::new(sources, vocab_size),
        );
        controller.prefill(&text.prompt[..text.prompt.len() - 1])?;
        let mut done = 0;
        let mut history = text.prompt.clone();
        while done < text.answer.len() {
            let left = text.answer.len() - done;
            let plan = controller.propose(
                &history,
                Load::default(),
                left - 1,
                MAX_TREE_TOKENS - 1,
                |_| Ok(true),
            )?;
            let draft = plan.draft;
            let (mut node, mut accepted) = (None, 0);
            while let Some(child) = draft
                .children(node)
                .find(|child| draft.tokens()[*child] == text.answer[done + accepted])
            {
                (node, accepted) = (Some(child), accepted + 1);
            }
            controller.time(&history, &draft, measured(draft.len() + 1));
            speculative += seconds(draft.len() + 1);
            let new = (accepted + 1).min(left);
            history.extend(&text.answer[done..done + new]);
            let rows: Vec<Vec<f32>> = text.likely[done..done + new]
                .iter()
                .map(|likely| {
                    let mut row = vec![f32::NEG_INFINITY; vocab_size];
                    for (rank, token) in likely.iter().enumerate() {
                        row[*token as usize] = -(rank as f32);
                    }
                    row
                })
                .collect();
            let rows: Vec<LogitsRow<'_>> =
                rows.iter().map(|row| LogitsRow::from(&row[..])).collect();
            controller.learn(&history, &rows)?;
            done += new;
        }
        plain += seconds(1) * text.answer.len() as f64;
    }
    Ok(plain / speculative)
}

/// What a shared machine does to measurements: a tenth of noise, an outlier in fifty, and a change of speed in two hundred.
struct Noise {
    state: u64,
    speed: f64,
}

impl Noise {
    fn new(seed: u64) -> Self {
        Self {
            state: seed,
            speed: 1.0,
        }
    }

    /// Between 0 and 1.
    fn uniform(&mut self) -> f64 {
        let multiplied = self.state.wrapping_mul(6_364_136_223_846_793_005);
        self.state = multiplied.wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn factor(&mut self) -> f64 {
        if self.uniform() < 1.0 / 200.0 {
            self.speed = 1.0 + 0.6 * self.uniform();
        }
        // The sum of some uniform numbers is about normal.
        let normal = (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0;
        let outlier = if self.uniform() < 0.02 { 5.0 } else { 1.0 };
        self.speed * (0.1 * normal).exp() * outlier
    }
}
