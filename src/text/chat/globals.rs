//! Jinja's `cycler` and `joiner`: objects that give another value each time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use minijinja::value::{Object, ObjectRepr, Rest, Value, from_args};
use minijinja::{Error, ErrorKind, State};

/// Gives each of its items in turn.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    position: AtomicUsize,
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        if method != "next" {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let () = from_args(arguments)?;
        let position = self.position.fetch_add(1, Ordering::Relaxed);
        Ok(self.items[position % self.items.len()].clone())
    }

    // Not its items, which may hold any number of others.
    fn render(self: &Arc<Self>, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("<cycler>")
    }
}

pub(super) fn cycler(Rest(items): Rest<Value>) -> Result<Value, Error> {
    match items.is_empty() {
        true => {
            let message = "cycler: expected at least one item";
            Err(Error::new(ErrorKind::InvalidOperation, message))
        }
        false => Ok(Value::from_object(Cycler {
            items,
            position: AtomicUsize::new(0),
        })),
    }
}

/// Gives nothing the first time, and then its separator.
#[derive(Debug)]
struct Joiner {
    separator: Value,
    used: AtomicBool,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        let () = from_args(arguments)?;
        Ok(match self.used.swap(true, Ordering::Relaxed) {
            true => self.separator.clone(),
            false => Value::from(""),
        })
    }

    fn render(self: &Arc<Self>, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("<joiner>")
    }
}

pub(super) fn joiner(separator: Option<Value>) -> Value {
    Value::from_object(Joiner {
        separator: separator.unwrap_or_else(|| Value::from(", ")),
        used: AtomicBool::new(false),
    })
}
