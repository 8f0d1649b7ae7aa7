//! Mixtures of experts: the products of all experts that a step uses at once, so that threads rarely wait for each other.

use super::product::{Epilogue, Product};
use super::rows::{PackedActivations, Rows};
use super::{CpuBackend, layer, matmul};
use crate::Gating;
use crate::error::Result;
use crate::experts::{Expert, Route, Routes, add_weighted};

/// An expert that computes rows.
struct Used<'a> {
    expert: &'a Expert<CpuBackend>,
    routes: &'a [Route],
    /// Its rows, packed for the next product.
    x: PackedActivations,
}

/// Whether the products of experts can be fused: those of gate and up need the same layout.
pub(super) fn are_fusible(experts: &[Expert<CpuBackend>]) -> bool {
    // Of all, not of those that are used: the other rows must not decide how a row is computed.
    experts.iter().all(|expert| {
        let gate = expert.gate.as_ref();
        gate.is_none_or(|gate| gate.matrix.layout() == expert.up.matrix.layout())
    })
}

/// What the experts return for their rows, weighted and summed.
pub(super) fn experts(
    backend: &CpuBackend,
    x: &Rows,
    experts: &[Expert<CpuBackend>],
    routes: &Routes,
    gating: Gating,
) -> Result<Rows> {
    let mut used: Vec<Used<'_>> = routes
        .used()
        .map(|(index, routes)| Used {
            expert: &experts[index],
            routes,
            x: backend.unused_activations(),
        })
        .collect();
    for used in &mut used {
        let rows = used.routes.iter().map(|route| x.row(route.row));
        let mut own = backend.empty(used.routes.len(), x.width);
        for (row, own) in rows.zip(own.values_mut().chunks_mut(x.width.max(1))) {
            own.copy_from_slice(row);
        }
        // A gate has the layout of the other half.
        backend.pack(&mut used.x, &own, None, [&used.expert.up]);
    }
    let mut widened: Vec<Rows> = used
        .iter()
        .map(|used| backend.empty(used.routes.len(), used.expert.up.matrix.outputs))
        .collect();
    let products = used.iter().zip(&mut widened).map(|(used, output)| {
        Ok(Product {
            x: &used.x,
            layer: layer(&used.expert.up)?,
            epilogue: match &used.expert.gate {
                Some(gate) => Epilogue::Gate(layer(gate)?, gating),
                None => Epilogue::Activate(gating.activation()),
            },
            among: None,
            output,
        })
    });
    let mut products = products.collect::<Result<Vec<_>>>()?;
    matmul::multiply(&mut products, backend.tier, &backend.pool);
    for (used, widened) in used.iter_mut().zip(&widened) {
        backend.pack(&mut used.x, widened, None, [&used.expert.down]);
    }
    let mut returned: Vec<Rows> = used
        .iter()
        .map(|used| backend.empty(used.routes.len(), used.expert.down.matrix.outputs))
        .collect();
    let products = used.iter().zip(&mut returned).map(|(used, output)| {
        Ok(Product {
            x: &used.x,
            layer: layer(&used.expert.down)?,
            epilogue: Epilogue::Store,
            among: None,
            output,
        })
    });
    let mut products = products.collect::<Result<Vec<_>>>()?;
    matmul::multiply(&mut products, backend.tier, &backend.pool);
    let mut sums = backend.empty(routes.rows(), x.width);
    sums.values_mut().fill(0.0);
    for (used, returned) in used.iter().zip(&returned) {
        add_weighted(sums.values_mut(), used.routes, returned.values(), x.width);
    }
    // In the order in which they were taken the next time, so that few of them grow to the size of a whole step.
    for used in used.into_iter().rev() {
        backend.keep_activations(used.x);
    }
    Ok(sums)
}
