//! The layouts in which checkpoints store matrices, turned into ours.

use std::borrow::Cow;

use crate::weights::{Mxfp4, StorageType, StoredTensor};

/// Which rows of a stored matrix are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// All of them.
    All,
    /// Those of an expert, of matrices `[experts, out, in]`: the rows before it, and its own; of vectors, its own.
    Expert { before: usize, rows: usize },
    /// Those of one of several matrices stacked: the rows before it, and its own.
    Stacked { before: usize, rows: usize },
    /// Of one of several matrices: each `step`-th of its columns, which are our rows; of one of several vectors, each `step`-th
    /// element (gpt-oss).
    OfExpert {
        expert: usize,
        first: usize,
        step: usize,
    },
    /// The same parts of each of several groups of rows: where a part begins in a group, and its rows. Ours are the first part
    /// of all groups, then the second, then the third.
    OfGroups {
        groups: usize,
        group_rows: usize,
        parts: [(usize, usize); 3],
    },
}

impl Rows {
    /// Of `heads` groups of `parts` heads each, number `index` (GPT-NeoX).
    pub(super) fn interleaved(index: usize, parts: usize, heads: usize, head_dim: usize) -> Self {
        Self::OfGroups {
            groups: heads,
            group_rows: parts * head_dim,
            parts: [(index * head_dim, head_dim), (0, 0), (0, 0)],
        }
    }

    /// Our rows of a stored tensor, of our shape; `None` if it has too few, or others.
    pub(super) fn of<'a>(
        self,
        stored: StoredTensor<'a>,
        shape: &[usize],
    ) -> Option<StoredTensor<'a>> {
        let ours = match self {
            Self::All => stored,
            // The name of the fused matrix may be the single one's.
            Self::Stacked { .. } if stored.shape == shape => stored,
            Self::Expert { before, rows } => match (stored.shape.len(), shape.len()) {
                (3, 2) => row_range(stored, before, rows)?,
                (2, 1) => row_range(stored, before / rows.max(1), 1)?,
                _ => return None,
            },
            Self::Stacked { before, rows } => row_range(stored, before, rows)?,
            Self::OfExpert {
                expert,
                first,
                step,
            } => match stored.shape[..] {
                [_, rows, _] => {
                    let matrix = row_range(stored, expert.checked_mul(rows)?, rows)?;
                    transpose_every(&matrix, first, step)?
                }
                [_, width] => {
                    let column = StoredTensor {
                        shape: vec![width, 1],
                        ..row_range(stored, expert, 1)?
                    };
                    every(&column, first, step)?
                }
                _ => return None,
            },
            Self::OfGroups {
                groups,
                group_rows,
                parts,
            } => {
                let ranges = parts.into_iter().flat_map(|(before, rows)| {
                    (0..groups).map(move |group| (group * group_rows + before, rows))
                });
                gathered_rows(&stored, ranges)?
            }
        };
        // Files differ in dimensions of 1.
        match without_ones(&ours.shape).eq(without_ones(shape)) {
            true => Some(StoredTensor {
                shape: shape.to_vec(),
                ..ours
            }),
            false => Some(ours),
        }
    }

    /// Our rows of a tensor in two parts.
    pub(super) fn of_packed(self, packed: &Mxfp4<'_>) -> Option<StoredTensor<'static>> {
        let Self::OfExpert {
            expert,
            first,
            step,
        } = self
        else {
            return None;
        };
        every(&packed.matrix(expert)?, first, step)
    }
}

/// Each `step`-th row of a matrix.
fn every(tensor: &StoredTensor<'_>, first: usize, step: usize) -> Option<StoredTensor<'static>> {
    let [rows, columns] = tensor.shape[..] else {
        return None;
    };
    let row_bytes = tensor.storage.bytes(columns).filter(|bytes| *bytes > 0)?;
    let chosen = tensor
        .data
        .chunks_exact(row_bytes)
        .skip(first)
        .step_by(step);
    Some(StoredTensor {
        storage: tensor.storage,
        shape: vec![rows.checked_sub(first)?.div_ceil(step), columns],
        data: Cow::Owned(chosen.collect::<Vec<_>>().concat()),
    })
}

fn without_ones(shape: &[usize]) -> impl Iterator<Item = usize> {
    shape.iter().copied().filter(|dimension| *dimension != 1)
}

/// So many rows of a matrix, or elements of a vector, without a copy where the file is mapped.
fn row_range(tensor: StoredTensor<'_>, start: usize, count: usize) -> Option<StoredTensor<'_>> {
    let (rows, row_elements) = match tensor.shape[..] {
        [rows] => (rows, 1),
        [rows, columns] => (rows, columns),
        [matrices, rows, columns] => (matrices.checked_mul(rows)?, columns),
        _ => return None,
    };
    let row_bytes = tensor.storage.bytes(row_elements)?;
    let end = start.checked_add(count).filter(|end| *end <= rows)?;
    let bytes = start * row_bytes..end * row_bytes;
    let data = match tensor.data {
        Cow::Borrowed(data) => Cow::Borrowed(data.get(bytes)?),
        Cow::Owned(data) => Cow::Owned(data.get(bytes)?.to_vec()),
    };
    let shape = match tensor.shape.len() {
        1 => vec![count],
        _ => vec![count, row_elements],
    };
    Some(StoredTensor {
        storage: tensor.storage,
        shape,
        data,
    })
}

/// The transpose of a matrix of unquantized numbers.
pub(super) fn transpose(tensor: &StoredTensor<'_>) -> Option<StoredTensor<'static>> {
    transpose_every(tensor, 0, 1)
}

/// The transpose of each `step`-th column.
fn transpose_every(
    tensor: &StoredTensor<'_>,
    first: usize,
    step: usize,
) -> Option<StoredTensor<'static>> {
    let [rows, columns] = tensor.shape[..] else {
        return None;
    };
    let size = match tensor.storage {
        StorageType::F32 => 4,
        StorageType::F16 | StorageType::BF16 => 2,
        _ => return None,
    };
    let mut data = Vec::with_capacity(tensor.data.len() / step);
    let mut chosen = 0;
    for column in (first..columns).step_by(step) {
        for row in 0..rows {
            let start = (row * columns + column) * size;
            data.extend_from_slice(tensor.data.get(start..start + size)?);
        }
        chosen += 1;
    }
    Some(StoredTensor {
        storage: tensor.storage,
        shape: vec![chosen, rows],
        data: Cow::Owned(data),
    })
}

/// Ranges of rows, each the first and how many, gathered.
fn gathered_rows(
    tensor: &StoredTensor<'_>,
    ranges: impl Iterator<Item = (usize, usize)>,
) -> Option<StoredTensor<'static>> {
    let (mut data, mut rows) = (Vec::new(), 0);
    for (first, count) in ranges.filter(|(_, count)| *count > 0) {
        let view = StoredTensor {
            storage: tensor.storage,
            shape: tensor.shape.clone(),
            data: Cow::Borrowed(&tensor.data),
        };
        data.extend_from_slice(&row_range(view, first, count)?.data);
        rows += count;
    }
    let mut shape = tensor.shape.clone();
    *shape.first_mut()? = rows;
    Some(StoredTensor {
        storage: tensor.storage,
        shape,
        data: Cow::Owned(data),
    })
}
