//! The start: everyone says that it is connected, process 0 decides and hands out the orders, and
//! when all have them, all go. Either all start or none.
//!
//! ```text
//!   others                     process 0
//!     connected          ──▶
//!                        ◀──     beat, beat ..  (deciding takes its time)
//!                        ◀──     orders
//!     ready              ──▶
//!                        ◀──     go
//! ```
//!
//! Whoever cannot go on says why before it leaves, so that all logs name the same reason.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use timely::communication::allocator::zero_copy::stream::Stream;

use super::Unmet;
use super::frame::{Frame, Gone, why};
use super::link::{Link, Timed, Until};
use crate::dataflow::outcome::Failure;
use crate::engine::threads::spawn_named;
use crate::types::Clock;

/// How often process 0 says that it is still deciding.
const BEAT: Duration = Duration::from_secs(1);

/// The part of process 0. `met` is whether it is connected with everyone.
pub fn lead(
    control: &mut [Option<Link>],
    met: Result<(), Unmet>,
    orders: impl FnOnce() -> Result<Vec<u8>, Failure>,
    (until, heartbeat): (&Until, Duration),
    clock: &Clock,
) -> Result<Vec<u8>, Unmet> {
    let begun = met.and_then(|()| {
        hear_from_all(control, &Frame::Connected, until)?;
        let beats = Beats::start(control);
        let orders = orders().map_err(Unmet::Failed)?;
        drop(beats);
        tell_all(control, &Frame::Orders(orders.clone()))?;
        let until = Until::after(clock, heartbeat);
        hear_from_all(control, &Frame::Ready, &until)?;
        tell_all(control, &Frame::Go)?;
        Ok(orders)
    });
    if let Err(unmet) = &begun {
        let frame = unmet.frame(0);
        for link in control.iter_mut().flatten() {
            // Who is gone cannot be told.
            let _ = frame.write(link);
        }
    }
    begun
}

fn tell_all(control: &mut [Option<Link>], frame: &Frame) -> Result<(), Unmet> {
    for (peer, link) in present(control) {
        frame.write(link).map_err(|error| lost(peer, &error))?;
    }
    Ok(())
}

fn hear_from_all(
    control: &mut [Option<Link>],
    expected: &Frame,
    until: &Until,
) -> Result<(), Unmet> {
    for (peer, link) in present(control) {
        let heard = Frame::read(&mut Timed {
            stream: link,
            until,
        });
        let heard = heard.map_err(|error| lost(peer, &error))?;
        if let Frame::Failed(failed) = heard {
            return Err(Unmet::Told(failed));
        }
        if heard != *expected {
            return Err(strange(peer));
        }
        link.set_timeouts(None)
            .map_err(|error| lost(peer, &error))?;
    }
    Ok(())
}

fn present(control: &mut [Option<Link>]) -> impl Iterator<Item = (usize, &mut Link)> {
    let links = control.iter_mut().enumerate();
    links.filter_map(|(peer, link)| link.as_mut().map(|link| (peer, link)))
}

fn lost(process: usize, error: &io::Error) -> Unmet {
    gone(process, why(error))
}

fn strange(process: usize) -> Unmet {
    gone(
        process,
        "it said something else than was expected".to_owned(),
    )
}

fn gone(process: usize, why: String) -> Unmet {
    Unmet::Lost(Gone { process, why })
}

/// Says to all that process 0 is alive, while it decides.
struct Beats {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Beats {
    fn start(control: &[Option<Link>]) -> Self {
        // A connection that cannot be doubled is broken: the next word to it says so.
        let clones = control.iter().flatten().map(Stream::try_clone);
        let mut links: Vec<Link> = clones.filter_map(Result::ok).collect();
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = spawn_named("beat", move || {
            while !ended.load(Ordering::SeqCst) {
                for link in &mut links {
                    // Who is lost is found out when the orders are handed out.
                    let _ = Frame::Beat(Vec::new()).write(link);
                }
                std::thread::park_timeout(BEAT);
            }
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only writes; a panic there has been said already.
            let _ = thread.join();
        }
    }
}

/// The part of every other process: `first` is how long it waits for process 0's first word.
pub fn follow(
    control: &mut Option<Link>,
    me: usize,
    met: Result<(), Unmet>,
    (first, heartbeat): (Until, Duration),
    clock: &Clock,
) -> Result<Vec<u8>, Unmet> {
    let Some(link) = control else {
        // Without a connection to process 0 there is nobody to tell.
        return Err(met
            .err()
            .unwrap_or_else(|| gone(0, "it is not there".to_owned())));
    };
    if let Err(unmet) = met {
        // If it cannot be told, process 0 will miss us.
        let _ = unmet.frame(me).write(link);
        return Err(unmet);
    }
    let broken = |error: io::Error| lost(0, &error);
    Frame::Connected.write(link).map_err(broken)?;
    let mut until = first;
    let mut orders = None;
    loop {
        let heard = Frame::read(&mut Timed {
            stream: link,
            until: &until,
        });
        until = Until::after(clock, heartbeat);
        match (heard.map_err(broken)?, orders.take()) {
            (Frame::Beat(_), None) => {}
            (Frame::Orders(bytes), None) => {
                Frame::Ready.write(link).map_err(broken)?;
                orders = Some(bytes);
            }
            (Frame::Go, Some(orders)) => {
                link.set_timeouts(None).map_err(broken)?;
                return Ok(orders);
            }
            (Frame::Failed(failed), _) => return Err(Unmet::Told(failed)),
            (Frame::Gone(gone), _) => return Err(Unmet::Lost(gone)),
            (
                Frame::Beat(_)
                | Frame::Orders(_)
                | Frame::Go
                | Frame::Connected
                | Frame::Ready
                | Frame::Stop
                | Frame::Summary(_)
                | Frame::Bye
                | Frame::Word(_)
                | Frame::Cut,
                _,
            ) => return Err(strange(0)),
        }
    }
}
