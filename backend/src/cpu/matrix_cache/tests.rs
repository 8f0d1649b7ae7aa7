use std::fs::{self, File};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::cpu::memory::Arena;
use crate::cpu::tests::stored_as;
use crate::{StorageType, StoredTensor, quantize};

const SHAPE: [usize; 2] = [40, 512];

/// A matrix for each layout, by its name.
fn matrices(pool: &Pool) -> Vec<(String, Packed)> {
    use StorageType as S;
    let values = (0..SHAPE[0] * SHAPE[1]).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0);
    let tensor = StoredTensor {
        storage: S::F32,
        shape: SHAPE.to_vec(),
        data: values.flat_map(f32::to_le_bytes).collect(),
    };
    let mut arena = Arena::new(1 << 20);
    let storages = [
        S::F32,
        S::F16,
        S::BF16,
        S::Q4_K,
        S::Q5_0,
        S::Q6_K,
        S::Q8_0,
        S::IQ4_XS,
        S::MXFP4,
        S::NVFP4,
        S::Q2_K,
        S::IQ1_S,
        S::IQ2_XXS,
        S::IQ3_S,
        S::IQ3_XXS,
    ];
    let matrices = storages.map(|storage| {
        let stored = match storage {
            S::F32 => tensor.widened().unwrap(),
            S::F16 | S::BF16 => quantize(&tensor, storage).unwrap(),
            _ if StorageType::quantizable().any(|known| known == storage) => {
                quantize(&tensor, storage).unwrap()
            }
            _ => stored_as(storage, 7, SHAPE[0], SHAPE[1]),
        };
        let packed = Packed::new(&stored, &mut arena, pool).unwrap();
        (format!("Layer(3, {storage})"), packed)
    });
    matrices.into()
}

fn open(folder: &Path) -> MatrixCache {
    let path = folder.to_owned();
    let found = move |_: &AtomicBool| {
        Some(WritableFolder {
            path,
            lock: Box::new(()),
        })
    };
    MatrixCache::new(Some(folder), Box::new(found))
}

/// Writes matrices, and waits until the index names so many.
fn write(folder: &Path, matrices: &[(String, Packed)], entries: usize) {
    let cache = open(folder);
    for (name, packed) in matrices {
        cache.put(name, packed);
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    let lines =
        || fs::read_to_string(folder.join(index::FILE)).map_or(0, |text| text.lines().count());
    while lines() != entries {
        assert!(Instant::now() < deadline, "{} of {entries}", lines());
        thread::sleep(Duration::from_millis(5));
    }
}

fn assert_all_lie_there(folder: &Path, matrices: &[(String, Packed)], pool: &Pool) {
    let cache = open(folder);
    for (name, packed) in matrices {
        let found = cache.get(name, SHAPE, pool).unwrap();
        assert_eq!(found.weights.layout(), packed.weights.layout());
        assert_eq!(
            found.weights.as_bytes(),
            packed.weights.as_bytes(),
            "{name}"
        );
        assert_eq!(found.storage(), packed.storage());
        assert_eq!([found.outputs, found.inputs], SHAPE);
    }
}

#[test]
fn matrices_of_every_layout_come_back_as_they_were() {
    let (folder, pool) = (tempfile::tempdir().unwrap(), Pool::shared(Some(2)));
    let matrices = matrices(&pool);
    let layouts: std::collections::HashSet<_> =
        matrices.iter().map(|(_, m)| m.weights.layout()).collect();
    assert_eq!(layouts.len(), 15);
    assert!(
        open(folder.path())
            .get("Layer(3, F32)", SHAPE, &pool)
            .is_none()
    );
    write(folder.path(), &matrices, matrices.len());
    assert_all_lie_there(folder.path(), &matrices, &pool);
    let cache = open(folder.path());
    assert!(cache.get("Layer(4, F32)", SHAPE, &pool).is_none());
}

#[test]
fn an_interrupted_writer_is_continued() {
    let (folder, pool) = (tempfile::tempdir().unwrap(), Pool::shared(Some(1)));
    let matrices = matrices(&pool);
    write(folder.path(), &matrices[..3], 3);
    let weights = fs::metadata(folder.path().join(writer::WEIGHTS))
        .unwrap()
        .len();
    // As if it had ended within a line, and within the matrix after it.
    let index = folder.path().join(index::FILE);
    let mut text = fs::read(&index).unwrap();
    text.extend(b"Layer(3, Q4_K)\tAff");
    fs::write(&index, text).unwrap();
    let file = File::options()
        .write(true)
        .open(folder.path().join(writer::WEIGHTS))
        .unwrap();
    file.set_len(weights + 100).unwrap();
    assert_all_lie_there(folder.path(), &matrices[..3], &pool);
    write(folder.path(), &matrices, matrices.len());
    assert_all_lie_there(folder.path(), &matrices, &pool);
}

#[test]
fn corrupt_weights_are_not_returned_and_are_written_anew() {
    let (folder, pool) = (tempfile::tempdir().unwrap(), Pool::shared(Some(1)));
    let matrices = matrices(&pool);
    write(folder.path(), &matrices, matrices.len());
    let reader = open(folder.path());
    let weights = folder.path().join(writer::WEIGHTS);
    let entry = |name: &str| {
        let index = Index::read(&folder.path().join(index::FILE)).unwrap();
        index.get(name).unwrap().clone()
    };
    let (name, packed) = &matrices[4];
    let mut bytes = fs::read(&weights).unwrap();
    bytes[entry(name).start + 1000] ^= 1;
    // (In place: the other map sees it, too.)
    fs::write(&weights, bytes).unwrap();
    assert!(reader.get(name, SHAPE, &pool).is_none());
    drop(reader);
    let cache = open(folder.path());
    for (name, packed) in &matrices {
        if cache.get(name, SHAPE, &pool).is_none() {
            cache.put(name, packed);
        }
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while open(folder.path()).get(name, SHAPE, &pool).is_none() {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(5));
    }
    drop(cache);
    assert_eq!(entry(name).bytes, packed.bytes());
    write(folder.path(), &matrices, matrices.len());
    assert_all_lie_there(folder.path(), &matrices, &pool);
}

#[test]
fn hostile_indices_give_nothing() {
    let (folder, pool) = (tempfile::tempdir().unwrap(), Pool::shared(Some(1)));
    let matrices = matrices(&pool);
    write(folder.path(), &matrices, matrices.len());
    let index = folder.path().join(index::FILE);
    let (name, _) = &matrices[3];
    let line = Index::read(&index).unwrap().get(name).unwrap().clone();
    let wrong = [
        Entry {
            start: line.start + 1,
            ..line.clone()
        },
        Entry {
            start: usize::MAX - 63,
            ..line.clone()
        },
        Entry {
            bytes: line.bytes - 1,
            ..line.clone()
        },
        Entry {
            bytes: usize::MAX,
            ..line.clone()
        },
        Entry {
            layout: "Affine3".into(),
            ..line.clone()
        },
        Entry {
            layout: "Affine5".into(),
            ..line.clone()
        },
        Entry {
            shape: [SHAPE[0], SHAPE[1] + 32],
            ..line.clone()
        },
        Entry {
            shape: [usize::MAX; 2],
            ..line.clone()
        },
        Entry {
            checksum: !line.checksum,
            ..line
        },
    ];
    for entry in wrong {
        fs::write(&index, entry.line()).unwrap();
        let cache = open(folder.path());
        assert!(cache.get(name, entry.shape, &pool).is_none(), "{entry:?}");
    }
    for text in ["\n", "a\tb\n", "\u{0}\u{0}", "é\t\t\t\t\t\t\t\n"] {
        fs::write(&index, text).unwrap();
        assert!(open(folder.path()).get("", SHAPE, &pool).is_none());
    }
    fs::remove_file(folder.path().join(writer::WEIGHTS)).unwrap();
    write(folder.path(), &matrices, matrices.len());
    assert_all_lie_there(folder.path(), &matrices, &pool);
}

/// Packed bytes that earlier versions wrote are read as they are: a change to them raises [`LAYOUT_VERSION`].
#[test]
fn packed_bytes_change_only_with_the_version() {
    let pool = Pool::shared(Some(1));
    let sums = matrices(&pool).into_iter();
    let sums: Vec<_> = sums
        .map(|(_, packed)| checksum(packed.weights.as_bytes(), &pool))
        .collect();
    let expected = [
        1_281_102_621,
        144_083_049,
        3_809_337_814,
        4_043_571_523,
        2_888_650_030,
        2_806_005_480,
        2_698_409_887,
        1_154_476_265,
        168_877_957,
        4_162_640_122,
        3_226_305_788,
        1_567_844_434,
        2_952_839_443,
        4_210_425_430,
        2_012_285_803,
    ];
    assert_eq!((LAYOUT_VERSION, &sums[..]), (1, &expected[..]));
}

#[test]
fn what_others_map_is_never_written_over() {
    let (folder, pool) = (tempfile::tempdir().unwrap(), Pool::shared(Some(1)));
    let matrices = matrices(&pool);
    write(folder.path(), &matrices, matrices.len());
    let index = folder.path().join(index::FILE);
    let whole = fs::read_to_string(&index).unwrap();
    let (first, rest) = whole.split_once('\n').unwrap();
    let reader = open(folder.path());
    for damaged in [String::new(), format!("{first}\nno entry\n{rest}")] {
        fs::write(&index, damaged).unwrap();
        let reversed: Vec<_> = matrices.iter().rev().cloned().collect();
        write(folder.path(), &reversed, matrices.len());
        assert_all_lie_there(folder.path(), &matrices, &pool);
        for (name, packed) in &matrices {
            let mapped = reader.get(name, SHAPE, &pool).unwrap();
            assert_eq!(mapped.weights.as_bytes(), packed.weights.as_bytes());
        }
    }
}

#[cfg(unix)]
#[test]
fn pipes_in_the_folder_are_neither_waited_for_nor_written_to() {
    let pool = Pool::shared(Some(1));
    let matrices = matrices(&pool);
    for name in [index::FILE, writer::WEIGHTS] {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let cache = open(folder.path());
        assert!(cache.get(&matrices[0].0, SHAPE, &pool).is_none());
        // The thread ends, and what it was given is dropped.
        cache.put(&matrices[0].0, &matrices[0].1);
        drop(cache);
        let other = match name {
            index::FILE => writer::WEIGHTS,
            _ => index::FILE,
        };
        assert!(fs::metadata(folder.path().join(other)).map_or(0, |file| file.len()) == 0);
    }
}
