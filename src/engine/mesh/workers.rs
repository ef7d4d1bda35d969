//! Timely's workers over connections that are already there.
//!
//! A process that has failed says nothing more through them. Its operators let epochs go that they
//! could not compute, and whoever heard of that without hearing of the failure would take those
//! epochs for complete, and publish them.

use std::any::Any;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::{
    CommsGuard, initialize_networking_from_sockets,
};
use timely::communication::allocator::zero_copy::stream::Stream;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};

use super::link::Link;
use super::tls::Pump;
use crate::dataflow::outcome::{Failure, Shared};

/// What `timely::execute::execute_from` takes: a builder per worker of this process, and what has
/// to live as long as they do.
pub type Workers = (Vec<AllocatorBuilder>, Box<dyn Any + Send>);

/// Starts timely's sending and receiving threads, for `threads` workers of process `process`.
pub fn workers(
    sockets: Vec<Option<Link>>,
    process: usize,
    threads: usize,
    shared: &Arc<Shared>,
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
    let sockets = sockets.into_iter().map(|socket| {
        socket.map(|link| UntilFailure {
            link,
            shared: Arc::clone(shared),
        })
    });
    let sockets = sockets.collect();
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

/// A connection on which nothing is said any more once the run has failed. Whoever lets an epoch go
/// because of a failure says so to `Shared` first, so what follows from that is held back here.
struct UntilFailure {
    link: Link,
    shared: Arc<Shared>,
}

impl Write for UntilFailure {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.shared.has_failed() {
            // An error would be taken for a lost peer.
            return Ok(buffer.len());
        }
        self.link.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.link.flush()
    }
}

impl Read for UntilFailure {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.link.read(buffer)
    }
}

impl Stream for UntilFailure {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            link: self.link.try_clone()?,
            shared: Arc::clone(&self.shared),
        })
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.link.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.link.shutdown(how)
    }
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

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_process_that_has_failed_says_nothing_more_to_the_workers_of_others() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let shared = Arc::new(Shared::default());
        let link = Link::Plain(near);
        let link = UntilFailure {
            link,
            shared: Arc::clone(&shared),
        };
        // Timely writes to one clone and reads from the other.
        let mut link = link.try_clone().unwrap();

        link.write_all(b"before").unwrap();
        shared.fail(Failure::new("cannot compute"));
        link.write_all(b"an epoch is complete").unwrap();
        link.shutdown(Shutdown::Write).unwrap();

        let mut heard = String::new();
        far.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "before");
    }
}
