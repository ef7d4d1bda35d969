//! Threads have names, so that a profile, a panic and `top` can say which one it is.

use std::thread::{Builder, JoinHandle};

/// Starts a thread.
pub fn spawn_named(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("the system has threads left")
}
