//! Properties of recurrent layers: what their definitions say, and the same bits on every tier, however tokens are passed.

use proptest::prelude::*;

use super::super::tests::{noise, segment, tiers};
use super::*;
use crate::{Convolution, DeltaRule, Mask, Segment, ShortConv, StateSpace, Taps};

type Tokens = Vec<Vec<f32>>;

/// One step of a sequence: what it passes, and what is accepted of it.
#[derive(Debug, Clone)]
enum Pass {
    /// So many tokens, of which at most so many may be rolled back, and so many are.
    Chain {
        rows: usize,
        provisional: usize,
        rolled_back: usize,
    },
    /// A tree: each row's parent, if it is below the row's number. The path to the last row is accepted.
    Tree(Vec<usize>),
}

fn passes() -> impl Strategy<Value = Vec<Pass>> {
    let chain =
        (1..9usize, 0..6usize, 0..6usize).prop_map(|(rows, provisional, back)| Pass::Chain {
            rows,
            provisional,
            rolled_back: back.min(provisional).min(rows),
        });
    let tree = prop::collection::vec(0..6usize, 1..7).prop_map(Pass::Tree);
    prop::collection::vec(prop_oneof![3 => chain, 1 => tree], 1..5)
}

fn recurrences() -> impl Strategy<Value = Recurrence> {
    let numbers = || prop::collection::vec(-1.0..1.0f32, 200);
    let taps = (1..40usize, 1..5usize, numbers()).prop_map(|(channels, count, numbers)| {
        let (values, bias) = (&numbers[..channels * count], &numbers[160..160 + channels]);
        Taps::new(channels, values, Some(bias))
    });
    let delta = (1..3usize, 1..3usize, 1..20usize, 1..50usize, any::<bool>());
    let space = (1..3usize, 1..3usize, 1..20usize, 1..50usize, numbers());
    prop_oneof![
        taps.clone()
            .prop_map(|taps| Recurrence::Convolution(Convolution { taps })),
        taps.prop_map(|taps| Recurrence::ShortConv(ShortConv { taps })),
        delta.prop_map(|(key_heads, each, key_dim, value_dim, is_grouped)| {
            Recurrence::DeltaRule(DeltaRule {
                key_heads,
                value_heads: key_heads * each,
                key_dim,
                value_dim,
                is_grouped,
            })
        }),
        space.prop_map(|(groups, each, state_dim, head_dim, numbers)| {
            let heads = groups * each;
            Recurrence::StateSpace(StateSpace {
                heads,
                head_dim,
                groups,
                state_dim,
                skip: numbers[..heads].to_vec(),
            })
        }),
    ]
}

/// Passes rows through a recurrence; returns their outputs.
fn pass(
    tier: Tier,
    recurrence: &Recurrence,
    state: &mut RecurrentState,
    (segment, ancestors): (Segment, &[u64]),
    rows: &[Vec<f32>],
) -> Tokens {
    let batch = Batch {
        segments: &[segment],
        ancestors,
    };
    let buffers = Arc::default();
    let one_by_one = |items: usize, work: &(dyn Fn(usize) + Sync)| (0..items).for_each(work);
    let inputs = rows.concat();
    let outputs = recur(
        &inputs,
        recurrence,
        &mut [state],
        batch,
        (tier, &buffers),
        &one_by_one,
    );
    let outputs = outputs.unwrap();
    let width = recurrence.output_width();
    outputs
        .values()
        .chunks(width)
        .map(<[f32]>::to_vec)
        .collect()
}

/// The outputs of tokens that are passed one by one.
fn one_by_one(recurrence: &Recurrence, tokens: &[Vec<f32>]) -> Tokens {
    let mut state = RecurrentState::new(recurrence);
    let mut outputs = Vec::new();
    for (past, token) in tokens.iter().enumerate() {
        let rows = std::slice::from_ref(token);
        let one = (segment(past, 1), &[][..]);
        outputs.extend(pass(Tier::Scalar, recurrence, &mut state, one, rows));
    }
    outputs
}

/// What the definition says of the last token, in double precision.
fn defined(recurrence: &Recurrence, tokens: &[Vec<f32>]) -> Vec<f64> {
    match recurrence {
        Recurrence::Convolution(Convolution { taps }) => {
            let sums = convolved(taps, tokens, |token, channel| f64::from(token[channel]));
            sums.into_iter()
                .map(|sum| sum / (1.0 + (-sum).exp()))
                .collect()
        }
        Recurrence::ShortConv(ShortConv { taps }) => {
            let of = |token: &[f32], part: usize, channel: usize| {
                f64::from(token[part * taps.channels + channel])
            };
            let sums = convolved(taps, tokens, |token, channel| {
                of(token, 0, channel) * of(token, 2, channel)
            });
            let last = &tokens[tokens.len() - 1];
            let gated = sums.into_iter().enumerate();
            gated
                .map(|(channel, sum)| of(last, 1, channel) * sum)
                .collect()
        }
        Recurrence::DeltaRule(rule) => {
            let head = |head: usize| {
                let key_head = rule.key_head(head);
                columns(
                    rule.key_dim,
                    rule.value_dim,
                    tokens,
                    |token, state, column| {
                        let at = |index: usize| f64::from(token[index]);
                        let query = |row: usize| at(key_head * rule.key_dim + row);
                        let key = |row: usize| at(rule.key_width() + key_head * rule.key_dim + row);
                        let value = at(2 * rule.key_width() + head * rule.value_dim + column);
                        let decay = at(rule.channels() + head);
                        let step = at(rule.channels() + rule.value_heads + head);
                        for x in state.iter_mut() {
                            *x *= decay;
                        }
                        let known: f64 =
                            state.iter().enumerate().map(|(row, x)| x * key(row)).sum();
                        let change = step * (value - known);
                        for (row, x) in state.iter_mut().enumerate() {
                            *x += key(row) * change;
                        }
                        state
                            .iter()
                            .enumerate()
                            .map(|(row, x)| x * query(row))
                            .sum()
                    },
                )
            };
            (0..rule.value_heads).flat_map(head).collect()
        }
        Recurrence::StateSpace(space) => {
            let head = |head: usize| {
                let group = head / (space.heads / space.groups);
                columns(
                    space.state_dim,
                    space.head_dim,
                    tokens,
                    |token, state, column| {
                        let at = |index: usize| f64::from(token[index]);
                        let width = space.heads * space.head_dim;
                        let of_group = |part: usize, row: usize| {
                            at(width + (part * space.groups + group) * space.state_dim + row)
                        };
                        let x = at(head * space.head_dim + column);
                        let decay = at(space.channels() + head);
                        let step = at(space.channels() + space.heads + head);
                        for (row, value) in state.iter_mut().enumerate() {
                            *value = decay * *value + step * x * of_group(0, row);
                        }
                        let read = state.iter().enumerate();
                        let sum: f64 = read.map(|(row, value)| value * of_group(1, row)).sum();
                        sum + f64::from(space.skip[head]) * x
                    },
                )
            };
            (0..space.heads).flat_map(head).collect()
        }
    }
}

/// Each channel's weighted sum over the last tokens.
fn convolved(taps: &Taps, tokens: &[Vec<f32>], value: impl Fn(&[f32], usize) -> f64) -> Vec<f64> {
    let count = taps.values.len() / taps.padded();
    let channel = |channel: usize| {
        let mut sum = f64::from(taps.bias[channel]);
        for (age, token) in tokens.iter().rev().take(count).enumerate() {
            let tap = taps.values[(count - 1 - age) * taps.padded() + channel];
            sum += f64::from(tap) * value(token, channel);
        }
        sum
    };
    (0..taps.channels).map(channel).collect()
}

/// What the last token gets of each column of a head's state.
fn columns(
    rows: usize,
    columns: usize,
    tokens: &[Vec<f32>],
    step: impl Fn(&[f32], &mut [f64], usize) -> f64,
) -> Vec<f64> {
    let column = |column: usize| {
        let mut state = vec![0.0; rows];
        let outputs = tokens.iter().map(|token| step(token, &mut state, column));
        outputs.last().unwrap_or_default()
    };
    (0..columns).map(column).collect()
}

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    let of_row = |row: &Vec<f32>| row.iter().map(|x| x.to_bits()).collect();
    rows.iter().map(of_row).collect()
}

/// The tokens that a row of a tree follows, itself included, as bits.
fn ancestors_of(parents: &[usize]) -> Vec<u64> {
    let mut ancestors: Vec<u64> = Vec::new();
    for (row, parent) in parents.iter().enumerate() {
        let above = ancestors.get(*parent).copied().unwrap_or(0);
        ancestors.push(above | 1 << row);
    }
    ancestors
}

/// Random tokens' inputs, which keep a state within bounds.
fn tokens_of(recurrence: &Recurrence, seed: u64, count: usize) -> Tokens {
    let width = recurrence.input_width();
    let values: Vec<f32> = noise(seed, count * width).iter().map(|x| 0.5 * x).collect();
    values.chunks(width).map(<[f32]>::to_vec).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn one_by_one_is_what_the_definitions_say(
        recurrence in recurrences(),
        count in 1..12usize,
        seed in any::<u64>(),
    ) {
        let tokens = tokens_of(&recurrence, seed, count);
        let outputs = one_by_one(&recurrence, &tokens);
        let expected = defined(&recurrence, &tokens);
        prop_assert_eq!(outputs[count - 1].len(), expected.len());
        for (output, expected) in outputs[count - 1].iter().zip(expected) {
            let difference = (f64::from(*output) - expected).abs();
            prop_assert!(difference <= 1e-5 * (1.0 + expected.abs()), "{} {}", output, expected);
        }
    }

    #[test]
    fn passes_give_the_bits_of_one_by_one(
        recurrence in recurrences(),
        passes in passes(),
        seed in any::<u32>().prop_map(u64::from),
    ) {
        for tier in tiers() {
            let mut state = RecurrentState::new(&recurrence);
            let mut tokens = Tokens::new();
            for (step, seed) in passes.iter().zip(seed..) {
                let (ancestors, segment) = match step {
                    Pass::Chain { rows, provisional, .. } => {
                        let provisional = *provisional;
                        (vec![], Segment { provisional, ..segment(tokens.len(), *rows) })
                    }
                    Pass::Tree(parents) => {
                        let rows = parents.len();
                        let whole = segment(tokens.len(), rows);
                        (ancestors_of(parents), Segment { mask: Mask::Tree, provisional: rows, ..whole })
                    }
                };
                let rows = tokens_of(&recurrence, seed, segment.rows);
                let outputs = pass(tier, &recurrence, &mut state, (segment, &ancestors), &rows);
                let path = |row: usize| -> Vec<usize> {
                    let before = |above: &usize| ancestors.get(row).is_none_or(|bits| bits >> above & 1 == 1);
                    (0..=row).filter(before).collect()
                };
                for (row, output) in outputs.iter().enumerate() {
                    let mut text = tokens.clone();
                    text.extend(path(row).into_iter().map(|above| rows[above].clone()));
                    let expected = one_by_one(&recurrence, &text);
                    let one = std::slice::from_ref(output);
                    prop_assert_eq!(bits(one), bits(&expected[text.len() - 1..]), "{:?}, row {}", tier, row);
                }
                let accepted = path(segment.rows - 1);
                let kept = match step {
                    Pass::Chain { rows, rolled_back, .. } => rows - rolled_back,
                    Pass::Tree(_) => {
                        state.accept(tokens.len(), &accepted).unwrap();
                        accepted.len()
                    }
                };
                tokens.extend(accepted.into_iter().take(kept).map(|row| rows[row].clone()));
                prop_assert!(state.reaches(tokens.len()));
            }
        }
    }
}
