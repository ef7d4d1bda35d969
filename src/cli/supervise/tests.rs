//! The supervisor with processes that are small shell programs: file descriptor 0 is where they are
//! spoken to and where they answer.

use std::ffi::OsString;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::{Event, Program, Supervision, Supervisor};
use crate::dataflow::outcome::Failure;
use crate::types::Clock;

/// Says where it listens and waits for its start, which is then in `$start`; `me` is its number.
const BEGIN: &str = r#"
    echo '{"listens":"127.0.0.1:1"}' >&0
    read start
    me=$(echo "$start" | sed 's/.*"process":\([0-9]*\).*/\1/')
    attempt=$(echo "$start" | sed 's/.*"attempt":\([0-9]*\).*/\1/')
    echo "$attempt $me $start" >> log
    "#;

/// Supervises three of them in `folder`.
fn supervisor(folder: &Path, script: &str) -> (Supervisor, std::sync::mpsc::SyncSender<Event>) {
    let script = format!("cd '{}'\n{BEGIN}\n{script}", folder.display());
    let supervision = Supervision {
        program: Program {
            path: "/bin/sh".into(),
            arguments: vec![OsString::from("-c"), script.into()],
            json: false,
        },
        processes: 3,
        failures_max: 3,
        fresh: true,
    };
    let (events, happening) = sync_channel(64);
    let supervisor = Supervisor::new(supervision, events.clone(), happening);
    (supervisor, events)
}

fn run(folder: &Path, script: &str) -> Result<u8, Failure> {
    supervisor(folder, script).0.run()
}

/// What the processes were told: attempt, process, and the whole line, sorted.
fn told(folder: &Path) -> Vec<(u64, usize, String)> {
    let log = std::fs::read_to_string(folder.join("log")).unwrap();
    let mut lines: Vec<_> = log
        .lines()
        .map(|line| {
            let mut parts = line.splitn(3, ' ');
            let mut next = || parts.next().unwrap();
            let (attempt, process) = (next().parse().unwrap(), next().parse().unwrap());
            (attempt, process, next().to_owned())
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn processes_are_told_of_each_other_and_end_well_together() {
    let folder = tempfile::tempdir().unwrap();

    assert_eq!(run(folder.path(), "exit 0"), Ok(0));

    let told = told(folder.path());
    let numbers: Vec<_> = told.iter().map(|&(attempt, me, _)| (attempt, me)).collect();
    assert_eq!(numbers, [(1, 0), (1, 1), (1, 2)]);
    assert!(told.iter().all(|(_, _, line)| {
        line.contains(r#""addresses":["127.0.0.1:1","127.0.0.1:1","127.0.0.1:1"]"#)
    }));
}

#[test]
fn a_killed_process_ends_the_others_and_all_start_again_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::machine();
    // The others wait for a word, and end when the supervisor hangs up, as ours do.
    let script = r#"
        if [ $attempt = 1 ]; then
            if [ $me = 1 ]; then kill -9 $$; fi
            read word
            exit 75
        fi"#;

    assert_eq!(run(folder.path(), script), Ok(0));

    assert_eq!(told(folder.path()).len(), 6);
    assert!(clock.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_process_that_does_not_end_when_told_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        if [ $attempt = 1 ]; then
            if [ $me = 1 ]; then exit 101; fi
            kill -STOP $$
        fi"#;

    assert_eq!(run(folder.path(), script), Ok(0));

    assert_eq!(told(folder.path()).len(), 6);
}

#[test]
fn a_refusal_is_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let script = "if [ $me = 2 ]; then exit 2; fi; read word; exit 75";

    assert_eq!(run(folder.path(), script), Ok(2));

    assert_eq!(told(folder.path()).len(), 3);
}

#[test]
fn what_fails_again_and_again_is_given_up_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let script = "if [ $me = 2 ]; then exit 101; fi; read word; exit 75";

    let failure = run(folder.path(), script).unwrap_err();

    assert_eq!(
        failure.message,
        "gave up after 3 starts that failed in a row"
    );
    assert_eq!(failure.causes, ["process 2 ended with code 101"]);
    assert_eq!(told(folder.path()).len(), 9);
}

#[test]
fn tables_are_emptied_until_a_start_has_done_it_and_then_no_more() {
    let folder = tempfile::tempdir().unwrap();
    // The first start dies before it runs, the second after.
    let script = r#"
        if [ $attempt = 2 ]; then
            if [ $me = 0 ]; then echo '{"running":null}' >&0; fi
        fi
        if [ $attempt != 3 ]; then
            if [ $me = 0 ]; then kill -9 $$; fi
            read word
            exit 75
        fi"#;

    assert_eq!(run(folder.path(), script), Ok(0));

    let fresh: Vec<bool> = told(folder.path())
        .iter()
        .filter(|(_, me, _)| *me == 0)
        .map(|(_, _, line)| line.contains(r#""fresh":true"#))
        .collect();
    assert_eq!(fresh, [true, true, false]);
}

#[test]
fn a_signal_is_passed_on_once_and_a_clean_end_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"read word; echo "$word" >> words; exit 0"#;
    let (mut supervisor, events) = supervisor(folder.path(), script);

    events.send(Event::Signal).unwrap();

    assert_eq!(supervisor.run(), Ok(0));
    let words = std::fs::read_to_string(folder.path().join("words")).unwrap();
    // A process hears of its start and then of the wish to stop, or the other way round.
    assert!(words.lines().count() == 3, "{words}");
}

#[test]
fn a_second_signal_ends_all_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut supervisor, events) = supervisor(folder.path(), "while true; do sleep 1; done");

    events.send(Event::Signal).unwrap();
    events.send(Event::Signal).unwrap();

    let failure = supervisor.run().unwrap_err();
    assert_eq!(failure.message, "not all processes ended well");
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (mut supervisor, _events) = supervisor(folder.path(), "");
    supervisor.supervision.program.path = folder.path().join("nothing");

    let failure = supervisor.run().unwrap_err();

    assert_eq!(failure.message, "could not start process 0");
}
