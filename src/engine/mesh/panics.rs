//! What a panic does in a process of a cluster: it ends the process, and says why in one line.
//!
//! Timely's threads panic when a connection breaks. That is no fault of this process, so it shows
//! neither a message of its own nor a backtrace: it says whom it lost. The control connections
//! usually know better why, so their word is waited for, briefly: a process whose run has failed
//! says no more to the workers of others, so all of them, and then it itself, end here.

use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use super::control::{Inner, end_process};
use super::frame::Gone;
use super::{PANICKED, PEER_LOST};
use crate::engine::said::say_panic;
use crate::types::{is_caught, panic_text};

/// How long the true reason may take to arrive, once a connection has broken.
const REASON_WAIT: Duration = Duration::from_millis(500);

/// Sets the hook. It replaces whatever hook there is.
pub fn set_hook(control: Weak<Inner>) {
    // Taken twice: the first is someone's, who may end the process his way; what is left then is the
    // standard one, which says where it happened.
    drop(std::panic::take_hook());
    let say = std::panic::take_hook();
    // The first ends the process. It does not let go of this, so the others wait for the end.
    let ending = Mutex::new(());
    std::panic::set_hook(Box::new(move |panic| {
        if is_caught() {
            return;
        }
        let _first = ending.lock().unwrap_or_else(PoisonError::into_inner);
        let text = panic_text(panic.payload());
        let thread = std::thread::current();
        let control = control.upgrade();
        if let Some(peer) = lost_by(thread.name().unwrap_or_default(), text) {
            end_without(peer, control.as_deref());
        }
        if let Some(failure) = control.as_ref().and_then(|control| control.failure()) {
            // What follows from a failure that is known is not worth a backtrace.
            end_process(&failure.0, failure.1);
        }
        if !say_panic(panic) {
            say(panic);
        }
        if let Some(control) = control {
            control.tell_panic(text);
        }
        std::process::exit(i32::from(PANICKED));
    }));
}

/// Ends this process because the connection to `peer` broke, or because of what broke it.
fn end_without(peer: usize, control: Option<&Inner>) -> ! {
    let gone = Gone {
        process: peer,
        why: "the connection broke".to_owned(),
    };
    if let Some(control) = control {
        if let Some((failure, code)) = control.wait_for_reason(REASON_WAIT) {
            // Others may not have heard it yet, and would say only that they have lost this one.
            control.leave();
            end_process(&failure, code);
        }
        control.lost(gone.clone());
    }
    end_process(&gone.told(), PEER_LOST)
}

/// The process that timely's thread `name` was connected with, if `message` says that the
/// connection broke.
fn lost_by(name: &str, message: &str) -> Option<usize> {
    let peer = name
        .strip_prefix("timely:recv-")
        .or_else(|| name.strip_prefix("timely:send-"))?;
    // Timely promises not to reword this.
    if !message.starts_with("timely communication error:") {
        return None;
    }
    peer.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_names_the_process_it_led_to() {
        let message = "timely communication error: reading data: socket closed";

        assert_eq!(lost_by("timely:recv-3", message), Some(3));
        assert_eq!(lost_by("timely:send-12", message), Some(12));
        assert_eq!(lost_by("timely:work-3", message), None);
        assert_eq!(lost_by("timely:recv-3", "index out of bounds"), None);
    }
}
