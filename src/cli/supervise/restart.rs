//! What comes after the processes of a start have ended: pure, given how they ended and when.
//!
//! A process that refuses (exit codes 1 and 2) would refuse again: that is final. Everything else,
//! a kill, a panic, a lost connection, is worth another start: at once the first time, then later and
//! later, and not for ever.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::engine::mesh::PEER_LOST;

/// How long to wait before the next start, by how many were in vain.
const PAUSES_MS: [u64; 6] = [0, 200, 500, 1_000, 2_000, 5_000];
/// A start that ran for so long was none in vain.
const HEALTHY: Duration = Duration::from_secs(30);
/// After so long the next pause is the shortest again.
const SOUND: Duration = Duration::from_secs(60);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// By our hand, because it would not end.
    Hung,
}

/// How a start ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How each process ended, in the order in which they did.
    pub exits: Vec<(usize, Exit)>,
    /// How long all of them had been running.
    pub ran: Duration,
    /// Whether they had been asked to.
    pub stopped: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// All is done.
    Done,
    /// Start again.
    Again {
        /// After so long.
        pause: Duration,
        /// What happened.
        reason: String,
    },
    /// End, with this code; whoever refused has said why.
    Final(u8),
    /// End, it does not get better.
    GiveUp {
        /// How many starts failed in a row.
        failures: u32,
        /// What happened last.
        reason: String,
    },
}

/// Counts the starts that were in vain.
#[derive(Clone, Debug)]
pub struct Restarts {
    max: u32,
    failures: u32,
    pauses: usize,
}

impl Restarts {
    /// Gives up after `max` failures in a row.
    pub fn new(max: u32) -> Self {
        Self {
            max,
            failures: 0,
            pauses: 0,
        }
    }

    /// What comes after a start that has ended.
    pub fn next(&mut self, ended: &Ended) -> Next {
        let refused = ended.exits.iter().find_map(|&(_, exit)| exit.refusal());
        if let Some(code) = refused {
            return Next::Final(code);
        }
        let Some(reason) = ended.reason() else {
            return Next::Done;
        };
        if ended.ran >= HEALTHY {
            self.failures = 0;
        }
        if ended.ran >= SOUND {
            self.pauses = 0;
        }
        self.failures += 1;
        if ended.stopped || self.failures >= self.max {
            let failures = self.failures;
            return Next::GiveUp { failures, reason };
        }
        let pause = Duration::from_millis(PAUSES_MS[self.pauses]);
        self.pauses = (self.pauses + 1).min(PAUSES_MS.len() - 1);
        Next::Again { pause, reason }
    }
}

impl Ended {
    /// The first that did not end well, and not merely because another did.
    fn reason(&self) -> Option<String> {
        let ill = || self.exits.iter().filter(|(_, exit)| *exit != Exit::Code(0));
        let follows = Exit::Code(i32::from(PEER_LOST));
        let first = ill().find(|(_, exit)| *exit != follows);
        let (process, exit) = first.or_else(|| ill().next())?;
        Some(format!("process {process} {exit}"))
    }
}

impl Exit {
    fn refusal(self) -> Option<u8> {
        match self {
            Self::Code(1) => Some(1),
            Self::Code(2) => Some(2),
            Self::Code(_) | Self::Signal(_) | Self::Hung => None,
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with code {code}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::Hung => f.write_str("did not end and was killed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: Exit = Exit::Signal(9);
    const LOST: Exit = Exit::Code(75);

    fn ended(exits: &[(usize, Exit)], seconds: u64) -> Ended {
        Ended {
            exits: exits.to_vec(),
            ran: Duration::from_secs(seconds),
            stopped: false,
        }
    }

    fn again(ms: u64) -> Next {
        Next::Again {
            pause: Duration::from_millis(ms),
            reason: "process 3 was killed by signal 9".to_owned(),
        }
    }

    #[test]
    fn all_that_end_well_are_done() {
        let next = Restarts::new(5).next(&ended(&[(1, Exit::Code(0)), (0, Exit::Code(0))], 1));

        assert_eq!(next, Next::Done);
    }

    #[test]
    fn a_killed_process_is_the_reason_although_others_noticed_first() {
        let exits = [(0, LOST), (3, KILLED), (1, LOST)];

        assert_eq!(Restarts::new(5).next(&ended(&exits, 1)), again(0));
    }

    #[test]
    fn a_process_that_hung_is_the_reason_unless_another_died_by_itself() {
        let hung = ended(&[(0, LOST), (1, Exit::Hung)], 1);
        let killed = ended(&[(2, KILLED), (0, LOST), (1, Exit::Hung)], 1);

        assert_eq!(
            hung.reason().as_deref(),
            Some("process 1 did not end and was killed")
        );
        assert_eq!(
            killed.reason().as_deref(),
            Some("process 2 was killed by signal 9")
        );
    }

    #[test]
    fn a_refusal_is_final_whatever_else_happened() {
        let exits = [(0, LOST), (3, KILLED), (1, Exit::Code(2))];

        assert_eq!(Restarts::new(5).next(&ended(&exits, 1)), Next::Final(2));
    }

    #[test]
    fn pauses_grow_and_an_end_is_put_to_them() {
        let mut restarts = Restarts::new(9);
        let failed = ended(&[(3, KILLED)], 1);

        let pauses = [0, 200, 500, 1_000, 2_000, 5_000, 5_000, 5_000];
        for pause in pauses {
            assert_eq!(restarts.next(&failed), again(pause));
        }
        assert_eq!(
            restarts.next(&failed),
            Next::GiveUp {
                failures: 9,
                reason: "process 3 was killed by signal 9".to_owned()
            }
        );
    }

    #[test]
    fn half_a_minute_of_health_forgives_but_waits_and_a_minute_does_not_wait() {
        let mut restarts = Restarts::new(3);
        let failed = |seconds| ended(&[(3, KILLED)], seconds);
        assert_eq!(restarts.next(&failed(1)), again(0));
        assert_eq!(restarts.next(&failed(1)), again(200));

        assert_eq!(restarts.next(&failed(30)), again(500));
        assert_eq!(restarts.next(&failed(60)), again(0));
    }

    #[test]
    fn whoever_was_asked_to_stop_is_not_started_again() {
        let stopped = Ended {
            stopped: true,
            ..ended(&[(3, KILLED), (0, LOST)], 90)
        };

        let next = Restarts::new(5).next(&stopped);

        assert!(matches!(next, Next::GiveUp { failures: 1, .. }), "{next:?}");
    }
}
