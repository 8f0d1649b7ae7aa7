//! Where two texts that should be identical diverge, and how clear the target's choice was there.

use super::replay::replay;
use super::report::BatchInvariance;
use super::request::Request;
use super::source::Divergence;
use crate::decoder::SpeculativeDecoder;
use crate::error::Result;
use crate::sampling::Noise;
use crate::settings::SpeculativeConfig;

/// Where two texts of a request diverge; `None` if they are identical.
pub(super) fn find(
    decoder: &SpeculativeDecoder,
    request: &Request,
    plain: &[u32],
    speculative: &[u32],
    rows: BatchInvariance,
) -> Result<Option<Divergence>> {
    let length = plain.len().max(speculative.len());
    let Some(position) = (0..length).find(|index| plain.get(*index) != speculative.get(*index))
    else {
        return Ok(None);
    };
    let [plain_token, speculative_token] =
        [plain, speculative].map(|text| text.get(position).copied());
    let mut found = Divergence {
        prompt: request.prompt_index,
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
    let measure = |raised_by: f64| {
        let prefix = &plain[..position];
        margin(decoder, request, rows, prefix, [chosen, other], raised_by)
    };
    found.margin = measure(0.0)?;
    let tolerance = rows.tolerance();
    if tolerance > 0.0 {
        // Whether the other token would be chosen, or pass a filter, if its logit were higher by the tolerance.
        found.by_rounding = measure(tolerance)?.is_some_and(|margin| margin <= 0.0);
    }
    Ok(Some(found))
}

/// The margin by which `chosen` was preferred to `other` after `prefix`, if the other's logit were higher by `raised_by`;
/// `None` if one of them has probability 0.
fn margin(
    decoder: &SpeculativeDecoder,
    request: &Request,
    rows: BatchInvariance,
    prefix: &[u32],
    [chosen, other]: [u32; 2],
    raised_by: f64,
) -> Result<Option<f64>> {
    let greedy = request.config.is_greedy();
    // A greedy distribution is a single token; the margin comes from the distribution at temperature 1.
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
    let tokens = [prefix, &[chosen]].concat();
    replay(
        decoder,
        rows,
        &request.tokens,
        &tokens,
        |history, _, logits| {
            if history.len() == request.tokens.len() + prefix.len() {
                let mut logits = logits.to_vec();
                logits[other as usize] += raised_by as f32;
                let distribution = processors.distribution(&logits[..], history, &[])?;
                let score = |token| {
                    let gumbel = noise.map_or(0.0, |noise| noise.gumbel(history.len(), token));
                    distribution.probability(token).ln() + gumbel
                };
                margin = Some(score(chosen) - score(other)).filter(|margin| margin.is_finite());
            }
            Ok(())
        },
    )?;
    Ok(margin)
}
