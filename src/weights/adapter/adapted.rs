//! A checkpoint whose tensors are those of a base with adapters merged into them.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;

use super::merge::{Added, Base, Merged};
use super::{Adapter, How, Layout, Product};
use crate::backend::WeightPrecision;
use crate::error::Result;
use crate::weights::{Checkpoint, MatrixSource, PackedTensor, StoredRows, StoredTensor};

/// A base with adapters. Tensors that they change count as tensors in several parts: they are computed when they are read.
pub struct AdaptedCheckpoint<B> {
    base: B,
    adapters: Vec<Adapter>,
    layout: Layout,
    /// What is changed, by the names that the base has.
    changed: BTreeMap<String, Changed>,
    precision: WeightPrecision,
    /// Whether the output head is no longer the embedding.
    is_untied: bool,
}

/// What is done with a tensor, each by the adapter of this number.
#[derive(Default)]
struct Changed {
    replaced: Option<(usize, String)>,
    added: Vec<(usize, Product)>,
}

impl<B: AsRef<dyn Checkpoint>> AdaptedCheckpoint<B> {
    /// Merges adapters into a base, in their order; fails if a tensor of theirs does not fit it.
    pub fn new(base: B, adapters: Vec<Adapter>, layout: Layout) -> Result<Self> {
        let mut adapted = Self {
            base,
            adapters,
            layout,
            changed: BTreeMap::new(),
            precision: WeightPrecision::default(),
            is_untied: false,
        };
        for number in 0..adapted.adapters.len() {
            for change in adapted.adapters[number].changes.clone() {
                adapted.add(number, &change.tensor, change.how)?;
            }
        }
        adapted.untie()?;
        let names: Vec<&String> = adapted.changed.keys().collect();
        names.into_iter().try_for_each(|name| adapted.check(name))?;
        Ok(adapted)
    }

    /// The base.
    pub fn base(&self) -> &B {
        &self.base
    }

    /// The adapters, in the order in which they are merged.
    pub fn adapters(&self) -> &[Adapter] {
        &self.adapters
    }

    /// The names of the tensors that are changed.
    pub fn changed(&self) -> Vec<&str> {
        self.changed.keys().map(String::as_str).collect()
    }

    /// Whether the output head is no longer the embedding, as one of them is changed.
    pub fn is_untied(&self) -> bool {
        self.is_untied
    }

    /// Merges for weights that will be held in this precision.
    pub fn set_precision(&mut self, precision: WeightPrecision) {
        self.precision = precision;
    }

    /// Notes a change of a tensor.
    fn add(&mut self, number: usize, tensor: &str, how: How) -> Result<()> {
        let adapter = &self.adapters[number];
        let own = match &how {
            How::Replaced(name) => name,
            How::Added(product) => &product.a,
        };
        let names = self.layout.names(tensor);
        let tied = self.layout.tied.as_ref().map(|[head, _]| head);
        let is_there = |name: &&String| Some(*name) == tied || self.base_has(name);
        let Some(name) = names.iter().find(is_there) else {
            let reason =
                format!("the base model has no tensor {tensor:?}: is it another base model?");
            return Err(adapter.corrupt(own, reason));
        };
        let changed = self.changed.entry(name.clone()).or_default();
        let mut dora = changed
            .added
            .iter()
            .map(|(_, added)| added.magnitude.is_some());
        match how {
            How::Replaced(own) => {
                if changed.replaced.is_some() {
                    let reason = format!("{name:?} is replaced twice: merge one adapter alone");
                    return Err(adapter.corrupt(&own, reason));
                }
                changed.replaced = Some((number, own));
            }
            How::Added(product) => {
                if dora.any(|is| is) || (product.magnitude.is_some() && !changed.added.is_empty()) {
                    let reason =
                        format!("another adapter changes {name:?}, too, which DoRA does not allow");
                    return Err(adapter.corrupt(&product.a, reason));
                }
                changed.added.push((number, product));
            }
        }
        Ok(())
    }

    /// Gives the head a tensor of its own where it was the embedding, and one of them is changed.
    fn untie(&mut self) -> Result<()> {
        let Some([head, embedding]) = &self.layout.tied else {
            return Ok(());
        };
        let changed = [head, embedding].into_iter();
        let changed = changed.filter_map(|name| self.changed.get(name));
        let numbers: Vec<usize> = changed
            .flat_map(|changed| {
                let replaced = changed.replaced.iter().map(|(number, _)| *number);
                replaced.chain(changed.added.iter().map(|(number, _)| *number))
            })
            .collect();
        self.is_untied = !numbers.is_empty();
        let mut numbers = numbers.into_iter();
        match numbers.find(|number| self.adapters[*number].keeps_tied) {
            None => Ok(()),
            Some(number) => Err(self.adapters[number].unsupported(
                "ensure_weight_tying is not supported where the embedding or the output head is changed: merge the \
                 adapter with PEFT's merge_and_unload, and load the merged model",
            )),
        }
    }

    /// Fails if the shapes of what changes a tensor don't fit it.
    fn check(&self, name: &str) -> Result<()> {
        let (Some(changed), Some(base)) = (self.changed.get(name), self.base_tensor(name)) else {
            return Ok(());
        };
        let shape = base.shape();
        if let Some((number, own)) = &changed.replaced {
            let adapter = &self.adapters[*number];
            let found = adapter.tensor(own)?.shape;
            if found != shape {
                let reason = format!(
                    "its shape is {found:?}, and {shape:?} that of the base model's {name:?}"
                );
                return Err(adapter.corrupt(own, reason));
            }
        }
        for (number, product) in &changed.added {
            let adapter = &self.adapters[*number];
            let (a, b) = (adapter.tensor(&product.a)?, adapter.tensor(&product.b)?);
            let rank = b.shape.last().copied().unwrap_or(0);
            let fits = match *shape {
                [ref matrices @ .., rows, columns] => {
                    let (inputs, outputs) = match self.is_transposed(name, product) {
                        true => (rows, columns),
                        false => (columns, rows),
                    };
                    let with = |last: [usize; 2]| [matrices, &last[..]].concat();
                    a.shape == with([rank, inputs]) && b.shape == with([outputs, rank])
                }
                _ => false,
            };
            if !fits {
                let reason = format!(
                    "its shape is {:?}, and {:?} that of `{}`, which don't fit the base model's {name:?} of shape \
                     {shape:?}: is it another base model?",
                    a.shape, b.shape, product.b
                );
                return Err(adapter.corrupt(&product.a, reason));
            }
            if let Some(magnitude) = &product.magnitude {
                let found = adapter.tensor(magnitude)?.shape;
                let outputs = b.shape[0];
                if found != [outputs] || shape.len() != 2 {
                    let reason =
                        format!("its shape is {found:?}: expected one of {outputs} outputs");
                    return Err(adapter.corrupt(magnitude, reason));
                }
            }
        }
        Ok(())
    }

    fn is_transposed(&self, name: &str, product: &Product) -> bool {
        product.is_of_embedding || self.layout.is_transposed(name)
    }

    /// The name of the base's tensor that is meant: a head that was the embedding is read from there.
    fn name_in_base<'a>(&'a self, name: &'a str) -> &'a str {
        match &self.layout.tied {
            Some([head, embedding]) if self.is_untied && head == name => embedding,
            _ => name,
        }
    }

    fn base_has(&self, name: &str) -> bool {
        self.base_tensor(name).is_some()
    }

    fn base_tensor(&self, name: &str) -> Option<Base<'_>> {
        let (base, name) = (self.base.as_ref(), self.name_in_base(name));
        let packed = base.packed(name).map(Box::new).map(Base::Packed);
        packed.or_else(|| base.tensor(name).map(Base::Whole))
    }

    /// A tensor that is changed.
    fn merged(&self, name: &str) -> Option<Merged<'_>> {
        let (changed_name, changed) = self.changed.get_key_value(name)?;
        let part = |number: usize, own: &'_ String| self.adapters[number].checkpoint.tensor(own);
        let replaced = match &changed.replaced {
            None => None,
            Some((number, own)) => {
                Some((&self.adapters[*number], part(*number, own)?, own.as_str()))
            }
        };
        let added = changed.added.iter().map(|(number, product)| {
            let own = |own| Some((self.adapters[*number].checkpoint.tensor(own)?, own));
            Some(Added {
                adapter: &self.adapters[*number],
                a: own(product.a.as_str())?,
                b: own(product.b.as_str())?,
                scale: product.scale as f32,
                magnitude: match product.magnitude.as_deref() {
                    None => None,
                    Some(name) => Some(own(name)?),
                },
                is_transposed: self.is_transposed(changed_name, product),
            })
        });
        Some(Merged {
            base: self.base_tensor(name)?,
            replaced,
            added: added.collect::<Option<_>>()?,
            precision: self.precision,
        })
    }
}

impl<B: AsRef<dyn Checkpoint> + Send + Sync> Checkpoint for AdaptedCheckpoint<B> {
    fn names(&self) -> Vec<&str> {
        let mut names = self.base.as_ref().names();
        if let (Some([head, _]), true) = (&self.layout.tied, self.is_untied) {
            names.retain(|name| name != head);
            names.push(head);
        }
        names.retain(|name| !self.changed.contains_key(*name));
        names
    }

    fn tensor(&self, name: &str) -> Option<StoredTensor<'_>> {
        if self.changed.contains_key(name) {
            return None;
        }
        self.base.as_ref().tensor(self.name_in_base(name))
    }

    fn packed_names(&self) -> Vec<String> {
        let mut names = self.base.as_ref().packed_names();
        names.retain(|name| !self.changed.contains_key(name));
        names.extend(self.changed.keys().cloned());
        names
    }

    fn packed(&self, name: &str) -> Option<PackedTensor<'_>> {
        match self.merged(name) {
            Some(merged) => Some(PackedTensor::Merged(merged)),
            None => self.base.as_ref().packed(self.name_in_base(name)),
        }
    }

    fn integers(&self, name: &str) -> Result<Option<Vec<i64>>> {
        self.base.as_ref().integers(name)
    }

    fn rows(&self, name: &str) -> Option<StoredRows> {
        match self.merged(name) {
            Some(merged) => StoredRows::owned(&merged.joined().ok()?),
            None => self.base.as_ref().rows(self.name_in_base(name)),
        }
    }

    fn source(&self, tensor: &StoredTensor<'_>) -> Option<Box<dyn MatrixSource>> {
        self.base.as_ref().source(tensor)
    }

    fn release(&self, tensor: &StoredTensor<'_>) {
        self.base.as_ref().release(tensor);
    }

    fn files(&self) -> Vec<(&Path, &Metadata)> {
        let mut files = self.base.as_ref().files();
        for adapter in &self.adapters {
            files.extend(adapter.checkpoint.files());
            let config = adapter.config.as_ref();
            files.extend(config.map(|(path, opened)| (path.as_path(), opened)));
        }
        files
    }

    fn file_of(&self, name: &str) -> &Path {
        self.base.as_ref().file_of(self.name_in_base(name))
    }
}
