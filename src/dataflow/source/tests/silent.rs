//! Partitions that fall silent and speak again, and sources whose clocks differ.

use super::*;

/// Which of them is read first does not matter.
#[test]
fn after_a_pause_of_all_partitions_event_time_waits_until_each_has_spoken_or_is_idle_anew() {
    let mut live = Live::new(3);
    let caught_up = |offset| Arrival::CaughtUp(Offset(offset));
    live.at(0, (0..3).map(|partition| (partition, rows(0..50))));
    live.at(1, (0..3).map(|partition| (partition, caught_up(50))));
    live.at(16, []);
    live.at(17, []);
    live.heard();
    assert!(live.task.partitions.values().all(|state| state.mark.idle));

    // The first is read far ahead of what came to the second; nothing ever comes to the third.
    live.at(18, [(0, rows(50..500))]);
    live.heard();
    for second in 19..22 {
        live.at(second, []);
        live.heard();
    }
    assert_eq!(live.watermark(), 49);
    live.at(
        22,
        [(1, rows(50..60)), (0, caught_up(500)), (1, caught_up(60))],
    );
    live.at(23, []);
    live.heard();
    assert_eq!(live.watermark(), 49);

    live.at(35, []);
    live.at(36, []);
    live.heard();
    assert_eq!(live.watermark(), 59);
    let floors = |partition| live.task.partitions[&partition].mark.floors.len();
    assert_eq!([0, 1, 2].map(floors), [1, 1, 1]);
}

/// Another process began earlier, or this one stood still: the clocks differ for as long as they run.
#[test]
fn an_epoch_that_another_source_has_closed_is_not_kept_open() {
    let mut live = Live::new(1);
    live.at(2, [(0, rows(0..5))]);
    let open = live.task.open();
    assert!(open < Epoch(40));

    live.tide.hear(Epoch(40), Report::default());
    live.at(2, [(0, rows(5..7))]);

    assert_eq!(live.task.open(), Epoch(41));
    assert_eq!(live.log.lines.last().unwrap(), "41: [5, 6]");
    live.at(3, []);
    assert_eq!(live.task.open(), Epoch(42));
}

/// It has spent its epochs faster than time goes, and has little to read from here on.
#[test]
fn after_a_backlog_time_closes_epochs_as_before() {
    let mut live = Live::new(1);
    for record in 0..20 {
        let arrival = (0, rows(record..record + 1));
        live.task.inbox.arrivals.push_back(arrival);
        live.task.step(true, &mut live.log);
        live.task.step(false, &mut live.log);
    }
    live.at(1, []);
    let open = live.task.open();
    assert!(open >= Epoch(20), "{open}");

    live.at(2, []);

    assert_eq!(live.task.open(), open.next());
}

#[test]
fn a_process_that_stood_still_has_not_listened_and_takes_nobody_for_idle() {
    let mut live = Live::new(2);
    live.at(0, [(0, rows(0..5)), (1, rows(0..50))]);
    live.at(1, [(0, Arrival::CaughtUp(Offset(5))), (1, rows(50..60))]);

    live.turn(40);
    live.turn(41);
    live.heard();
    assert_eq!(live.watermark(), 4);

    live.at(57, []);
    live.heard();
    assert_eq!(live.watermark(), 59);
}

#[test]
fn a_partition_that_says_nothing_for_long_is_not_waited_for() {
    let mut live = Live::new(2);
    live.at(0, [(0, rows(0..5)), (1, rows(0..50))]);
    live.at(1, [(0, Arrival::CaughtUp(Offset(5))), (1, rows(50..60))]);
    live.heard();
    assert_eq!(live.watermark(), 4);

    live.at(16, []);
    live.at(17, []);
    live.heard();

    assert_eq!(live.watermark(), 59);
}

/// What was read before waits for a destination: what has come since is not looked at.
#[test]
fn a_source_that_may_take_nothing_in_takes_nobody_for_idle() {
    let mut live = Live::new(2);
    live.at(0, [(0, rows(0..5)), (1, rows(0..50))]);
    live.at(1, [(0, Arrival::CaughtUp(Offset(5))), (1, rows(50..60))]);

    for second in 2..40 {
        live.clock.wait_until(Duration::from_secs(second));
        while live.task.step(false, &mut live.log) == Progress::Worked {}
    }
    live.heard();
    assert_eq!(live.watermark(), 4);

    live.at(60, []);
    live.heard();
    assert_eq!(live.watermark(), 59);
}

/// A destination that is slow for a moment at a time, again and again: what came to the partition waits behind
/// what came to the other.
#[test]
fn a_partition_that_was_silent_over_a_pause_of_reading_is_asked_before_it_is_idle() {
    let mut live = Live::new(2);
    live.at(0, [(0, rows(0..5)), (1, rows(0..50))]);
    live.at(1, [(0, Arrival::CaughtUp(Offset(5))), (1, rows(50..60))]);
    live.task.inbox.reads_since = Duration::from_secs(12);

    live.at(30, []);
    live.heard();
    assert_eq!(live.watermark(), 4);
    assert_eq!(live.task.inbox.asked, [0]);

    // Something had come: it is late for nothing that waited for it.
    live.at(31, [(0, rows(5..20)), (0, Arrival::CaughtUp(Offset(20)))]);
    live.at(32, []);
    live.heard();
    assert_eq!(live.watermark(), 19);
    assert_eq!(live.task.partitions[&0].mark.floors, []);
}

#[test]
fn a_partition_whose_end_is_still_its_end_is_idle_however_often_reading_pauses() {
    let mut live = Live::new(2);
    live.at(0, [(0, rows(0..5)), (1, rows(0..50))]);
    live.at(1, [(0, Arrival::CaughtUp(Offset(5))), (1, rows(50..60))]);
    live.task.inbox.reads_since = Duration::from_secs(12);
    live.at(18, []);

    live.task.inbox.reads_since = Duration::from_secs(19);
    live.at(19, [(0, Arrival::CaughtUp(Offset(5)))]);
    live.at(20, []);
    live.heard();

    assert_eq!(live.watermark(), 59);
    assert_eq!(live.task.inbox.asked, [0]);
}

#[test]
fn a_partition_that_nobody_answers_for_is_waited_for() {
    let mut live = Live::new(2);
    live.at(0, [(0, rows(0..5)), (1, rows(0..50))]);
    live.at(1, [(0, Arrival::CaughtUp(Offset(5))), (0, Arrival::Away)]);

    live.at(40, []);
    live.at(41, []);
    live.heard();

    assert_eq!(live.watermark(), 4);
}

/// It is said once, and what was there up to the stops may be gone.
#[test]
fn an_end_that_lies_behind_several_stops_is_the_end_of_all_their_stretches() {
    let stop = |epoch, offset| {
        let mark = PartitionMark {
            offset: Offset(offset),
            ..mark(1, false)
        };
        Stop {
            epoch: Epoch(epoch),
            partitions: vec![Some(mark)],
            watermark: Watermark::START,
        }
    };
    let schedule = Schedule::new(Epoch(0), vec![stop(4, 3), stop(6, 5)], Epoch(6));
    let caught_up = Arrival::CaughtUp(Offset(5));

    let log = run(
        vec![(0, rows(0..1)), (0, caught_up), (0, rows(5..6))],
        1,
        schedule,
    );

    assert_eq!(
        log,
        [
            "1: [0]",
            "1 closes: 0@3",
            "4 closes: ",
            "5 closes: 0@5",
            "6 closes: ",
            "7: [5]"
        ]
    );
}
