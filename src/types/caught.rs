//! Panics of code that is not ours over bytes that are a stranger's: an error, not the end.
//!
//! Everywhere else a panic ends the process, on whichever thread it happens. The hooks that see to
//! that ask here whether somebody waits for this one.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static WAITED_FOR: Cell<bool> = const { Cell::new(false) };
}

/// What `work` gives, or what it said when it panicked. What it was working on is not to be used
/// any more then.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = WAITED_FOR.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    WAITED_FOR.set(before);
    outcome.map_err(|payload| panic_text(payload.as_ref()).to_owned())
}

/// What a panic says, by its payload.
#[must_use]
pub fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("it does not say why")
}

/// Whether a panic on this thread is caught, and nobody has to hear of it.
#[must_use]
pub fn is_caught() -> bool {
    WAITED_FOR.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_is_waited_for_is_a_text_and_the_next_is_not_waited_for() {
        assert_eq!(caught(|| 7), Ok(7));

        let inner = || {
            assert!(is_caught());
            assert_eq!(
                caught(|| panic!("inner {}", 1)),
                Err::<(), _>("inner 1".to_owned())
            );
            assert!(is_caught());
            panic!("outer")
        };

        assert_eq!(caught(inner), Err::<(), _>("outer".to_owned()));
        assert!(!is_caught());
    }
}
