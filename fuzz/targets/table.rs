//! Tables of n-grams: whatever a file holds, loading it is a short error or a table that drafts; never a panic, an abort, a
//! hang, or more than 2 GB. A table that was loaded is saved and loaded again as it is.
//!
//! The input is a file; the fingerprint in it is the one that is asked for.
#![no_main]

use std::cell::OnceCell;
use std::fs;

use libfuzzer_sys::fuzz_target;
use specdec_fuzz::{Folder, check_error};
use specdec_rs::speculation::RetrievalDrafter;
use specdec_rs::speculation::retrieval::{Table, TableDrafter};

/// Where a file has its fingerprint.
const FINGERPRINT: std::ops::Range<usize> = 16..24;

thread_local! {
    static FOLDER: OnceCell<Folder> = const { OnceCell::new() };
}

fuzz_target!(|input: &[u8]| {
    FOLDER.with(|folder| use_table(folder.get_or_init(Folder::default), input));
});

fn use_table(folder: &Folder, input: &[u8]) {
    let path = folder.file("table");
    let fingerprint = input.get(FINGERPRINT).unwrap_or(&[0; 8]);
    let fingerprint = u64::from_le_bytes(fingerprint.try_into().unwrap());
    folder.put("table", input);
    let table = Table::default();
    if let Err(error) = table.load(&path, fingerprint) {
        return check_error(&error);
    }
    table.load(&path, !fingerprint).unwrap_err();
    propose(&table);
    table.save(&path, fingerprint).unwrap();
    let saved = fs::read(&path).unwrap();
    let again = Table::default();
    again.load(&path, fingerprint).unwrap();
    again.save(&path, fingerprint).unwrap();
    assert_eq!(fs::read(&path).unwrap().len(), saved.len());
    again.learn(&[1, 2, 3, 1, 2, 3], 0);
    propose(&again);
}

/// Drafts a few tokens after every short text of small tokens.
fn propose(table: &Table) {
    let mut drafter = TableDrafter::new(table);
    let mut found = Vec::new();
    for token in 0..8 {
        drafter.follow(&[token, token + 1]).unwrap();
        found.clear();
        drafter.candidates(None, &mut found);
        for candidate in &found {
            assert!((0.0..=1.0).contains(&candidate.prior), "{candidate:?}");
        }
        drafter.enter(None, token + 2);
        drafter.candidates(Some(0), &mut found);
    }
}
