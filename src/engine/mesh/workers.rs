//! Timely's workers over connections that are already there.

use std::any::Any;
use std::sync::Arc;

use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::{
    CommsGuard, initialize_networking_from_sockets,
};
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};

use super::link::Link;
use super::tls::Pump;
use crate::dataflow::outcome::Failure;

/// What `timely::execute::execute_from` takes: a builder per worker of this process, and what has
/// to live as long as they do.
pub type Workers = (Vec<AllocatorBuilder>, Box<dyn Any + Send>);

/// Starts timely's sending and receiving threads, for `threads` workers of process `process`.
pub fn workers(
    sockets: Vec<Option<Link>>,
    process: usize,
    threads: usize,
) -> Result<Workers, Failure> {
    let broken = |error| Failure::new("could not start the connections").because(error);
    for socket in sockets.iter().flatten() {
        // A wait that ends would be taken for a lost peer.
        socket.set_timeouts(None).map_err(broken)?;
    }
    let pumps = sockets.iter().flatten().filter_map(Link::pump).collect();
    let hooks = Hooks::default();
    // Typed: between workers of one process batches move as they are, nothing is encoded.
    let local =
        ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), hooks.spill.clone());
    let (builders, comms) =
        initialize_networking_from_sockets(local, sockets, process, threads, hooks)
            .map_err(broken)?;
    let builders = builders.into_iter().map(AllocatorBuilder::Tcp);
    let guard = Guard {
        comms: Some(comms),
        pumps,
    };
    Ok((builders.collect(), Box::new(guard)))
}

/// Waits, when dropped, until all that was sent is on the network.
struct Guard {
    comms: Option<CommsGuard>,
    pumps: Vec<Arc<Pump>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // First timely's threads, which shut their connections for writing; then what carries it on.
        drop(self.comms.take());
        for pump in &self.pumps {
            pump.drain();
        }
    }
}
