//! `run --processes N`: this process supervises N others, which are started from the same program
//! with the same arguments, and run as one.
//!
//! ```text
//!   start      each says where it listens; each is told who all are
//!   run        until all have ended well
//!   a death    the others end too (they notice, or are made to); then all start again
//! ```
//!
//! It holds no data and no state that matters: whatever is killed, this process included, the
//! destinations say where to go on.

mod child;
mod restart;
mod talk;

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tracing::{info, warn};

use super::signals::on_wishes;
use super::{FAILED, say};
use crate::dataflow::outcome::Failure;
use crate::engine::{Ends, mesh};
use crate::types::Clock;
use child::Child;
pub use child::Program;
use restart::{Ended, Exit, Next, Restarts};
pub use talk::{Order, Report, Start, say as report};

/// How long the processes may take until they say where they listen.
const LISTEN_MAX: Duration = Duration::from_secs(30);
/// How long the others have to notice a death themselves, before they are told.
const NOTICE: Duration = Duration::from_millis(300);
/// How long they have to end once they are told, before they are killed.
const END_MAX: Duration = Duration::from_secs(2);
/// How often one looks who has ended, while that is waited for.
const LOOK: Duration = Duration::from_millis(10);
/// The same while all is well: an end is said by a connection that closes.
const CALM: Duration = Duration::from_millis(500);

/// How to supervise.
#[derive(Clone, Debug)]
pub struct Supervision {
    /// What the processes are.
    pub program: Program,
    /// How many.
    pub processes: usize,
    /// How many failures in a row are too many.
    pub failures_max: u32,
    /// Whether the first start empties the tables.
    pub fresh: bool,
}

/// What happens to a supervisor.
#[derive(Debug)]
pub enum Event {
    /// A process said something, in a start.
    Said(u64, usize, Report),
    /// A process of a start is about to end, if it has not.
    HungUp(u64),
    /// Someone wants all to stop.
    Signal,
}

/// Runs all processes until they have done their work, or do not get it done. `listens` is called as
/// soon as it hears signals.
pub fn supervise(supervision: Supervision, listens: impl FnOnce()) -> u8 {
    let (events, happening) = sync_channel(64);
    let wishes = events.clone();
    on_wishes(move || wishes.send(Event::Signal).is_ok());
    listens();
    match Supervisor::new(supervision, events, happening).run() {
        Ok(code) => code,
        Err(failure) => {
            say::failure(&failure);
            FAILED
        }
    }
}

struct Supervisor {
    supervision: Supervision,
    events: SyncSender<Event>,
    happening: Receiver<Event>,
    clock: Clock,
    /// How often someone wanted all to stop.
    signals: u32,
    /// Whether the tables are still to be emptied.
    fresh: bool,
    /// Where the sources end: the first start that ran has found out, and all end there.
    ends: Option<Ends>,
}

/// The processes of one start.
struct Attempt {
    number: u64,
    children: Vec<Child>,
    addresses: Vec<Option<String>>,
    /// Those that have ended, in that order.
    exits: Vec<(usize, Exit)>,
    /// How many have closed their connection.
    hung_up: usize,
    running_since: Option<Duration>,
    stop_told: bool,
}

impl Supervisor {
    fn new(
        supervision: Supervision,
        events: SyncSender<Event>,
        happening: Receiver<Event>,
    ) -> Self {
        Self {
            fresh: supervision.fresh,
            ends: None,
            supervision,
            events,
            happening,
            clock: Clock::machine(),
            signals: 0,
        }
    }

    fn run(&mut self) -> Result<u8, Failure> {
        let mut restarts = Restarts::new(self.supervision.failures_max);
        for number in 1.. {
            let ended = self.attempt(number)?;
            match restarts.next(&ended) {
                Next::Done => return Ok(0),
                Next::Final(code) => return Ok(code),
                Next::GiveUp { failures, reason } => {
                    return Err(gave_up(failures, reason, ended.stopped));
                }
                Next::Again { pause, reason } => {
                    warn!(reason, pause_ms = pause.as_millis(), "all start again");
                    self.pause(pause);
                    if self.signals > 0 {
                        return Err(gave_up(1, reason, true));
                    }
                }
            }
        }
        unreachable!("the starts are counted in 64 bits")
    }

    /// One start, until all of its processes have ended.
    fn attempt(&mut self, number: u64) -> Result<Ended, Failure> {
        let mut attempt = self.start(number)?;
        let begun = self.clock.elapsed();
        let mut told = false;
        while attempt.children.len() > attempt.exits.len() {
            // A connection closes a moment before its process can be waited for.
            let ending = attempt.hung_up > attempt.exits.len();
            self.wait(if ending { LOOK } else { CALM }, &mut attempt);
            attempt.look();
            if !told && attempt.addresses.iter().all(Option::is_some) {
                told = true;
                self.tell_start(&mut attempt);
            }
            let late = !told && self.clock.elapsed() - begun > LISTEN_MAX;
            let died = attempt.exits.iter().any(|(_, exit)| *exit != Exit::Code(0));
            if late || died || self.signals > 1 {
                self.end(&mut attempt);
            } else if self.signals == 1 && !attempt.stop_told {
                attempt.stop_told = true;
                attempt.tell(&Order::Stop);
            }
        }
        let now = self.clock.elapsed();
        Ok(Ended {
            ran: attempt
                .running_since
                .map_or(Duration::ZERO, |since| now - since),
            exits: std::mem::take(&mut attempt.exits),
            stopped: self.signals > 0,
        })
    }

    fn start(&self, number: u64) -> Result<Attempt, Failure> {
        let processes = self.supervision.processes;
        let mut attempt = Attempt {
            number,
            children: Vec::new(),
            addresses: vec![None; processes],
            exits: Vec::new(),
            hung_up: 0,
            running_since: None,
            stop_told: false,
        };
        for process in 0..processes {
            let program = &self.supervision.program;
            let child = Child::start(program, (number, process), &self.events);
            attempt.children.push(child.map_err(|error| {
                Failure::new(format!("could not start process {process}")).because(error)
            })?);
        }
        Ok(attempt)
    }

    fn tell_start(&self, attempt: &mut Attempt) {
        let addresses: Vec<String> = attempt.addresses.iter().flatten().cloned().collect();
        let secret = mesh::secret();
        for child in &mut attempt.children {
            let start = Start {
                attempt: attempt.number,
                process: child.process(),
                addresses: addresses.clone(),
                secret: secret.clone(),
                fresh: self.fresh,
                ends: self.ends.clone(),
            };
            child.tell(&Order::Start(start));
        }
    }

    /// Waits until something happens, not longer than `most`.
    fn wait(&mut self, most: Duration, attempt: &mut Attempt) {
        match self.happening.recv_timeout(most) {
            Ok(Event::Said(number, process, report)) if number == attempt.number => match report {
                Report::Listens(address) => attempt.addresses[process] = Some(address),
                Report::Running(ends) if attempt.running_since.is_none() => {
                    attempt.running_since = Some(self.clock.elapsed());
                    self.fresh = false;
                    self.ends = ends;
                    info!(
                        processes = self.supervision.processes,
                        start = number,
                        "all processes run"
                    );
                }
                Report::Running(_) => {}
            },
            Ok(Event::HungUp(number)) if number == attempt.number => attempt.hung_up += 1,
            Ok(Event::Said(..) | Event::HungUp(_)) => {}
            Ok(Event::Signal) => self.signals += 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                unreachable!("the supervisor holds a sender itself")
            }
        }
    }

    /// Ends all processes: most notice a death and say so, some have to be told, some are stopped.
    fn end(&mut self, attempt: &mut Attempt) {
        let begun = self.clock.elapsed();
        let (mut told, mut killed) = (false, false);
        while attempt.children.len() > attempt.exits.len() {
            let waited = self.clock.elapsed() - begun;
            if !told && (waited >= NOTICE || self.signals > 1) {
                told = true;
                attempt.children.iter().for_each(Child::hang_up);
            }
            if !killed && (waited >= END_MAX || self.signals > 1) {
                killed = true;
                attempt.children.iter_mut().for_each(Child::kill);
            }
            self.wait(LOOK, attempt);
            attempt.look();
        }
    }

    fn pause(&mut self, pause: Duration) {
        let until = self.clock.elapsed() + pause;
        while self.signals == 0 {
            let left = until.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return;
            }
            if let Ok(Event::Signal) = self.happening.recv_timeout(left) {
                self.signals += 1;
            }
        }
    }
}

impl Attempt {
    fn tell(&mut self, order: &Order) {
        for child in &mut self.children {
            child.tell(order);
        }
    }

    /// Notes who has ended.
    fn look(&mut self) {
        for child in &mut self.children {
            let process = child.process();
            let noted = self.exits.iter().any(|(ended, _)| *ended == process);
            if let (Some(exit), false) = (child.exit(), noted) {
                self.exits.push((process, exit));
            }
        }
    }
}

fn gave_up(failures: u32, reason: String, stopped: bool) -> Failure {
    if stopped {
        return Failure::new("not all processes ended well").because(reason);
    }
    let failure = Failure::new(format!(
        "gave up after {failures} starts that failed in a row"
    ));
    failure.because(reason).hint(
        "the log above says more; what is committed stays, and the next start goes on from there",
    )
}

#[cfg(test)]
mod tests;
