//! Trees of tokens: each row is what it would be at the end of its chain, bit for bit.

mod support;

use specdec_rs::backend::{CachePrecision, WeightPrecision};
use specdec_rs::hub::ModelFiles;
use specdec_rs::model::{Kernels, LoadOptions, SharedModel, TargetModel, TokenSequence, load};
use specdec_rs::{Device, Extend, LanguageModel, Logits, Parents, SequenceId};
use support::models::{all_fixtures, all_kernels, extend, extend_all, open, shared_fixtures};

const TREE: SequenceId = SequenceId(1);

/// Numbers that look random and are the same each time.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Tokens and parents: deep, bushy, or several roots, as it comes.
fn random_tree(
    noise: &mut Noise,
    nodes: usize,
    vocab_size: usize,
) -> (Vec<u32>, Vec<Option<usize>>) {
    let tokens = (0..nodes).map(|_| noise.below(vocab_size) as u32).collect();
    let reach = 1 + noise.below(4);
    let parents = (0..nodes).map(|node| {
        let back = 1 + noise.below(reach);
        (back <= node).then(|| node - back)
    });
    (tokens, parents.collect())
}

/// A token and those that it follows, the first one first.
fn path_to(parents: &[Option<usize>], node: usize) -> Vec<usize> {
    let mut path = vec![node];
    while let Some(parent) = parents[path[0]] {
        path.insert(0, parent);
    }
    path
}

/// Checks every row of a tree at a context length, then goes on from a path of it.
fn tree_equals_chains(model: &mut dyn LanguageModel, past: usize, nodes: usize, about: &str) {
    let mut noise = Noise((past * 100 + nodes) as u64);
    let vocab_size = model.vocab_size();
    let prompt: Vec<u32> = (0..past).map(|_| noise.below(vocab_size) as u32).collect();
    let (tokens, parents) = random_tree(&mut noise, nodes, vocab_size);
    if past > 0 {
        extend(model, TREE.0, &prompt, 0);
    }
    let tree = Extend {
        sequence: TREE,
        tokens: &tokens,
        parents: Parents::Tree(&parents),
        rows: nodes,
    };
    // In a batch with a chain.
    let chain = Extend {
        sequence: SequenceId(9),
        tokens: &[1, 2, 3],
        parents: Parents::Chain,
        rows: 2,
    };
    let rows = extend_all(model, &[tree, chain]);
    model.truncate(SequenceId(9), 0).unwrap();
    let follow = |path: &[usize]| path.iter().map(|node| tokens[*node]).collect::<Vec<u32>>();
    let plain = 2;
    for (node, row) in rows.chunks(vocab_size).take(nodes).enumerate() {
        extend(model, plain, &prompt, 0);
        let mut expected = Vec::new();
        for token in follow(&path_to(&parents, node)) {
            expected = extend(model, plain, &[token], 1);
        }
        assert!(
            row == expected,
            "{about}: token {node} of {nodes} after {past}"
        );
        model.free(SequenceId(plain));
    }
    // The last token's path is kept, and is then like any other text.
    let path = path_to(&parents, nodes - 1);
    model.accept(TREE, &path).unwrap();
    extend(model, plain, &prompt, 0);
    for token in follow(&path) {
        extend(model, plain, &[token], 1);
    }
    for token in [7, 8, 9] {
        let kept = extend(model, TREE.0, &[token], 1);
        let expected = extend(model, plain, &[token], 1);
        assert!(kept == expected, "{about}: after a path of {path:?}");
    }
    model.free(SequenceId(plain));
    model.free(TREE);
}

fn trees_equal_chains(models: Vec<ModelFiles>) {
    for files in models {
        for kernels in [Kernels::Best, Kernels::Candle] {
            let mut model = open(&files, WeightPrecision::Stored, kernels);
            let most = model.max_tree_tokens();
            // Within a page of 64 positions, up to its end, and over it.
            for (past, nodes) in [(0, 5), (3, 12), (50, 20), (62, 9), (64, most)] {
                let about = format!("{files:?}, {kernels:?}");
                tree_equals_chains(model.as_mut(), past, nodes, &about);
            }
        }
    }
}

#[test]
fn rows_of_trees_are_those_of_chains() {
    trees_equal_chains(all_fixtures());
}

#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn rows_of_trees_are_those_of_chains_on_shared_models() {
    trees_equal_chains(shared_fixtures());
}

#[test]
fn every_tier_computes_trees() {
    let file = support::fixtures().join("gguf/llama-Q4_0.gguf");
    let files = ModelFiles::Gguf(file);
    for kernels in all_kernels() {
        let mut model = open(&files, WeightPrecision::Stored, kernels);
        tree_equals_chains(model.as_mut(), 60, 24, &format!("{kernels:?}"));
    }
}

#[test]
fn trees_fit_every_cache() {
    let file = support::fixtures().join("gguf/llama-Q4_0.gguf");
    for kv_cache in [
        CachePrecision::F32,
        CachePrecision::F16,
        CachePrecision::Q8_0,
    ] {
        let options = LoadOptions {
            device: Some(Device::Cpu),
            kv_cache,
            ..LoadOptions::default()
        };
        let mut model = load(&ModelFiles::Gguf(file.clone()), &options)
            .unwrap()
            .model;
        tree_equals_chains(model.as_mut(), 60, 24, &format!("{kv_cache:?}"));
    }
}

/// Forks share pages with a sequence whose tree is cut down to a path, and notice nothing.
#[test]
fn forks_survive_a_path_being_kept() {
    let mut model = small_model();
    let prompt: Vec<u32> = (0..62).collect();
    let [before, within, plain] = [2, 3, 4].map(SequenceId);
    extend(model.as_mut(), TREE.0, &prompt, 0);
    extend(model.as_mut(), plain.0, &prompt, 0);
    model.fork(TREE, before, usize::MAX).unwrap();
    let tree = Extend {
        sequence: TREE,
        tokens: &[10, 11, 12, 13, 14],
        parents: Parents::Tree(&[None, None, Some(1), Some(2), Some(3)]),
        rows: 5,
    };
    extend_all(model.as_mut(), &[tree]);
    model.fork(TREE, within, usize::MAX).unwrap();
    model.accept(TREE, &[1, 2, 3, 4]).unwrap();
    for token in [20, 21, 22] {
        let expected = extend(model.as_mut(), plain.0, &[token], 1);
        for fork in [before, within] {
            assert!(extend(model.as_mut(), fork.0, &[token], 1) == expected);
        }
    }
    model.truncate(plain, 62).unwrap();
    extend(model.as_mut(), plain.0, &[11, 12, 13, 14], 0);
    let kept = extend(model.as_mut(), TREE.0, &[23], 1);
    assert!(kept == extend(model.as_mut(), plain.0, &[23], 1));
}

fn small_model() -> Box<dyn TargetModel> {
    let file = support::fixtures().join("gguf/llama-Q4_0.gguf");
    open(
        &ModelFiles::Gguf(file),
        WeightPrecision::Stored,
        Kernels::Best,
    )
}

#[test]
fn a_sequence_waits_for_a_path() {
    let mut sequence = TokenSequence::new(&SharedModel::new(small_model()));
    sequence.extend(&[1, 2, 3], 0).unwrap();
    let parents = [None, Some(0), Some(0)];
    sequence.extend_tree(&[4, 5, 6], &parents, 3).unwrap();
    assert_eq!(sequence.len(), 3);
    let waiting = sequence.extend(&[7], 1).unwrap_err().to_string();
    assert!(waiting.contains("keep one of its paths"), "{waiting}");
    let crossing = sequence.accept(&[1, 2]).unwrap_err().to_string();
    assert!(crossing.contains("path"), "{crossing}");
    sequence.accept(&[0, 2]).unwrap();
    assert_eq!(sequence.len(), 5);
    sequence.extend(&[7], 1).unwrap();

    sequence.extend_tree(&[4, 5, 6], &parents, 3).unwrap();
    sequence.truncate(6).unwrap();
    let again = sequence.extend(&[8], 1).unwrap();
    sequence.truncate(6).unwrap();
    assert_eq!(sequence.extend(&[8], 1).unwrap().row(0), again.row(0));
    sequence.accept(&[]).unwrap();
    assert!(sequence.accept(&[0]).is_err());
}

#[test]
fn what_is_no_tree_changes_nothing() {
    let mut model = small_model();
    extend(model.as_mut(), TREE.0, &[1, 2, 3], 0);
    let expected = extend(model.as_mut(), TREE.0, &[4], 1);
    model.truncate(TREE, 3).unwrap();
    for (tokens, parents) in [
        (&[5, 6][..], &[None][..]),
        (&[5, 6], &[None, Some(1)]),
        (&[5; 65], &[None; 65]),
        (&[5, 1000], &[None, None]),
    ] {
        let batch = [Extend {
            sequence: TREE,
            tokens,
            parents: Parents::Tree(parents),
            rows: 1,
        }];
        let mut logits = Logits::new(model.vocab_size());
        assert!(model.extend(&batch, &mut logits).is_err());
    }
    assert!(extend(model.as_mut(), TREE.0, &[4], 1) == expected);
}
