//! Partitions that fall silent and speak again, and sources whose clocks differ.

use super::*;

/// Both were silent, and both have something again at about the same time: which is read first does not
/// matter.
#[test]
fn partitions_that_come_back_together_are_not_late_for_each_other() {
    let mut live = Live::new(2);
    live.at(0, [(0, rows(0..50)), (1, rows(0..50))]);
    live.at(
        1,
        [
            (0, Arrival::CaughtUp(Offset(50))),
            (1, Arrival::CaughtUp(Offset(50))),
        ],
    );
    live.at(17, []);
    live.at(18, []);
    live.heard();

    live.at(20, [(0, rows(50..900))]);
    live.heard();
    live.at(20, []);
    live.heard();
    live.at(20, [(1, rows(50..60))]);
    for second in 21..25 {
        live.at(second, []);
        live.heard();
    }

    let floor = live.task.partitions[&1].mark.floors.last().unwrap();
    assert_eq!(floor.watermark, at(49));
    assert_eq!(live.watermark(), 59);
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
    assert_eq!(live.task.open(), Epoch(41));
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
