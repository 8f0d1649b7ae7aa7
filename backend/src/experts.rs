//! Mixtures of experts: MLPs of which each row passes through a few.
//!
//! Rows are grouped by expert, so that an expert's weights are read once for all of them; a row's sum runs over its experts in
//! their order. What a row gets does not depend on the other rows (batch invariance).
//!
//! ```
//! use specdec_backend::Routes;
//!
//! let mut routes = Routes::new(2, 4);
//! routes.add(0, 3, 0.25);
//! routes.add(1, 3, 1.0);
//! routes.add(0, 1, 0.75);
//! let of_last: Vec<usize> = routes.rows_of(3).collect();
//! assert_eq!((of_last, routes.rows()), (vec![0, 1], 2));
//! ```

use crate::error::Result;
use crate::{Backend, Gating, HostRows, Linear};

/// One expert: `down(gating(gate(x), up(x)))`, or `down(activation(up(x)))` without a gate.
pub struct Expert<B: Backend> {
    /// `[width, in]`
    pub gate: Option<Linear<B>>,
    /// `[width, in]`
    pub up: Linear<B>,
    /// `[in, width]`
    pub down: Linear<B>,
}

/// The experts of each row, with the factors on what they return.
#[derive(Debug, Clone, PartialEq)]
pub struct Routes {
    rows: usize,
    /// Of each expert.
    routes: Vec<Vec<Route>>,
}

/// A row that an expert computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Route {
    pub(crate) row: usize,
    pub(crate) weight: f32,
}

impl Routes {
    /// None yet, of so many rows to so many experts.
    pub fn new(rows: usize, experts: usize) -> Self {
        Self {
            rows,
            routes: vec![Vec::new(); experts],
        }
    }

    /// Sends a row to an expert. Rows are added in their order.
    pub fn add(&mut self, row: usize, expert: usize, weight: f32) {
        self.routes[expert].push(Route { row, weight });
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The rows that an expert computes.
    pub fn rows_of(&self, expert: usize) -> impl Iterator<Item = usize> {
        self.routes[expert].iter().map(|route| route.row)
    }

    /// The experts that compute rows, each with them.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, &[Route])> {
        let routes = self.routes.iter().map(Vec::as_slice).enumerate();
        routes.filter(|(_, routes)| !routes.is_empty())
    }
}

/// Adds what an expert returned for its rows to their sums, `[rows, width]`.
pub(crate) fn add_weighted(sums: &mut [f32], routes: &[Route], returned: &[f32], width: usize) {
    for (route, returned) in routes.iter().zip(returned.chunks_exact(width.max(1))) {
        let sums = &mut sums[route.row * width..][..width];
        for (sum, value) in sums.iter_mut().zip(returned) {
            *sum += route.weight * value;
        }
    }
}

/// The two halves of a gated MLP, joined; what is no product on the host.
fn joined<B: Backend>(
    backend: &B,
    gate: B::Activations,
    up: B::Activations,
    rows: usize,
    gating: Gating,
) -> Result<B::Activations> {
    let (limit, alpha) = match gating {
        Gating::Product(activation) => {
            return backend.multiply(&backend.activate(gate, activation)?, &up);
        }
        Gating::Clamped { limit, alpha } => (limit, alpha),
    };
    let [mut gates, mut ups] = [HostRows::default(), HostRows::default()];
    backend.read(gate, &mut gates)?;
    backend.read(up, &mut ups)?;
    let join = |(gate, up): (&f32, &f32)| {
        let (gate, up) = (gate.min(limit), up.clamp(-limit, limit));
        (up + 1.0) * gate / (1.0 + (-alpha * gate).exp())
    };
    let joined: Vec<f32> = gates.values().iter().zip(ups.values()).map(join).collect();
    backend.rows(&joined, joined.len() / rows)
}

/// [`Backend::experts`], made of primitives.
pub(crate) fn experts<B: Backend>(
    backend: &B,
    x: &B::Activations,
    width: usize,
    experts: &[Expert<B>],
    routes: &Routes,
    gating: Gating,
) -> Result<B::Activations> {
    let mut sums = vec![0.0; routes.rows * width];
    let mut returned = HostRows::default();
    for (index, routed) in routes.used() {
        let expert = &experts[index];
        let rows: Vec<usize> = routed.iter().map(|route| route.row).collect();
        let x = backend.select(x, &rows)?;
        let up = backend.linear(&x, &expert.up)?;
        let widened = match &expert.gate {
            Some(gate) => joined(backend, backend.linear(&x, gate)?, up, rows.len(), gating)?,
            None => backend.activate(up, gating.activation())?,
        };
        returned.clear();
        backend.read(backend.linear(&widened, &expert.down)?, &mut returned)?;
        add_weighted(&mut sums, routed, returned.values(), width);
    }
    backend.rows(&sums, width)
}
