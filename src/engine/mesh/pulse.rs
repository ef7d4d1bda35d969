//! Whether another process is alive: pure, given what was heard and when.
//!
//! Alive means two things: something is heard from it, and each of its workers turns. A process that
//! was stopped (SIGSTOP) or cut off is silent; one whose worker hangs still beats. A worker that has
//! not begun or has ended is not asked to turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A worker that has ended.
const ENDED: u64 = u64::MAX;

/// How often each worker of this process has turned. A worker turns at least every 100 ms, and says
/// so each time.
#[derive(Debug)]
pub struct Steps(Vec<AtomicU64>);

impl Steps {
    /// For so many workers, none of which has begun.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicU64::new(0)).collect())
    }

    /// Worker `worker` of this process turned.
    pub fn turned(&self, worker: usize) {
        self.0[worker].fetch_add(1, Ordering::Relaxed);
    }

    /// It has ended, and will not turn again.
    pub fn ended(&self, worker: usize) {
        self.0[worker].store(ENDED, Ordering::Relaxed);
    }

    /// How often each has turned.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        let count = |steps: &AtomicU64| steps.load(Ordering::Relaxed);
        self.0.iter().map(count).collect()
    }
}

/// What is known of another process.
#[derive(Clone, Debug)]
pub struct Pulse {
    allowance: Duration,
    heard: Duration,
    looked: Duration,
    workers: Vec<Worker>,
}

#[derive(Clone, Copy, Debug)]
struct Worker {
    turns: u64,
    since: Duration,
}

/// What is wrong with a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing was heard for so long.
    Process(Duration),
    /// A worker has not turned for so long.
    Worker(usize, Duration),
}

impl Pulse {
    /// It is alive now, and may be silent for `allowance`.
    #[must_use]
    pub fn new(now: Duration, allowance: Duration) -> Self {
        Self {
            allowance,
            heard: now,
            looked: now,
            workers: Vec::new(),
        }
    }

    /// Its beat came.
    pub fn beat(&mut self, now: Duration, turns: &[u64]) {
        self.heard = now;
        let fresh = |&turns: &u64| Worker { turns, since: now };
        let had = self.workers.len().min(turns.len());
        for (worker, &turns) in self.workers.iter_mut().zip(turns) {
            if worker.turns != turns {
                *worker = Worker { turns, since: now };
            }
        }
        self.workers.extend(turns[had..].iter().map(fresh));
    }

    /// Whether it is still alive. To be asked often: whoever did not ask for half the allowance was
    /// itself stopped, and what it missed meanwhile proves nothing.
    pub fn look(&mut self, now: Duration) -> Option<Silence> {
        let gap = now.saturating_sub(self.looked);
        self.looked = now;
        if gap > self.allowance / 2 {
            self.heard += gap;
            for worker in &mut self.workers {
                worker.since += gap;
            }
        }
        let silent = now.saturating_sub(self.heard);
        if silent >= self.allowance {
            return Some(Silence::Process(silent));
        }
        let stuck = self.workers.iter().enumerate().find_map(|(index, worker)| {
            let asked = worker.turns != 0 && worker.turns != ENDED;
            let still = now.saturating_sub(worker.since);
            (asked && still >= self.allowance).then_some((index, still))
        });
        stuck.map(|(index, still)| Silence::Worker(index, still))
    }
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process(time) => write!(f, "nothing was heard for {:.1} s", time.as_secs_f64()),
            Self::Worker(worker, time) => write!(
                f,
                "its worker {worker} has not moved for {:.1} s",
                time.as_secs_f64()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Asks every second, as the control thread does.
    fn look_until(pulse: &mut Pulse, from: u64, to: u64) -> Option<Silence> {
        (from..=to).find_map(|second| pulse.look(at(second)))
    }

    #[test]
    fn a_process_that_beats_and_turns_is_alive() {
        let mut pulse = Pulse::new(at(0), ALLOWANCE);

        let found = (1..60).find_map(|second| {
            pulse.beat(at(second), &[second * 3, second]);
            pulse.look(at(second))
        });

        assert_eq!(found, None);
    }

    #[test]
    fn a_silent_process_is_lost_after_the_allowance() {
        let mut pulse = Pulse::new(at(0), ALLOWANCE);
        pulse.beat(at(3), &[7]);

        assert_eq!(look_until(&mut pulse, 3, 12), None);
        assert_eq!(pulse.look(at(13)), Some(Silence::Process(at(10))));
    }

    #[test]
    fn a_process_that_beats_but_has_a_worker_that_hangs_is_lost() {
        let mut pulse = Pulse::new(at(0), ALLOWANCE);

        let found = (1..60).find_map(|second| {
            pulse.beat(at(second), &[second, 5]);
            pulse.look(at(second))
        });

        assert_eq!(found, Some(Silence::Worker(1, at(10))));
    }

    #[test]
    fn a_worker_that_has_not_begun_or_has_ended_need_not_turn() {
        let mut pulse = Pulse::new(at(0), ALLOWANCE);
        let steps = Steps::new(2);
        steps.turned(1);
        steps.ended(1);

        let found = (1..60).find_map(|second| {
            pulse.beat(at(second), &steps.counts());
            pulse.look(at(second))
        });

        assert_eq!(found, None);
    }

    #[test]
    fn whoever_was_stopped_itself_judges_nobody_for_that_time() {
        let mut pulse = Pulse::new(at(0), ALLOWANCE);
        pulse.beat(at(1), &[1]);
        assert_eq!(pulse.look(at(1)), None);

        assert_eq!(pulse.look(at(3600)), None);
        assert_eq!(look_until(&mut pulse, 3601, 3608), None);
        assert!(look_until(&mut pulse, 3609, 3612).is_some());
    }
}
