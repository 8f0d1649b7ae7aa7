//! A user's own model with the `LanguageModel` protocol.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use pyo3::{PyTraverseError, PyVisit};

use super::convert::positive;
use crate::error::{Error, Result};
use crate::model::{Extend, LanguageModel, Logits, SequenceId};

/// A user's object, until the garbage collector takes it.
#[derive(Clone)]
pub(super) struct ModelObject {
    object: Arc<Mutex<Option<Py<PyAny>>>>,
    /// Dead once the collector begins with the object; `None` for classes that have no weak references.
    weak: Option<Arc<Py<PyWeakrefReference>>>,
}

impl ModelObject {
    pub(super) fn new(object: &Bound<'_, PyAny>) -> Self {
        let weak = PyWeakrefReference::new(object).ok();
        Self {
            object: Arc::new(Mutex::new(Some(object.clone().unbind()))),
            weak: weak.map(|weak| Arc::new(weak.unbind())),
        }
    }

    fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let dead = |weak: &Arc<Py<PyWeakrefReference>>| weak.bind(py).upgrade().is_none();
        if self.weak.as_ref().is_some_and(dead) {
            return None;
        }
        let object = self.lock();
        object.as_ref().map(|object| object.bind(py).clone())
    }

    /// Shows the collector the object.
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.lock())
    }

    /// Gives the object up.
    pub(super) fn clear(&self) {
        let object = self.lock().take();
        // Unlocked, since the object's finalizer may use the decoder.
        drop(object);
    }

    /// Locked for moments, and with the GIL alone: nothing waits for it.
    fn lock(&self) -> MutexGuard<'_, Option<Py<PyAny>>> {
        self.object.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An object with the protocol's methods.
pub(super) struct PythonModel {
    object: ModelObject,
    vocab_size: usize,
    context_length: usize,
    can_fork: bool,
}

impl PythonModel {
    /// Reads the object's sizes, once.
    pub(super) fn new(object: &Bound<'_, PyAny>, held: ModelObject) -> PyResult<Self> {
        let size = |name: &str| {
            let value = object.getattr(name)?;
            // `Some` in, `Some` out.
            Ok::<_, PyErr>(positive(name, Some(&value))?.unwrap_or_default())
        };
        Ok(Self {
            vocab_size: size("vocab_size")?,
            context_length: size("context_length")?,
            can_fork: object.hasattr("fork")?,
            object: held,
        })
    }

    fn call<'py, A>(&self, py: Python<'py>, method: &str, arguments: A) -> Result<Bound<'py, PyAny>>
    where
        A: pyo3::call::PyCallArgs<'py>,
    {
        let collected = || Error::Compute("the model was garbage collected".into());
        let object = self.object.get(py).ok_or_else(collected)?;
        let result = object.call_method1(method, arguments);
        result.map_err(|error| Error::Custom(Box::new(error)))
    }

    fn extend_one(&self, py: Python<'_>, extend: &Extend<'_>, logits: &mut Logits) -> Result<()> {
        let tokens = PyArray1::from_slice(py, extend.tokens);
        let arguments = (extend.sequence.0, tokens, extend.rows);
        let returned = self.call(py, "extend", arguments)?;
        // No rows were asked for; a model that returns `logits[-0:]` returns all.
        if extend.rows == 0 {
            return Ok(());
        }
        let shape = [extend.rows, self.vocab_size];
        let array = returned.cast::<PyArray2<f32>>().ok();
        let array = array
            .filter(|array| array.shape() == shape)
            .ok_or_else(|| {
                let found = describe(&returned);
                let expected = format!("a numpy array of float32, shape {shape:?}");
                Error::Compute(format!(
                    "the model's extend returned {found}; expected {expected}"
                ))
            })?;
        for row in array.readonly().as_array().rows() {
            match row.as_slice() {
                Some(row) => logits.push(row),
                None => logits.push(&row.to_vec()),
            }
        }
        Ok(())
    }
}

impl LanguageModel for PythonModel {
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn extend(&mut self, batch: &[Extend<'_>], logits: &mut Logits) -> Result<()> {
        Python::attach(|py| {
            batch
                .iter()
                .try_for_each(|extend| self.extend_one(py, extend, logits))
        })
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) -> Result<()> {
        Python::attach(|py| self.call(py, "truncate", (sequence.0, length)).map(|_| ()))
    }

    fn can_fork(&self) -> bool {
        self.can_fork
    }

    fn fork(&mut self, sequence: SequenceId, copy: SequenceId, length: usize) -> Result<()> {
        Python::attach(|py| {
            self.call(py, "fork", (sequence.0, copy.0))?;
            self.call(py, "truncate", (copy.0, length)).map(|_| ())
        })
    }

    fn free(&mut self, sequence: SequenceId) {
        // When the interpreter exits, the model is gone with it.
        Python::try_attach(|py| {
            if let Some(object) = self.object.get(py)
                && let Err(error) = object.call_method1("free", (sequence.0,))
            {
                error.write_unraisable(py, Some(&object));
            }
        });
    }
}

/// What a user's model returned, for an error.
fn describe(object: &Bound<'_, PyAny>) -> String {
    match object.cast::<PyUntypedArray>() {
        Ok(array) => format!(
            "a numpy array of {}, shape {:?}",
            array.dtype(),
            array.shape()
        ),
        Err(_) => object.get_type().to_string(),
    }
}
