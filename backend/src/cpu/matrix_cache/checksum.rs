//! The checksum of a packed matrix, computed on all threads.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::cpu::pool::Pool;

/// Bytes that one thread takes at a time.
const CHUNK: usize = 1 << 20;

/// The CRC-32 of the CRC-32s of the chunks.
pub(super) fn checksum(bytes: &[u8], pool: &Pool) -> u32 {
    let chunks: Vec<&[u8]> = bytes.chunks(CHUNK).collect();
    let sums: Vec<AtomicU32> = chunks.iter().map(|_| AtomicU32::new(0)).collect();
    pool.for_each(chunks.len(), &|chunk| {
        sums[chunk].store(crc32fast::hash(chunks[chunk]), Ordering::Relaxed);
    });
    of_sums(sums.into_iter().map(AtomicU32::into_inner))
}

/// The same, on this thread.
pub(super) fn checksum_alone(bytes: &[u8]) -> u32 {
    of_sums(bytes.chunks(CHUNK).map(crc32fast::hash))
}

fn of_sums(sums: impl Iterator<Item = u32>) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    sums.for_each(|sum| hash.update(&sum.to_le_bytes()));
    hash.finalize()
}
