//! Two texts that should be identical, and by how much the target chose where they part.

use super::report::{Divergence, RowInvariance};
use super::request::Request;
use super::target;
use crate::decoder::SpeculativeDecoder;
use crate::error::Result;
use crate::sampling::Noise;
use crate::settings::SpeculativeConfig;

/// Where two texts of a request part; `None`: nowhere.
pub(super) fn divergence(
    decoder: &SpeculativeDecoder,
    request: &Request,
    plain: &[u32],
    speculative: &[u32],
    rows: RowInvariance,
) -> Result<Option<Divergence>> {
    let length = plain.len().max(speculative.len());
    let Some(position) = (0..length).find(|at| plain.get(*at) != speculative.get(*at)) else {
        return Ok(None);
    };
    let [plain_token, speculative_token] =
        [plain, speculative].map(|text| text.get(position).copied());
    let mut found = Divergence {
        prompt: request.prompt,
        seed: request.config.seed,
        position,
        plain: plain_token,
        speculative: speculative_token,
        margin: None,
        by_rounding: false,
    };
    let (Some(chosen), Some(other)) = (plain_token, speculative_token) else {
        return Ok(Some(found));
    };
    let measure = |raised: f64| {
        let written = &plain[..position];
        margin(decoder, request, rows, written, [chosen, other], raised)
    };
    found.margin = measure(0.0)?;
    let tolerance = rows.tolerance();
    if tolerance > 0.0 {
        // Raised by so much, the other token would be taken; or a filter would let it through.
        found.by_rounding = measure(tolerance)?.is_some_and(|margin| margin <= 0.0);
    }
    Ok(Some(found))
}

/// By how much a token was chosen before another behind what was written, if the other's logit is `raised`; `None` where
/// one of them can't be.
fn margin(
    decoder: &SpeculativeDecoder,
    request: &Request,
    rows: RowInvariance,
    written: &[u32],
    [chosen, other]: [u32; 2],
    raised: f64,
) -> Result<Option<f64>> {
    let greedy = request.config.is_greedy();
    // A greedy law is a point; what it was chosen from is a law too.
    let config = match greedy {
        false => request.config.clone(),
        true => SpeculativeConfig {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..request.config.clone()
        },
    };
    let mut processors = decoder.processors(&config, request.tokens.len())?;
    let noise = config.seed.filter(|_| !greedy).map(Noise::new);
    let mut margin = None;
    let tokens = [written, &[chosen]].concat();
    target::replay(
        decoder,
        rows,
        &request.tokens,
        &tokens,
        |history, _, logits| {
            if history.len() == request.tokens.len() + written.len() {
                let mut logits = logits.to_vec();
                logits[other as usize] += raised as f32;
                let law = processors.distribution(&logits, history, &[])?;
                let score = |token| {
                    let gumbel = noise.map_or(0.0, |noise| noise.gumbel(history.len(), token));
                    law.probability(token).ln() + gumbel
                };
                margin = Some(score(chosen) - score(other)).filter(|margin| margin.is_finite());
            }
            Ok(())
        },
    )?;
    Ok(margin)
}
