use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::types::{EventTime, Offset, PartitionMark};

const SECOND: i64 = 1_000_000;
const NOW: Duration = Duration::from_secs(100);

/// A topic of three partitions, read up to 50 of 50, with event time at 10:00:30, 10:00:20 and
/// 10:00:40 of the first day.
fn clicks() -> SourceFacts {
    let marks = [30, 20, 40].map(|seconds| PartitionMark {
        watermark: Watermark::behind(EventTime((36_000 + seconds) * SECOND), 0),
        ..PartitionMark::beginning(Offset(50))
    });
    SourceFacts {
        names: Arc::new(["0", "1", "2"].map(str::to_owned).to_vec()),
        ends: vec![Some(Offset(50)); 3],
        marks: marks.into_iter().enumerate().collect(),
        watermark: Watermark::behind(EventTime(36_020 * SECOND), 0),
        moved: NOW,
        ..SourceFacts::default()
    }
}

fn sentence<'a>(facts: &'a SourceFacts, change: impl FnOnce(&mut Sight<'a>)) -> String {
    let mut sight = Sight {
        stage: &Stage::Live,
        now: NOW,
        destination: None,
        sources: vec![Where {
            name: "clicks",
            unit: "records",
            has_event_time: true,
            idle_after: Some(Duration::from_secs(15)),
            facts,
            stale: None,
        }],
        next: None,
        on_close: false,
        fates: Fates {
            accepted: 150,
            ..Fates::default()
        },
        is_letters: false,
    };
    change(&mut sight);
    waits_for(&sight)
}

/// The minute that ends at 10:01:00, for a table that gets a window when it closes.
fn in_a_window(sight: &mut Sight<'_>) {
    sight.on_close = true;
    sight.next = Some(OpenWindows {
        count: 1,
        next_end: EventTime(36_060 * SECOND),
        lateness_us: 0,
    });
}

#[test]
fn a_window_names_the_partition_that_holds_event_time_back_and_what_is_left_to_read() {
    let mut facts = clicks();
    facts.ends[1] = Some(Offset(1050));

    assert_eq!(
        sentence(&facts, in_a_window),
        "the window that ends 1970-01-01 10:01:00 closes next, when event time has passed it: \
         event time is 1970-01-01 10:00:20, 40 s before that; \
         partition `1` of `clicks` is the furthest back, with 1000 records still to read"
    );
}

#[test]
fn a_silent_partition_is_named_with_the_time_after_which_it_is_waited_for_no_longer() {
    let said = sentence(&clicks(), in_a_window);

    let ending = "partition `1` of `clicks` is the furthest back and has nothing more to read; \
                  after 15 s of silence event time goes on without it";
    assert!(said.ends_with(ending), "{said}");
}

#[test]
fn a_partition_without_a_record_and_partitions_that_are_all_idle_are_said() {
    let mut facts = clicks();
    facts.marks.remove(&2);
    facts.ends[2] = Some(Offset(0));
    let said = sentence(&facts, in_a_window);
    assert!(
        said.contains("partition `2` of `clicks` has not had a record yet"),
        "{said}"
    );

    let mut facts = clicks();
    facts.marks.values_mut().for_each(|mark| mark.idle = true);
    let said = sentence(&facts, in_a_window);
    let ending = "every partition of `clicks` is idle, so it stands still until a record comes";
    assert!(said.ends_with(ending), "{said}");
}

#[test]
fn allowed_lateness_is_part_of_what_is_waited_for() {
    let said = sentence(&clicks(), |sight| {
        in_a_window(sight);
        let next = sight.next.as_mut().unwrap();
        next.lateness_us = 90 * SECOND;
    });

    assert!(
        said.contains("passed it and 1 min 30 s of allowed lateness: event time is"),
        "{said}"
    );
    assert!(said.contains("10:00:20, 2 min 10 s before that"), "{said}");
}

#[test]
fn a_table_kept_current_says_how_the_input_comes_and_which_window_is_final_next() {
    let said = sentence(&clicks(), |sight| {
        in_a_window(sight);
        sight.on_close = false;
    });

    assert_eq!(
        said,
        "up to date: commits as records come; \
         the window that ends 1970-01-01 10:01:00 is the next to be final"
    );
}

#[test]
fn input_that_is_behind_says_by_how_much_and_where_most_of_it_is() {
    let mut facts = clicks();
    facts.ends = [Some(Offset(60)), Some(Offset(50)), Some(Offset(90))].to_vec();

    assert_eq!(
        sentence(&facts, |_| {}),
        "reading `clicks`: 50 records to go, 40 of them in partition `2`"
    );
}

#[test]
fn nothing_to_read_for_a_while_is_idle() {
    let mut facts = clicks();
    facts.moved = NOW - Duration::from_secs(75);

    assert_eq!(
        sentence(&facts, |_| {}),
        "idle: nothing to read in `clicks` for 1 min 15 s"
    );
}

#[test]
fn a_table_that_cannot_be_read_again_is_named() {
    let stale = (
        NOW - Duration::from_secs(90),
        "no file matches `cities.csv`".to_owned(),
    );

    let said = sentence(&clicks(), |sight| sight.sources[0].stale = Some(&stale));

    assert_eq!(
        said,
        "`clicks` cannot be read again since 1 min 30 s, and counts as it was then: no file \
         matches `cities.csv`"
    );
}

#[test]
fn a_destination_that_is_away_comes_before_everything_else() {
    let away = DestinationFacts {
        name: "db".to_owned(),
        away: Some((
            NOW - Duration::from_secs(12),
            "connection refused".to_owned(),
        )),
        ..DestinationFacts::default()
    };

    let said = sentence(&clicks(), |sight| {
        in_a_window(sight);
        sight.destination = Some(&away);
    });

    assert_eq!(
        said,
        "waiting for `db` since 12 s: connection refused; \
         nothing is lost, it goes on when that is back"
    );
}

#[test]
fn a_commit_that_takes_long_is_said() {
    let busy = DestinationFacts {
        name: "db".to_owned(),
        busy: Some((Epoch(41), NOW - Duration::from_secs(7))),
        ..DestinationFacts::default()
    };

    let said = sentence(&clicks(), |sight| sight.destination = Some(&busy));

    assert_eq!(said, "`db` has taken 7 s so far to commit epoch 41");
}

#[test]
fn a_replay_says_how_far_it_is() {
    let stage = Stage::Replaying {
        to: Epoch(41),
        percent: 63,
    };

    assert_eq!(
        sentence(&clicks(), |sight| sight.stage = &stage),
        "replaying to epoch 41, 63 % done; nothing is written until then"
    );
}

#[test]
fn a_table_that_gets_nothing_says_what_became_of_the_records() {
    let said = |fates| sentence(&clicks(), |sight| sight.fates = fates);
    let all_rejected = Fates {
        rejected: 7,
        ..Fates::default()
    };
    let none_in = Fates {
        filtered: 5,
        late: 2,
        ..Fates::default()
    };

    assert_eq!(
        said(all_rejected),
        "all 7 records so far were rejected: the log and the dead letters say why"
    );
    assert_eq!(
        said(none_in),
        "no record has reached it yet (5 filtered, 2 late); up to date: commits as records come"
    );
}

/// The last sentence is of a packed one, whose length nobody knows.
#[test]
fn of_files_before_a_topic_is_said_what_is_true_of_files() {
    let mut facts = clicks();
    facts.files = BTreeMap::from([(0, "bytes"), (1, "bytes")]);
    facts.ends = [1050, 250, 7000].map(|end| Some(Offset(end))).to_vec();
    assert_eq!(
        sentence(&facts, |_| {}),
        "reading `clicks`: 1200 bytes to go, 1000 of them in partition `0`"
    );
    let said = sentence(&facts, in_a_window);
    let ending = "partition `1` of `clicks` is the furthest back, with 200 bytes still to read";
    assert!(said.ends_with(ending), "{said}");

    facts.ends[1] = None;
    facts.marks.remove(&1);
    let said = sentence(&facts, in_a_window);
    let ending = "partition `1` of `clicks` has not had a record yet";
    assert!(said.ends_with(ending), "{said}");
}

#[test]
fn input_that_has_ended_is_said() {
    let mut facts = clicks();
    let ended = |mark: &mut PartitionMark| mark.ended = true;
    facts.marks.values_mut().for_each(ended);

    assert_eq!(sentence(&facts, |_| {}), "all input has been read");

    let none = SourceFacts {
        marks: BTreeMap::new(),
        ..facts
    };
    assert_ne!(sentence(&none, |_| {}), "all input has been read");
}

#[test]
fn a_length_of_time_has_two_digits_at_most() {
    let said = |seconds| length(Duration::from_secs(seconds));

    assert_eq!(length(Duration::from_millis(40)), "40 ms");
    assert_eq!([59, 60, 90].map(said), ["59 s", "1 min", "1 min 30 s"]);
    assert_eq!(
        [750, 3_700, 90_000].map(said),
        ["12 min", "1 h 1 min", "1 d 1 h"]
    );
}
