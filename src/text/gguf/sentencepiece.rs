//! The merges of a SentencePiece BPE vocabulary, which stores scores instead.

use ahash::AHashMap;

use crate::threads;

/// All pairs of tokens that make up another token, in descending order of that token's score.
///
/// Transformers converts such vocabularies in the same way: two tokens are merged if they make up a token, and a higher
/// score merges earlier. `mergeable` are the ids of the tokens that text consists of.
pub(super) fn merges(
    tokens: &[&str],
    scores: &[f64],
    mergeable: impl Iterator<Item = usize>,
) -> Vec<(String, String)> {
    let ids: Vec<usize> = mergeable.collect();
    let known: AHashMap<&str, usize> = ids.iter().map(|id| (tokens[*id], *id)).collect();
    let (first, second) = ids.split_at(ids.len() / 2);
    let (mut found, mut later) = threads::join(
        || pairs(tokens, &known, first),
        || pairs(tokens, &known, second),
    );
    found.append(&mut later);
    // A stable sort: merges of equal score keep the vocabulary's order.
    found.sort_by(|a, b| scores[b.whole].total_cmp(&scores[a.whole]));
    found
        .into_iter()
        .map(|pair| (tokens[pair.left].to_owned(), tokens[pair.right].to_owned()))
        .collect()
}

/// Two tokens whose texts make up a third token's text.
struct Pair {
    whole: usize,
    left: usize,
    right: usize,
}

/// All pairs that make these tokens, token by token.
fn pairs(tokens: &[&str], known: &AHashMap<&str, usize>, ids: &[usize]) -> Vec<Pair> {
    let mut found = Vec::with_capacity(2 * ids.len());
    for &whole in ids {
        let token = tokens[whole];
        let start = found.len();
        for (middle, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(middle);
            if let Some(&left) = known.get(left)
                && let Some(&right) = known.get(right)
            {
                found.push(Pair { whole, left, right });
            }
        }
        found[start..].sort_unstable_by_key(|pair| (pair.left, pair.right));
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn more_probable_tokens_are_merged_first() {
        let tokens = ["a", "b", "c", "ab", "bc", "abc", "<s>"];
        let scores = [0.0, 0.0, 0.0, -2.0, -1.0, -3.0, 9.0];
        let merges = super::merges(&tokens, &scores, 0..6);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let expected = [
            pair("b", "c"),
            pair("a", "b"),
            pair("a", "bc"),
            pair("ab", "c"),
        ];
        assert_eq!(merges, expected);
    }
}
