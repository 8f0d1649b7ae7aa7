//! Weight matrices: packed when they are brought to the kernels, or when a product first needs them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::layouts::BLOCK;
use super::matrix_cache::MatrixCache;
use super::memory::Arena;
use super::pack::Packed;
use super::pool::Pool;
use super::weights::Layout;
use crate::error::{Error, Result};
use crate::{MatrixSource, StorageType, StoredTensor, WeightPrecision, quantize};

/// The size of the chunks in which the matrices' memory is allocated.
const CHUNK_BYTES: usize = 64 << 20;

/// A weight matrix `[outputs, inputs]` in the kernels' layout.
pub struct Matrix {
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// How it is held.
    pub(super) storage: StorageType,
    packed: OnceLock<Packed>,
    /// What `packed` will be made of.
    unpacked: Mutex<Option<Unpacked>>,
}

/// A matrix that no product needed yet.
struct Unpacked {
    name: String,
    source: Box<dyn MatrixSource>,
    packer: Arc<Packer>,
}

impl Matrix {
    /// Packed by the first call, and by no other.
    pub(super) fn packed(&self) -> Result<&Packed> {
        if let Some(packed) = self.packed.get() {
            return Ok(packed);
        }
        let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unpacked) = &*unpacked {
            let packed = unpacked.pack()?;
            self.packed.get_or_init(|| packed);
        }
        *unpacked = None;
        let packed = self.packed.get();
        packed.ok_or_else(|| Error::Compute("a matrix without weights".into()))
    }

    /// What holds its weights.
    pub(super) fn layout(&self) -> Layout {
        Layout::of(self.storage)
    }

    /// Bytes that it takes once it is packed.
    pub(super) fn bytes(&self) -> u64 {
        Packed::footprint(self.storage, self.outputs, self.inputs)
    }
}

impl From<Packed> for Matrix {
    fn from(packed: Packed) -> Self {
        Self {
            outputs: packed.outputs,
            inputs: packed.inputs,
            storage: packed.storage(),
            packed: packed.into(),
            unpacked: Mutex::default(),
        }
    }
}

impl Unpacked {
    fn pack(&self) -> Result<Packed> {
        let tensor = self.source.tensor()?;
        let packed = self.packer.pack(&tensor)?;
        self.source.check()?;
        self.source.release();
        self.packer.keep(&self.name, &packed);
        self.packer.first_uses.fetch_add(1, Ordering::Relaxed);
        Ok(packed)
    }
}

/// What packs matrices.
pub(super) struct Packer {
    pub(super) precision: WeightPrecision,
    pool: Arc<Pool>,
    /// The matrices' memory.
    arena: Mutex<Arena>,
    /// Matrices that were packed by other processes, or will be read by them.
    cache: Option<MatrixCache>,
    /// How many matrices were packed by their first use.
    first_uses: AtomicUsize,
}

impl Packer {
    pub(super) fn new(
        precision: WeightPrecision,
        pool: Arc<Pool>,
        cache: Option<MatrixCache>,
    ) -> Self {
        Self {
            precision,
            pool,
            arena: Mutex::new(Arena::new(CHUNK_BYTES)),
            cache,
            first_uses: AtomicUsize::new(0),
        }
    }

    pub(super) fn first_uses(&self) -> usize {
        self.first_uses.load(Ordering::Relaxed)
    }

    /// Packs a matrix, converted as the precision asks for.
    pub(super) fn pack(&self, tensor: &StoredTensor<'_>) -> Result<Packed> {
        match self.precision.held(tensor) {
            held if held == tensor.storage => self.pack_as_stored(tensor),
            StorageType::F32 => self.pack_as_stored(&tensor.widened()?),
            held => self.pack_as_stored(&quantize(tensor, held)?),
        }
    }

    pub(super) fn pack_as_stored(&self, tensor: &StoredTensor<'_>) -> Result<Packed> {
        let mut arena = self.arena.lock().unwrap_or_else(PoisonError::into_inner);
        Packed::new(tensor, &mut arena, &self.pool)
    }

    /// A matrix that is packed when it is first used.
    pub(super) fn later(
        self: &Arc<Self>,
        name: &str,
        source: Box<dyn MatrixSource>,
    ) -> Result<Matrix> {
        let tensor = source.tensor()?;
        let &[outputs, inputs] = tensor.shape.as_slice() else {
            return Err(Error::Compute(format!(
                "a weight of shape {:?} where a matrix was expected",
                tensor.shape
            )));
        };
        let storage = self.precision.held(&tensor);
        // What can't be packed is refused now.
        let has_whole_blocks = inputs.is_multiple_of(BLOCK);
        if matches!(Layout::of(storage), Layout::Quantized(_)) && !has_whole_blocks {
            return self.pack(&tensor).map(Matrix::from);
        }
        Ok(Matrix {
            outputs,
            inputs,
            storage,
            packed: OnceLock::new(),
            unpacked: Mutex::new(Some(Unpacked {
                name: name.to_owned(),
                source,
                packer: self.clone(),
            })),
        })
    }

    /// The matrix of that name, if an earlier process kept it.
    pub(super) fn kept(&self, name: &str, shape: [usize; 2]) -> Option<Packed> {
        self.cache.as_ref()?.get(name, shape, &self.pool)
    }

    /// Keeps a matrix for later processes.
    pub(super) fn keep(&self, name: &str, packed: &Packed) {
        if let Some(cache) = &self.cache {
            cache.put(name, packed);
        }
    }
}
