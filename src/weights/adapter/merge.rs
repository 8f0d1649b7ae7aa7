//! A base's tensor with what adapters change of it, computed when it is read.

use std::thread;

use super::Adapter;
use crate::backend::WeightPrecision;
use crate::error::{Error, Result};
use crate::weights::{PackedTensor, StorageType, StoredTensor, dequantize, quantize};

/// Below this many products of two numbers, another thread takes longer to start than it saves.
const MIN_PRODUCTS_PER_THREAD: usize = 1 << 22;

/// A tensor of the base, and what is done with it.
pub struct Merged<'a> {
    pub(super) base: Base<'a>,
    /// What replaces it, before anything is added.
    pub(super) replaced: Option<(&'a Adapter, StoredTensor<'a>, &'a str)>,
    pub(super) added: Vec<Added<'a>>,
    /// How it is held where no other precision is asked for.
    pub(super) precision: WeightPrecision,
}

/// The tensor as the base has it.
pub(super) enum Base<'a> {
    Whole(StoredTensor<'a>),
    Packed(Box<PackedTensor<'a>>),
}

/// A product that is added.
pub(super) struct Added<'a> {
    pub(super) adapter: &'a Adapter,
    /// `[.., rank, in]`, and its name.
    pub(super) a: (StoredTensor<'a>, &'a str),
    /// `[.., out, rank]`
    pub(super) b: (StoredTensor<'a>, &'a str),
    pub(super) scale: f32,
    /// `[out]`
    pub(super) magnitude: Option<(StoredTensor<'a>, &'a str)>,
    /// Whether the base's tensor is `[in, out]`.
    pub(super) is_transposed: bool,
}

impl Base<'_> {
    /// Outermost dimension first.
    pub(super) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Whole(tensor) => tensor.shape.clone(),
            Self::Packed(packed) => packed.shape(),
        }
    }

    fn storage(&self) -> StorageType {
        match self {
            Self::Whole(tensor) => tensor.storage,
            Self::Packed(packed) => packed.described().storage,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Whole(tensor) => tensor.data.len(),
            Self::Packed(packed) => packed.bytes(),
        }
    }

    fn values(&self) -> Result<Vec<f32>> {
        Ok(match self {
            Self::Whole(tensor) => dequantize(tensor)?,
            Self::Packed(packed) => dequantize(&packed.joined()?)?,
        })
    }
}

impl Merged<'_> {
    /// Outermost dimension first.
    pub(in crate::weights) fn shape(&self) -> Vec<usize> {
        self.base.shape()
    }

    /// How it is held: as the base's tensor, where that does not undo the change. A matrix of fewer than 8 bits lies on a grid
    /// whose steps are larger than most changes, so that rounding to it again would bring back the base's own numbers.
    pub(in crate::weights) fn storage(&self) -> StorageType {
        let shape = self.shape();
        let row = shape.last().copied().unwrap_or(0);
        if self.precision != WeightPrecision::Stored || shape.len() < 2 {
            return StorageType::F32;
        }
        match self.base.storage() {
            floats @ (StorageType::F32 | StorageType::F16 | StorageType::BF16) => floats,
            _ if row.is_multiple_of(StorageType::Q8_0.block_elements()) => StorageType::Q8_0,
            _ => StorageType::BF16,
        }
    }

    /// Bytes of the base's tensor in its file.
    pub(in crate::weights) fn bytes(&self) -> usize {
        self.base.bytes()
    }

    /// Computes it.
    pub(in crate::weights) fn joined(&self) -> Result<StoredTensor<'static>> {
        let shape = self.shape();
        let mut values = match &self.replaced {
            None => self.base.values()?,
            Some((adapter, tensor, name)) => finite(adapter, tensor, name)?,
        };
        for added in &self.added {
            added.add_to(&mut values, &shape)?;
        }
        if let Some(added) = self.added.last()
            && !values.iter().all(|value| value.is_finite())
        {
            let reason = "merged into the base model's, it gives numbers that are not finite";
            return Err(added.adapter.corrupt(added.a.1, reason));
        }
        let merged = StoredTensor {
            storage: StorageType::F32,
            shape,
            data: values.into_iter().flat_map(f32::to_le_bytes).collect(),
        };
        match self.storage() {
            StorageType::F32 => Ok(merged),
            storage => Ok(quantize(&merged, storage)?),
        }
    }
}

/// An adapter's numbers, none of which may be infinite or none.
fn finite(adapter: &Adapter, tensor: &StoredTensor<'_>, name: &str) -> Result<Vec<f32>> {
    let values = dequantize(tensor)?;
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(values),
        Some(value) => {
            let reason = format!(
                "expected finite numbers, found {value}: train it again, or take another copy"
            );
            Err(adapter.corrupt(name, reason))
        }
    }
}

impl Added<'_> {
    /// Adds the product to a tensor of this shape.
    fn add_to(&self, values: &mut [f32], shape: &[usize]) -> Result<()> {
        let &[.., rows, columns] = shape else {
            return Err(Error::Compute("an adapter of a vector".into()));
        };
        let a = finite(self.adapter, &self.a.0, self.a.1)?;
        let b = finite(self.adapter, &self.b.0, self.b.1)?;
        let rank = self.b.0.shape.last().copied().unwrap_or(0);
        let size = rows * columns;
        if size == 0 || rank == 0 {
            return Ok(());
        }
        let (inputs, outputs) = match self.is_transposed {
            true => (rows, columns),
            false => (columns, rows),
        };
        let of_matrices = a.chunks(rank * inputs).zip(b.chunks(outputs * rank));
        for (matrix, (a, b)) in values.chunks_mut(size).zip(of_matrices) {
            match self.is_transposed {
                true => {
                    let left = transposed(a, inputs);
                    add_product(matrix, columns, self.scale, &left, &transposed(b, rank));
                }
                false => add_product(matrix, columns, self.scale, b, a),
            }
        }
        match &self.magnitude {
            Some((tensor, name)) => {
                let norms = finite(self.adapter, tensor, name)?;
                set_norms(values, columns, &norms, self.is_transposed);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// The transpose of a matrix with so many columns.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let column = |column| matrix.iter().skip(column).step_by(columns);
    (0..columns).flat_map(column).copied().collect()
}

/// Adds `scale * left * right` to a matrix with so many columns, its rows in parallel.
fn add_product(matrix: &mut [f32], columns: usize, scale: f32, left: &[f32], right: &[f32]) {
    let rank = right.len() / columns;
    let rows = matrix.len() / columns;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads
        .min(matrix.len() * rank / MIN_PRODUCTS_PER_THREAD)
        .max(1);
    let share = rows.div_ceil(threads);
    let parts = matrix.chunks_mut(share * columns);
    let mut parts: Vec<_> = parts.zip(left.chunks(share * rank)).collect();
    let add = |part: &mut [f32], left: &[f32]| {
        let mut sum = vec![0.0; columns];
        for (row, left) in part.chunks_mut(columns).zip(left.chunks(rank)) {
            sum.fill(0.0);
            for (factor, right) in left.iter().zip(right.chunks(columns)) {
                for (sum, right) in sum.iter_mut().zip(right) {
                    *sum += factor * right;
                }
            }
            for (value, sum) in row.iter_mut().zip(&sum) {
                *value += scale * sum;
            }
        }
    };
    let first = parts.pop();
    thread::scope(|scope| {
        for (part, left) in parts {
            scope.spawn(move || add(part, left));
        }
        if let Some((part, left)) = first {
            add(part, left);
        }
    });
}

/// Multiplies the weights of each output so that their norm is what is given.
fn set_norms(values: &mut [f32], columns: usize, norms: &[f32], is_transposed: bool) {
    let mut squares = vec![0.0_f64; norms.len()];
    for (index, value) in values.iter().enumerate() {
        squares[output(index, columns, is_transposed)] += f64::from(*value).powi(2);
    }
    let factors = norms.iter().zip(&squares);
    let factors: Vec<f32> = factors
        .map(|(norm, squares)| (f64::from(*norm) / squares.sqrt()) as f32)
        .collect();
    for (index, value) in values.iter_mut().enumerate() {
        *value *= factors[output(index, columns, is_transposed)];
    }
}

/// The output that a weight is of.
fn output(index: usize, columns: usize, is_transposed: bool) -> usize {
    match is_transposed {
        true => index % columns,
        false => index / columns,
    }
}
