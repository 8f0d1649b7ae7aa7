//! The best of a row of scores.

/// The largest of some values; NaN is ignored.
pub fn largest(values: &[f32]) -> f32 {
    // Separate lanes: a single running maximum would be one long chain of dependencies.
    let mut lanes = [f32::NEG_INFINITY; 16];
    for chunk in values.chunks(lanes.len()) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// The index of the largest value, the first of equals, and that value; NaN is never the largest. An empty row has NaN at 0.
pub fn argmax(values: &[f32]) -> (u32, f32) {
    let highest = largest(values);
    let index = values.iter().position(|value| *value >= highest);
    let index = index.unwrap_or(0);
    (index as u32, values.get(index).copied().unwrap_or(f32::NAN))
}

/// The number of logits that are compared together: most chunks of a row have none of the highest.
const CHUNK: usize = 64;

/// The tokens with the `count` highest logits, highest first, equal ones by ascending id.
pub fn top_k(logits: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(count + 1);
    for (chunk, start) in logits.chunks(CHUNK).zip((0_u32..).step_by(CHUNK)) {
        let lowest = match best.last() {
            Some(last) if best.len() == count => last.0,
            _ => f32::NEG_INFINITY,
        };
        // Counting is vectorized; a search that can stop early is not.
        let higher: u32 = chunk.iter().map(|logit| u32::from(*logit > lowest)).sum();
        if best.len() == count && higher == 0 {
            continue;
        }
        for (logit, token) in chunk.iter().copied().zip(start..) {
            let index = best.partition_point(|(other, _)| *other >= logit);
            if index < count && !logit.is_nan() {
                best.insert(index, (logit, token));
                best.truncate(count);
            }
        }
    }
    best.into_iter().map(|(_, token)| token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_result_matches_sorting(
            logits in prop::collection::vec((-4_i8..4).prop_map(f32::from), 0..300),
            count in 0_usize..12,
        ) {
            let mut sorted: Vec<u32> = (0..logits.len() as u32).collect();
            sorted.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
            sorted.truncate(count);
            prop_assert_eq!(top_k(&logits, count), sorted);
        }
    }

    #[test]
    fn forbidden_tokens_come_last() {
        let logits = [f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, 2.0];
        assert_eq!(top_k(&logits, 3), [3, 1, 0]);
    }
}
