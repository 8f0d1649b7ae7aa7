//! Gates of which only the largest values count (Gemma 3n).

/// Gemma 3n's share of an MLP's gate that is zero, where the file doesn't say.
pub(super) fn usual_sparsity(layer: usize, layers: usize) -> f64 {
    const SPARSE_LAYERS: usize = 10;
    match layer < SPARSE_LAYERS && SPARSE_LAYERS < layers {
        true => 0.95,
        false => 0.0,
    }
}

/// The number below which a share of the standard normal distribution lies.
pub(super) fn normal_quantile(share: f64) -> f64 {
    let below = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        match below(middle) < share {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}
