//! Partitions that are found while a source is read.

use super::*;
use crate::dataflow::arrival::Found;

fn found() -> Arrival {
    Arrival::Found(Found {
        from: Offset(0),
        file: None,
        count: 2,
    })
}

#[test]
fn a_partition_that_is_found_announces_itself_before_it_sends() {
    let mut live = Live::new(1);
    live.at(0, [(0, rows(0..50))]);
    live.at(1, [(0, rows(50..60)), (1, found())]);
    live.heard();
    live.at(2, [(1, rows(0..3))]);

    live.heard();
    live.at(3, [(0, rows(60..80))]);
    live.at(4, []);
    live.heard();

    // Its records are all before its floor, and event time does not go back for them.
    assert_eq!(live.watermark(), 49);
    assert_eq!(live.task.partitions[&1].mark.watermark.micros(), 49);
}

#[test]
fn records_of_a_partition_that_is_found_in_a_replay_go_in_in_their_order() {
    // Its floor may become known between any two steps.
    for heard_after in 0..12 {
        let stop = Stop {
            epoch: Epoch(3),
            partitions: vec![Some(mark(50, false))],
            watermark: at(49),
        };
        let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(3));
        let found = (1, found());
        let blocks = [0..50, 50..60, 60..70].map(|block| (1, rows(block)));
        let arrivals = [found].into_iter().chain(blocks).chain([(0, rows(0..50))]);
        let (mut task, mut log) = task(AtEnd::Wait, arrivals.collect(), 1, schedule);

        for step in 0..20 {
            task.step(true, &mut log);
            if step >= heard_after {
                for (epoch, report) in log.reports.drain(..) {
                    task.tide.hear(epoch, report);
                }
                task.tide.advance(Some(task.open()));
            }
        }

        let state = &task.partitions[&1].mark;
        assert_eq!(
            (state.offset, state.floors[0].watermark),
            (Offset(70), at(49))
        );
    }
}

/// The mark is of an epoch in which another worker had announced a partition with a higher number.
#[test]
fn a_partition_that_a_mark_has_no_place_for_begins_after_the_replay_where_event_time_is() {
    let stop = Stop {
        epoch: Epoch(3),
        partitions: vec![Some(mark(50, false)), None],
        watermark: at(49),
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(3));
    let arrivals = vec![(1, rows(0..70)), (0, rows(0..50))];
    let (mut task, mut log) = task(AtEnd::Wait, arrivals, 2, schedule);

    while task.step(true, &mut log) == Progress::Worked {}

    let values = |line: &String| line.contains('[').then(|| line[..5].to_owned());
    let begin: Vec<String> = log.lines.iter().filter_map(values).collect();
    assert_eq!(begin, ["1: [0", "4: [0"], "{:?}", log.lines);
    let known = &task.partitions[&1].mark;
    assert_eq!(
        (known.offset, known.floors[0].watermark),
        (Offset(70), at(49))
    );
}
