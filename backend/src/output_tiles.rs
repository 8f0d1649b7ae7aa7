//! Some of a matrix's outputs, in tiles of sixteen: those that kernels compute together.

/// The outputs of a tile.
pub(crate) const TILE: usize = 16;

/// Whole tiles of a matrix's outputs.
///
/// ```
/// use specdec_backend::OutputTiles;
///
/// let mut outputs = OutputTiles::new(100);
/// outputs.add(3);
/// outputs.add(40);
/// // Of the incomplete last tile, which no product computes by itself.
/// outputs.add(99);
/// assert_eq!(outputs.iter().collect::<Vec<_>>(), (0..16).chain(32..48).collect::<Vec<_>>());
/// ```
#[derive(Debug, Clone)]
pub struct OutputTiles {
    /// In the order in which they were added.
    tiles: Vec<usize>,
    /// Whether each of the matrix's whole tiles was added.
    added: Vec<bool>,
}

impl OutputTiles {
    /// No output of a matrix that has so many.
    pub fn new(outputs: usize) -> Self {
        Self {
            tiles: Vec::new(),
            added: vec![false; outputs / TILE],
        }
    }

    /// Adds an output with those of its tile; one that is in no whole tile is left out.
    pub fn add(&mut self, output: usize) {
        let tile = output / TILE;
        if let Some(added @ false) = self.added.get_mut(tile) {
            *added = true;
            self.tiles.push(tile);
        }
    }

    /// How many outputs these are.
    pub fn len(&self) -> usize {
        self.tiles.len() * TILE
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tiles.is_empty()
    }

    /// The outputs, in the order of the tiles.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let outputs = |tile: &usize| (tile * TILE) as u32..((tile + 1) * TILE) as u32;
        self.tiles.iter().flat_map(outputs)
    }

    /// The tiles.
    pub(crate) fn tiles(&self) -> &[usize] {
        &self.tiles
    }
}
