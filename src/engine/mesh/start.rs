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
//! Whoever cannot go on says why before it leaves, so that all logs name the same reason. Whoever is
//! asked to stop says that, and all stop; but not while all are still to meet: then the others wait
//! for whoever comes in its place.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use timely::communication::allocator::zero_copy::stream::Stream;

use super::Unmet;
use super::frame::{Frame, Gone, why};
use super::link::{LISTEN, Link, Timed, Until};
use crate::dataflow::outcome::{Failure, Shared};
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
    (shared, clock): (&Shared, &Clock),
) -> Result<Vec<u8>, Unmet> {
    if met == Err(Unmet::Stopped) {
        return Err(Unmet::Stopped);
    }
    let begun = met.and_then(|()| {
        for (_, link) in present(control) {
            wait_for_word(link, until, shared)?;
        }
        hear_from_all(control, &Frame::Connected, until)?;
        let beats = Beats::start(control);
        let orders = orders().map_err(Unmet::Failed)?;
        drop(beats);
        let until = Until::after(clock, heartbeat);
        hear_who_leaves(control, &until)?;
        tell_all(control, &Frame::Orders(orders.clone()))?;
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
        if hear(peer, link, until)? != *expected {
            return Err(strange(peer));
        }
        link.set_timeouts(None)
            .map_err(|error| lost(peer, &error))?;
    }
    Ok(())
}

/// What a process says, unless it is that it does not go on.
fn hear(peer: usize, link: &mut Link, until: &Until) -> Result<Frame, Unmet> {
    let heard = Frame::read(&mut Timed {
        stream: link,
        until,
    });
    match heard.map_err(|error| lost(peer, &error))? {
        Frame::Failed(failed) => Err(Unmet::Told(failed)),
        Frame::Gone(gone) => Err(Unmet::Lost(gone)),
        Frame::Stop => Err(Unmet::Stopped),
        said @ (Frame::Connected
        | Frame::Orders(_)
        | Frame::Ready
        | Frame::Go
        | Frame::Beat(_)
        | Frame::Summary(_)
        | Frame::Bye
        | Frame::Word(_)
        | Frame::Cut) => Ok(said),
    }
}

/// Nobody has anything to say while process 0 decides, but that it leaves.
fn hear_who_leaves(control: &mut [Option<Link>], until: &Until) -> Result<(), Unmet> {
    for (peer, link) in present(control) {
        if link.comes_within(Duration::from_millis(1)) {
            hear(peer, link, until)?;
            return Err(strange(peer));
        }
    }
    Ok(())
}

/// Waits until a process says something, or does not in time, which reading it then says; or until
/// this one is asked to stop.
fn wait_for_word(link: &Link, until: &Until, shared: &Shared) -> Result<(), Unmet> {
    while !until.left().is_zero() && !link.comes_within(LISTEN) {
        if shared.is_stopping() {
            return Err(Unmet::Stopped);
        }
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
    (shared, clock): (&Shared, &Clock),
) -> Result<Vec<u8>, Unmet> {
    if met == Err(Unmet::Stopped) {
        return Err(Unmet::Stopped);
    }
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
        if orders.is_none()
            && let Err(stopped) = wait_for_word(link, &until, shared)
        {
            // If it cannot be told, process 0 will miss us.
            let _ = stopped.frame(me).write(link);
            return Err(stopped);
        }
        let heard = hear(0, link, &until);
        until = Until::after(clock, heartbeat);
        match (heard?, orders.take()) {
            (Frame::Beat(_), None) => {}
            (Frame::Orders(bytes), None) => {
                Frame::Ready.write(link).map_err(broken)?;
                orders = Some(bytes);
            }
            (Frame::Go, Some(orders)) => {
                link.set_timeouts(None).map_err(broken)?;
                return Ok(orders);
            }
            (
                Frame::Beat(_)
                | Frame::Orders(_)
                | Frame::Go
                | Frame::Connected
                | Frame::Ready
                | Frame::Stop
                | Frame::Failed(_)
                | Frame::Gone(_)
                | Frame::Summary(_)
                | Frame::Bye
                | Frame::Word(_)
                | Frame::Cut,
                _,
            ) => return Err(strange(0)),
        }
    }
}
