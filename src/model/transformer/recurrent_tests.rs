//! Layers with a state: whatever is verified, accepted, rolled back and forked, a token's logits are the bits that it gets
//! after its predecessors alone, one at a time.

use std::collections::HashMap;
use std::sync::Arc;

use super::Transformer;
use super::toy::{self, On};
use crate::backend::WeightPrecision;
use crate::backend::candle::CandleBackend;
use crate::backend::cpu::Tier;
use crate::model::{
    Extend, LanguageModel, Logits, Parents, SequenceId, SharedModel, TargetModel, TokenSequence,
};

const VOCAB_SIZE: usize = 512;

/// Reproducible numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn tokens(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.below(VOCAB_SIZE) as u32).collect()
    }
}

/// The logits after a text's last token, its tokens computed one at a time in a sequence of their own.
#[derive(Default)]
struct Expected(HashMap<Vec<u32>, Vec<u32>>);

impl Expected {
    fn after(&mut self, model: &SharedModel, text: &[u32]) -> &[u32] {
        self.0.entry(text.to_vec()).or_insert_with(|| {
            let mut sequence = TokenSequence::new(model);
            for token in &text[..text.len() - 1] {
                sequence.extend(&[*token], 0).unwrap();
            }
            bits(sequence.extend(&text[text.len() - 1..], 1).unwrap().row(0))
        })
    }
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|value| value.to_bits()).collect()
}

/// A sequence and the tokens that it should hold.
struct Checked {
    sequence: TokenSequence,
    text: Vec<u32>,
}

impl Checked {
    fn new(model: &SharedModel) -> Self {
        Self {
            sequence: TokenSequence::new(model),
            text: Vec::new(),
        }
    }

    /// Appends a chain; compares the logits of its last `rows` tokens.
    fn extend(
        &mut self,
        model: &SharedModel,
        expected: &mut Expected,
        tokens: &[u32],
        rows: usize,
    ) {
        let logits = self.sequence.extend(tokens, rows).unwrap();
        self.text.extend(tokens);
        for row in 0..rows {
            let end = self.text.len() - rows + row + 1;
            let found = bits(logits.row(row));
            assert!(
                found == expected.after(model, &self.text[..end]),
                "token {end}"
            );
        }
    }

    /// Appends a random tree, compares each of its rows, and accepts a path of it.
    fn branch(&mut self, model: &SharedModel, expected: &mut Expected, random: &mut Random) {
        let nodes = 1 + random.below(12);
        let tokens = random.tokens(nodes);
        let parents: Vec<Option<usize>> = (0..nodes)
            .map(|node| random.below(node + 1).checked_sub(1))
            .collect();
        let logits = self.sequence.extend_tree(&tokens, &parents, nodes).unwrap();
        let path_to = |mut node: usize| {
            let mut path = vec![node];
            while let Some(parent) = parents[node] {
                node = parent;
                path.insert(0, node);
            }
            path
        };
        for node in 0..nodes {
            let path = path_to(node).into_iter().map(|node| tokens[node]);
            let text: Vec<u32> = self.text.iter().copied().chain(path).collect();
            let found = bits(logits.row(node));
            assert!(
                found == expected.after(model, &text),
                "node {node} of {parents:?}"
            );
        }
        let mut path = path_to(random.below(nodes));
        path.truncate(random.below(path.len() + 1));
        self.sequence.accept(&path).unwrap();
        self.text.extend(path.iter().map(|node| tokens[*node]));
    }

    /// Goes back to a length, or less far than that, and appends again what that lost.
    fn rewind(&mut self, length: usize) -> usize {
        let reached = self.sequence.rewind(length).unwrap();
        assert!(reached <= length && reached == self.sequence.len());
        let lost = self.text[reached..length].to_vec();
        if !lost.is_empty() {
            self.sequence.extend(&lost, 0).unwrap();
        }
        self.text.truncate(length);
        reached
    }
}

#[test]
fn any_order_of_operations_gives_the_bits_of_one_token_at_a_time() {
    for on in On::all() {
        let model = SharedModel::new(toy::hybrid("target", on));
        let (mut random, mut expected) = (Random(7), Expected::default());
        let mut sequences = vec![Checked::new(&model)];
        for _ in 0..120 {
            let (index, count) = (random.below(sequences.len()), sequences.len());
            let checked = &mut sequences[index];
            match random.below(6) {
                0 | 1 => {
                    let tokens = {
                        let count = 1 + random.below(9);
                        random.tokens(count)
                    };
                    let rows = random.below(tokens.len() + 1);
                    checked.extend(&model, &mut expected, &tokens, rows);
                }
                2 => checked.branch(&model, &mut expected, &mut random),
                3 => {
                    let length = random.below(checked.text.len() + 1);
                    checked.rewind(length);
                }
                4 => checked.sequence.checkpoint().unwrap(),
                _ if count < 4 => {
                    let wanted = random.below(checked.text.len() + 1);
                    let copy = checked.sequence.fork_at(wanted).unwrap();
                    assert!(copy.len() <= wanted);
                    let text = checked.text[..copy.len()].to_vec();
                    sequences.push(Checked {
                        sequence: copy,
                        text,
                    });
                }
                _ => drop(sequences.swap_remove(index)),
            }
            if sequences.is_empty() {
                sequences.push(Checked::new(&model));
            }
        }
        for checked in &mut sequences {
            checked.extend(&model, &mut expected, &[3], 1);
        }
    }
}

#[test]
fn a_verified_draft_rolls_back_without_a_checkpoint() {
    let model = SharedModel::new(toy::hybrid("target", On::Tier(Tier::choose().unwrap())));
    let (mut random, mut expected) = (Random(3), Expected::default());
    let mut checked = Checked::new(&model);
    let prompt = random.tokens(30);
    checked.extend(&model, &mut expected, &prompt, 0);
    for accepted in [1, 4, 9, 2] {
        let draft = random.tokens(9);
        let start = checked.text.len();
        checked.extend(&model, &mut expected, &draft, 9);
        // Exactly there, and a second time to less: stop strings cut accepted tokens.
        checked.sequence.truncate(start + accepted).unwrap();
        checked.sequence.truncate(start + accepted / 2).unwrap();
        checked.text.truncate(start + accepted / 2);
    }
    checked.extend(&model, &mut expected, &[5, 6], 2);
}

#[test]
fn what_was_committed_is_left_only_for_a_checkpoint() {
    let model = SharedModel::new(toy::hybrid("target", On::Tier(Tier::choose().unwrap())));
    let (mut random, mut expected) = (Random(11), Expected::default());
    let mut checked = Checked::new(&model);
    let prompt = random.tokens(40);
    checked.extend(&model, &mut expected, &prompt, 0);
    checked.sequence.checkpoint().unwrap();
    for _ in 0..6 {
        let tokens = random.tokens(5);
        checked.extend(&model, &mut expected, &tokens, 5);
    }
    let message = checked.sequence.truncate(52).unwrap_err().to_string();
    assert!(
        message.contains("recurrent layers can go back to, as 40"),
        "{message}"
    );
    // Nothing was changed by that.
    checked.extend(&model, &mut expected, &[9], 1);
    assert_eq!(checked.rewind(55), 40);
    checked.extend(&model, &mut expected, &[9], 1);
    assert_eq!(
        checked.rewind(39),
        0,
        "before the checkpoint there is only the start"
    );
    checked.extend(&model, &mut expected, &[9], 1);
}

#[test]
fn checkpoints_of_a_long_text_thin_out() {
    let model = SharedModel::new(toy::hybrid("target", On::Tier(Tier::choose().unwrap())));
    let mut checked = Checked::new(&model);
    let mut random = Random(5);
    for _ in 0..60 {
        let tokens = random.tokens(10);
        checked.sequence.extend(&tokens, 0).unwrap();
        checked.text.extend(tokens);
        checked.sequence.checkpoint().unwrap();
    }
    let mut lost = 0;
    for length in (0..600).rev().step_by(60) {
        let copy = checked.sequence.fork_at(length).unwrap();
        lost = lost.max(length - copy.len());
    }
    assert!((1..=100).contains(&lost), "{lost} tokens to compute again");
    assert_eq!(checked.sequence.rewind(600).unwrap(), 600);
}

#[test]
fn a_row_is_the_same_bits_in_any_batch() {
    for on in On::all() {
        let mut model = toy::hybrid("target", on);
        let mut random = Random(21);
        let texts: Vec<Vec<u32>> = (0..3).map(|_| random.tokens(60)).collect();
        let alone: Vec<Vec<f32>> = (0..3)
            .map(|index| {
                let one_by_one = texts[index]
                    .iter()
                    .map(|token| extend(&mut *model, &[(100 + index as u64, &[*token][..], 1)]));
                one_by_one.collect::<Vec<_>>().concat()
            })
            .collect();
        let mut done = [0; 3];
        let mut found = vec![Vec::new(); 3];
        while done.iter().any(|done| *done < 60) {
            let batch: Vec<(u64, &[u32], usize)> = (0..3)
                .filter_map(|index| {
                    let count = random.below(12).min(60 - done[index]);
                    let tokens = &texts[index][done[index]..done[index] + count];
                    done[index] += count;
                    (count > 0).then_some((index as u64, tokens, count))
                })
                .collect();
            if batch.is_empty() {
                continue;
            }
            let logits = extend(&mut *model, &batch);
            let mut rows = logits.chunks(VOCAB_SIZE);
            for (index, tokens, _) in batch {
                let own = rows.by_ref().take(tokens.len());
                found[index as usize].extend(own.flatten());
            }
        }
        for (found, alone) in found.iter().zip(&alone) {
            assert!(bits(found) == bits(alone), "{on:?}");
        }
    }
}

fn extend(model: &mut dyn TargetModel, batch: &[(u64, &[u32], usize)]) -> Vec<f32> {
    let batch: Vec<Extend<'_>> = batch
        .iter()
        .map(|(sequence, tokens, rows)| Extend {
            sequence: SequenceId(*sequence),
            tokens,
            parents: Parents::Chain,
            rows: *rows,
        })
        .collect();
    let mut logits = Logits::new(VOCAB_SIZE);
    model.extend(&batch, &mut logits).unwrap();
    logits.into_vec()
}

#[test]
fn an_extension_that_fails_half_way_leaves_the_sequence_as_it_was() {
    let backend = CandleBackend::new(candle_core::Device::Cpu, WeightPrecision::Stored);
    let mut model = toy::transformer("target", backend);
    let mut random = Random(2);
    let (prompt, lost) = (random.tokens(20), random.tokens(16));
    extend(&mut model, &[(1, &prompt, 0), (2, &prompt, 0)]);
    // The first recurrent layer commits the tokens, then a matrix of the wrong shape stops the pass.
    let broken = toy::broken(&model);
    let last = |model: &mut Transformer<_>, mixer| {
        std::mem::replace(
            &mut Arc::get_mut(&mut model.layers[3]).unwrap().mixer,
            mixer,
        )
    };
    let intact = last(&mut model, broken);
    let batch = [Extend {
        sequence: SequenceId(1),
        tokens: &lost,
        parents: Parents::Chain,
        rows: 0,
    }];
    let mut logits = Logits::new(VOCAB_SIZE);
    assert!(model.extend(&batch, &mut logits).is_err());
    last(&mut model, intact);
    let after = extend(&mut model, &[(1, &[7, 8], 2)]);
    assert!(after == extend(&mut model, &[(2, &[7, 8], 2)]));
}
