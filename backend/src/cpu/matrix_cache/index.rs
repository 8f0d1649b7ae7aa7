//! The index of a folder of packed matrices: a line of text for each, its fields separated by tabs.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

use super::regular;
use crate::StorageType;
use crate::cpu::pack::Packed;

/// The index's name in its folder.
pub(super) const FILE: &str = "index";

/// More than the index of any model has.
const MAX_BYTES: u64 = 64 << 20;

/// Where a packed matrix lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The layout's name.
    pub(super) layout: String,
    /// How the checkpoint stored it.
    pub(super) storage: StorageType,
    /// Outputs and inputs.
    pub(super) shape: [usize; 2],
    /// The first of its bytes in the file of weights.
    pub(super) start: usize,
    pub(super) bytes: usize,
    pub(super) checksum: u32,
}

impl Entry {
    pub(super) fn new(name: &str, packed: &Packed, start: usize, checksum: u32) -> Self {
        Self {
            name: name.to_owned(),
            layout: packed.weights.layout().to_owned(),
            storage: packed.storage(),
            shape: [packed.outputs, packed.inputs],
            start,
            bytes: packed.bytes(),
            checksum,
        }
    }

    /// The line, with its end.
    pub(super) fn line(&self) -> String {
        let Self {
            name,
            layout,
            storage,
            shape: [outputs, inputs],
            start,
            bytes,
            checksum,
        } = self;
        format!(
            "{name}\t{layout}\t{storage}\t{outputs}\t{inputs}\t{start}\t{bytes}\t{checksum:08x}\n"
        )
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [
            name,
            layout,
            storage,
            outputs,
            inputs,
            start,
            bytes,
            checksum,
        ] = fields[..]
        else {
            return None;
        };
        let mut storages = StorageType::ALL.into_iter();
        Some(Self {
            name: name.to_owned(),
            layout: layout.to_owned(),
            storage: storages.find(|known| known.name() == storage)?,
            shape: [outputs.parse().ok()?, inputs.parse().ok()?],
            start: start.parse().ok()?,
            bytes: bytes.parse().ok()?,
            checksum: u32::from_str_radix(checksum, 16).ok()?,
        })
    }
}

/// The entries of an index, and how much of the file they take.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: HashMap<String, Entry>,
    /// Bytes of the whole lines; what follows them was being written when a writer was interrupted.
    pub(super) valid_bytes: usize,
    /// The first byte of the weights that no matrix takes.
    pub(super) end: usize,
}

impl Index {
    /// Reads an index, up to the first line that is none.
    pub(super) fn read(file: &Path) -> io::Result<Self> {
        let mut text = Vec::new();
        regular::open(file)?
            .take(MAX_BYTES)
            .read_to_end(&mut text)?;
        let mut index = Self::default();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let entry = line
                .strip_suffix(b"\n")
                .and_then(|line| Entry::parse(str::from_utf8(line).ok()?));
            let Some(entry) = entry else {
                break;
            };
            index.valid_bytes += line.len();
            index.add(entry);
        }
        Ok(index)
    }

    pub(super) fn add(&mut self, entry: Entry) {
        self.end = self.end.max(entry.start.saturating_add(entry.bytes));
        self.entries.insert(entry.name.clone(), entry);
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }
}
