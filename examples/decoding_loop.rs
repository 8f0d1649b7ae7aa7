//! Your own decoding loop over the target's KV cache: rank continuations of a prompt by their probability.
//!
//!     cargo run --release --example decoding_loop -- MODEL "The capital of France is" " Paris" " London"

use std::error::Error;

use specdec_rs::SpeculativeDecoder;

/// The log-probability of a token, from a row of logits.
fn logprob(logits: &[f32], token: u32) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits
        .iter()
        .map(|logit| f64::from(logit - highest).exp())
        .sum();
    f64::from(logits[token as usize] - highest) - total.ln()
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, prompt, continuations @ ..] = &args[..] else {
        return Err("expected MODEL PROMPT CONTINUATION...".into());
    };
    let decoder = SpeculativeDecoder::new(model, "none", None)?;
    let tokenizer = decoder.tokenizer();
    let mut sequence = decoder.sequence();
    let after_prompt = sequence.extend(&tokenizer.encode(prompt, true)?, 1)?;
    let mut scored = Vec::new();
    for continuation in continuations {
        // The prompt is prefilled once; each continuation starts from a copy of its KV cache.
        let mut branch = sequence.fork()?;
        let tokens = tokenizer.encode(continuation, false)?;
        let rows = branch.extend(&tokens, tokens.len())?;
        let mut score = 0.0;
        for (index, token) in tokens.iter().enumerate() {
            let logits = match index {
                0 => after_prompt.row(0),
                _ => rows.row(index - 1),
            };
            score += logprob(logits, *token);
        }
        scored.push((score, continuation));
    }
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (score, continuation) in scored {
        println!("{score:8.3}  {prompt}{continuation}");
    }
    Ok(())
}
