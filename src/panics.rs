//! Panics that are caught: of libraries that did not expect a file's contents, and of users' models. They are logged, where Rust
//! would print them on the terminal.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// While this thread catches panics: what the last one said, and where it was.
    static CATCHING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught, in words for a log.
#[derive(Debug)]
pub(crate) struct Caught(pub(crate) String);

/// Calls what may panic.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Caught> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            let is_caught = CATCHING.with_borrow_mut(|caught| {
                caught.as_mut().map(|caught| *caught = panic.to_string())
            });
            if is_caught.is_none() {
                others(panic);
            }
        }));
    });
    let outer = CATCHING.replace(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let caught = CATCHING.replace(outer).unwrap_or_default();
    outcome.map_err(|_| Caught(caught))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_message_and_place() {
        assert_eq!(catch(|| 5).unwrap(), 5);
        let Caught(inner) = catch(|| {
            let Caught(inner) = catch(|| panic!("the inner one")).unwrap_err();
            assert!(inner.contains("the inner one"), "{inner}");
            panic!("the outer one")
        })
        .unwrap_err();
        assert!(inner.contains("the outer one"), "{inner}");
        assert!(inner.contains(file!()), "{inner}");
    }

    #[test]
    fn a_thread_that_catches_nothing_is_left_alone() {
        catch(|| CATCHING.with_borrow(|caught| assert!(caught.is_some()))).unwrap();
        CATCHING.with_borrow(|caught| assert!(caught.is_none()));
    }
}
