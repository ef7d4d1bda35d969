//! Who is here: a seat for every connection that has to come to be, shared by the threads that
//! shake hands. Whoever waits is told when all seats are taken, or why they never will be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::Unmet;
use super::hello::{Difference, Purpose};
use super::link::{LISTEN, Link, Until};

/// A connection that has to come to be: with whom, and what for.
pub type Seat = (usize, Purpose);

/// The seats of a process.
#[derive(Debug)]
pub struct Roll {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    seats: BTreeMap<Seat, Taken>,
    /// What went wrong last with each process.
    troubles: BTreeMap<usize, String>,
    /// Who was turned away and has been spoken of.
    strangers: BTreeSet<IpAddr>,
    /// Nobody needs to come any more.
    over: bool,
    failure: Option<Unmet>,
}

#[derive(Debug)]
enum Taken {
    Free,
    /// A handshake is about to end well.
    Claimed,
    By(Link),
}

impl Roll {
    /// Free seats.
    pub fn new(seats: impl Iterator<Item = Seat>) -> Self {
        Self {
            state: Mutex::new(State {
                seats: seats.map(|seat| (seat, Taken::Free)).collect(),
                troubles: BTreeMap::new(),
                strangers: BTreeSet::new(),
                over: false,
                failure: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises a seat to someone who has proven to belong here. A seat whose owner has hung up is
    /// free again: that process was started once more.
    pub fn claim(&self, seat: Seat) -> Result<(), Difference> {
        let mut state = self.lock();
        let Some(taken) = state.seats.get_mut(&seat) else {
            return Err(Difference::AlreadyHere);
        };
        match taken {
            Taken::Claimed => return Err(Difference::AlreadyHere),
            Taken::By(link) if !link.is_closed() => return Err(Difference::AlreadyHere),
            Taken::By(_) | Taken::Free => *taken = Taken::Claimed,
        }
        Ok(())
    }

    /// Sits down.
    pub fn take(&self, seat: Seat, link: Link) {
        let mut state = self.lock();
        state.troubles.remove(&seat.0);
        state.seats.insert(seat, Taken::By(link));
        self.changed.notify_all();
    }

    /// A handshake came to nothing after it had claimed a seat.
    pub fn release(&self, seat: Seat) {
        self.lock().seats.insert(seat, Taken::Free);
    }

    /// Remembers what was wrong with a process, for when it never comes.
    pub fn trouble(&self, process: usize, what: String) {
        self.lock().troubles.insert(process, what);
    }

    /// Turns a stranger away: says so once.
    pub fn stranger(&self, from: IpAddr, why: &str) {
        if self.lock().strangers.insert(from) {
            warn!(%from, why, "turned a stranger away");
        }
    }

    /// Nobody can help this any more.
    pub fn fail(&self, failure: Unmet) {
        self.lock().failure.get_or_insert(failure);
        self.changed.notify_all();
    }

    /// Whether the threads that shake hands can go home.
    pub fn is_over(&self) -> bool {
        let state = self.lock();
        state.over || state.failure.is_some()
    }

    /// Waits until all seats are taken, or `stops`. Whatever comes of it, nobody is let in afterwards.
    pub fn wait(
        &self,
        until: &Until,
        stops: impl Fn() -> bool,
        missing: impl Fn(&Missing) -> Unmet,
    ) -> Outcome {
        let mut state = self.lock();
        loop {
            let free: BTreeSet<usize> = state.free().collect();
            let left = until.left();
            let waits = state.failure.is_none() && !free.is_empty();
            if waits && !left.is_zero() && !stops() {
                let waited = self.changed.wait_timeout(state, left.min(LISTEN));
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.over = true;
            if waits && stops() {
                state.failure = Some(Unmet::Stopped);
            }
            let failure = state.failure.take().or_else(|| {
                let troubles = std::mem::take(&mut state.troubles);
                (!free.is_empty()).then(|| missing(&Missing { free, troubles }))
            });
            let links = std::mem::take(&mut state.seats).into_iter();
            let links = links.filter_map(|(seat, taken)| match taken {
                Taken::By(link) => Some((seat, link)),
                Taken::Claimed | Taken::Free => None,
            });
            return Outcome {
                links: links.collect(),
                failure,
            };
        }
    }
}

/// The connections that came to be, and why they are not all.
#[derive(Debug)]
pub struct Outcome {
    /// By seat.
    pub links: BTreeMap<Seat, Link>,
    /// Why some are missing.
    pub failure: Option<Unmet>,
}

/// Who did not come.
#[derive(Debug)]
pub struct Missing {
    /// The processes.
    pub free: BTreeSet<usize>,
    /// What went wrong last with each.
    pub troubles: BTreeMap<usize, String>,
}

impl State {
    fn free(&self) -> impl Iterator<Item = usize> {
        self.seats.iter().filter_map(|(seat, taken)| match taken {
            Taken::By(_) => None,
            Taken::Claimed | Taken::Free => Some(seat.0),
        })
    }
}
