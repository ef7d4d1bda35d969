//! A cluster that runs: heartbeats, stops, failures, summaries, and rows over timely's connections.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use timely::dataflow::operators::{Exchange, Inspect, ToStream};

use super::super::{Control, Duty, FAILED, Joined, PEER_LOST, Steps, workers};
use super::{LIMIT, Later, get_all, members, start_all};
use crate::dataflow::outcome::{Failure, Shared};
use crate::types::Clock;

/// A process whose control connections are served; how it would have ended is told.
struct Running {
    control: Control,
    shared: Arc<Shared>,
    steps: Arc<Steps>,
    ended: Receiver<(String, u8)>,
}

impl Running {
    fn start(joined: Joined, heartbeat: Duration) -> Self {
        let (shared, steps) = (Arc::new(Shared::default()), Arc::new(Steps::new(1)));
        let (sender, ended) = sync_channel(4);
        let duty = Duty {
            shared: Arc::clone(&shared),
            steps: Arc::clone(&steps),
            heartbeat,
            clock: Clock::machine(),
            word: Box::new(|_| ()),
            end: Box::new(move |failure, code| {
                let _ = sender.try_send((failure.message.clone(), code));
            }),
        };
        let control = Control::start(joined.control, joined.process, duty).unwrap();
        Self {
            control,
            shared,
            steps,
            ended,
        }
    }

    fn end(&self) -> (String, u8) {
        self.ended.recv_timeout(LIMIT).expect("it ends in time")
    }
}

fn joined(processes: usize) -> Vec<Joined> {
    let joined = get_all(start_all(members(processes)));
    joined.into_iter().map(Result::unwrap).collect()
}

fn running(processes: usize, heartbeat: Duration) -> Vec<Running> {
    let start = |joined| Running::start(joined, heartbeat);
    joined(processes).into_iter().map(start).collect()
}

/// Waits for what another thread is about to do.
fn until(what: impl Fn() -> bool) {
    let clock = Clock::machine();
    while !what() {
        assert!(clock.elapsed() < LIMIT, "it does not happen");
        std::thread::yield_now();
    }
}

const CALM: Duration = Duration::from_secs(30);

#[test]
fn summaries_come_together_on_process_0_and_a_clean_end_loses_nobody() {
    let running = running(4, CALM);

    let (ends, done): (Vec<_>, Vec<_>) = running
        .into_iter()
        .enumerate()
        .map(|(process, running)| {
            let summary = format!("summary {process}").into_bytes();
            let Running { control, ended, .. } = running;
            (ended, Later::of(move || control.finish(summary)))
        })
        .unzip();

    let mut done = done.into_iter().map(|done| done.get().unwrap());
    let expected: Vec<Vec<u8>> = (0..4)
        .map(|p| format!("summary {p}").into_bytes())
        .collect();
    assert_eq!(done.next().unwrap(), expected);
    assert!(done.all(|none| none.is_empty()));
    assert!(ends.iter().all(|ended| ended.try_recv().is_err()));
}

#[test]
fn a_wish_to_stop_reaches_everybody() {
    let running = running(4, CALM);

    // As a signal does: nobody calls `stop`.
    running[2].shared.stop();

    for running in &running {
        until(|| running.shared.is_stopping());
        assert!(!running.shared.has_failed());
    }
}

#[test]
fn the_wish_for_a_snapshot_reaches_the_sources_of_all_other_processes() {
    let running = running(3, CALM);

    running[0].control.teller().want_cut();

    until(|| running[1..].iter().all(|other| other.shared.wants_cut()));
    assert!(!running[0].shared.wants_cut(), "it knows");
}

#[test]
fn a_failure_reaches_everybody_in_the_words_of_who_failed() {
    let running = running(4, CALM);

    let failure = Failure::new("cannot write `orders`").because("disk full");
    running[3].control.failed(&failure);

    for (process, running) in running.iter().enumerate() {
        until(|| running.shared.has_failed());
        let told = running.shared.failure().unwrap();
        let expected = match process {
            3 => "cannot write `orders`",
            _ => "process 3: cannot write `orders`",
        };
        assert_eq!(told.message, expected);
        assert_eq!(told.causes, ["disk full"]);
    }
}

#[test]
fn a_failure_is_heard_although_its_process_ends_at_once() {
    let mut running = running(3, CALM);

    let failing = running.pop().unwrap();
    failing.shared.fail(Failure::new("out of luck"));
    let Running { control, .. } = failing;
    drop(control);

    for running in &running {
        until(|| running.shared.has_failed());
        let told = running.shared.failure().unwrap();
        assert_eq!(told.message, "process 2: out of luck");
    }
    let ended = running.iter().map(|running| running.ended.try_recv());
    assert_eq!(ended.filter(Result::is_ok).count(), 0);
}

#[test]
fn whoever_waits_for_the_others_in_the_end_hears_of_a_failure() {
    let mut running = running(3, CALM);
    let failing = running.pop().unwrap();
    let done: Vec<_> = running
        .into_iter()
        .map(|running| {
            let Running { control, .. } = running;
            Later::of(move || control.finish(Vec::new()))
        })
        .collect();

    failing.control.failed(&Failure::new("out of luck"));

    for done in done {
        assert_eq!(done.get().unwrap_err().message, "process 2: out of luck");
    }
}

#[test]
fn a_process_that_ends_without_a_word_is_lost_to_all() {
    let mut joined = joined(3);
    let killed = joined.pop().unwrap();
    let running: Vec<_> = joined
        .into_iter()
        .map(|joined| Running::start(joined, CALM))
        .collect();

    drop(killed);

    for running in &running {
        let (message, code) = running.end();
        assert_eq!(message, "lost process 2 (it ended)");
        assert_eq!(code, PEER_LOST);
        assert!(running.shared.has_failed());
    }
}

#[test]
fn a_process_that_says_nothing_is_lost_to_all_within_the_heartbeat() {
    let mut joined = joined(3);
    // Stopped: its connections are open, and nobody serves them.
    let stopped = joined.pop().unwrap();
    let clock = Clock::machine();
    let running: Vec<_> = joined
        .into_iter()
        .map(|joined| Running::start(joined, Duration::from_secs(2)))
        .collect();

    for running in &running {
        let (message, code) = running.end();
        assert!(
            message.starts_with("lost process 2 (nothing was heard for "),
            "{message}"
        );
        assert_eq!(code, PEER_LOST);
    }
    assert!(clock.elapsed() >= Duration::from_secs(2));
    drop(stopped);
}

#[test]
fn a_process_whose_worker_hangs_is_lost_although_it_beats() {
    let running = running(2, Duration::from_secs(2));
    // It has begun, and never turns again.
    running[1].steps.turned(0);

    let (message, code) = running[0].end();

    assert!(
        message.starts_with("lost process 1 (its worker 0 has not moved for "),
        "{message}"
    );
    assert_eq!(code, PEER_LOST);
}

#[test]
fn a_process_that_does_not_end_after_a_failure_is_ended() {
    let running = running(2, Duration::from_secs(1));

    running[1].control.failed(&Failure::new("out of luck"));

    assert_eq!(
        running[0].end(),
        ("process 1: out of luck".to_owned(), FAILED)
    );
    assert_eq!(running[1].end(), ("out of luck".to_owned(), FAILED));
}

#[test]
fn nonsense_on_a_control_connection_ends_the_run_not_the_memory() {
    let mut joined = joined(2);
    let mut one = joined.pop().unwrap();
    let zero = Running::start(joined.pop().unwrap(), CALM);

    let link = one.control[0].as_mut().unwrap();
    link.write_all(&[0xff; 64]).unwrap();

    let (message, code) = zero.end();
    assert!(
        message.contains("lost process 1 (4294967295 bytes announced"),
        "{message}"
    );
    assert_eq!(code, PEER_LOST);
}

/// Every number arrives once, wherever it belongs.
pub fn rows_cross(joined: Vec<Joined>, threads: usize) {
    let processes = joined.len() as u64;
    let peers = processes * threads as u64;
    let done: Vec<Later<u64>> = joined
        .into_iter()
        .map(|joined| {
            Later::of(move || {
                let Joined {
                    process, sockets, ..
                } = joined;
                let (builders, guard) =
                    workers(sockets, process, threads, &Arc::default()).unwrap();
                let config = timely::WorkerConfig::default();
                let guards = timely::execute::execute_from(builders, guard, config, |worker| {
                    let sum = std::rc::Rc::new(std::cell::Cell::new(0));
                    let seen = std::rc::Rc::clone(&sum);
                    worker.dataflow::<u64, _, _>(|scope| {
                        (0..1000_u64)
                            .to_stream(scope)
                            .container::<Vec<_>>()
                            .exchange(|row| *row)
                            .inspect(move |row| seen.set(seen.get() + row));
                    });
                    while worker.has_dataflows() {
                        worker.step_or_park(None);
                    }
                    sum.get()
                });
                let results = guards.unwrap().join();
                results.into_iter().map(|sum| sum.unwrap()).sum()
            })
        })
        .collect();

    let total: u64 = done.into_iter().map(Later::get).sum();
    assert_eq!(total, peers * (0..1000).sum::<u64>());
}

#[test]
fn rows_cross_between_the_workers_of_three_processes() {
    rows_cross(joined(3), 2);
}

#[test]
fn a_process_of_one_needs_no_connection() {
    rows_cross(joined(1), 2);
}
