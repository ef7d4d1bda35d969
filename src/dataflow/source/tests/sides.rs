//! Rejects where files and a topic share the rows of a source.

use super::*;
use crate::format::RejectedRecord;
use crate::types::{Reason, Reject};

/// As `rows`, of which `bad` says whether one is rejected, and when it happened if that is known.
fn partly(range: std::ops::Range<i64>, bad: impl Fn(i64) -> Option<Option<i64>>) -> Arrival {
    let span = |value: i64| Span {
        start: u32::try_from(value - range.start).unwrap(),
        len: 0,
    };
    let good: Vec<i64> = range.clone().filter(|&n| bad(n).is_none()).collect();
    let rejected = range.clone().filter_map(|n| Some((n, bad(n)?)));
    let rejects = rejected.map(|(n, at)| RejectedRecord {
        span: span(n),
        line: 0,
        reject: Reject::record(Reason::CheckFailed, "CHECK (n >= 0) is false"),
        at,
    });
    let column: ArrayRef = Arc::new(Int64Array::from(good.clone()));
    let Arrival::Rows(all) = rows(range.clone()) else {
        unreachable!("rows are rows");
    };
    Arrival::Rows(ArrivedRows {
        rows: RecordBatch::try_from_iter([("n", column)]).unwrap(),
        spans: good.iter().map(|&n| span(n)).collect(),
        times: ScalarBuffer::from(good),
        rejects: rejects.collect(),
        ..all
    })
}

/// A row that both have is one row, and a reject that both have one reject.
#[test]
fn a_reject_counts_on_its_own_side_if_its_time_is_known() {
    let known = |n: i64| (n == 2 || n == 4).then_some(Some(n));
    let arrivals = vec![
        (0, partly(0..6, known)),
        (1, partly(0..6, known)),
        (0, Arrival::End),
        (1, Arrival::End),
    ];
    let (mut task, mut log) = with_history(arrivals);

    while task.step(true, &mut log) == Progress::Worked {}

    let fates = &task.shared.fates()[&(0, 0)];
    let counts = (fates.accepted, fates.filtered, fates.rejected, fates.late);
    assert_eq!(counts, (4, 6, 2, 0));
    let records = task.partitions.values().map(|state| state.mark.records);
    assert_eq!(records.collect::<Vec<_>>(), [Some(3), Some(3)]);
}

#[test]
fn without_its_time_a_reject_is_on_either_side() {
    let unknown = |n: i64| (n == 2).then_some(None);
    let arrivals = vec![(0, partly(0..6, unknown)), (1, partly(0..6, unknown))];
    let (mut task, mut log) = with_history(arrivals);

    while task.step(true, &mut log) == Progress::Worked {}

    assert_eq!(task.shared.fates()[&(0, 0)].rejected, 2);
}

/// One in twenty is bad, on the side that is read as on the other.
#[test]
fn rejects_are_a_share_of_all_that_is_read_whichever_side_it_is_on() {
    let one_in_twenty = |n: i64| (n % 20 == 0).then_some(None);
    let arrivals = (0..8).map(|block| (1, partly(block * 700..(block + 1) * 700, one_in_twenty)));
    let (mut task, mut log) = with_history(arrivals.collect());
    let from = EventTime(5000);
    task.spec.history = Some(Followed { files: 1, from });
    let topic = PartitionMark::following(Offset(0), from);
    task.partitions.insert(1, PartitionState::new(topic));
    task.rejects = Rejects::new("ev", 0.1, true);

    while task.step(true, &mut log) == Progress::Worked {}

    assert!(task.shared.failure().is_none());
    let fates = &task.shared.fates()[&(0, 0)];
    assert_eq!((fates.filtered, fates.rejected), (4750, 280));
    let judged = task.partitions[&1].mark.judged;
    assert_eq!((judged.read, judged.rejected), (600, 30));
}

/// Retention may have removed what files have; of what they do not have nothing may be gone.
#[test]
fn what_the_topic_was_not_read_for_may_be_gone_when_it_is_read_again() {
    for (first, is_refused) in [(0, false), (2, false), (3, false), (4, true)] {
        let (mut task, mut log) = with_history(vec![(1, rows(0..6)), (1, rows(6..7))]);
        while task.step(true, &mut log) == Progress::Worked {}
        let stop = Stop {
            epoch: Epoch(7),
            partitions: vec![None, Some(task.partitions[&1].mark.clone())],
            watermark: Watermark::START,
        };

        let (mut again, mut log) = with_history(vec![(1, rows(first..7))]);
        again.schedule = Schedule::new(Epoch(0), vec![stop], Epoch(7));
        while again.step(true, &mut log) == Progress::Worked {}

        let causes = again.shared.failure().map(|failure| failure.causes);
        let cause = "partition 1 is not what it was: so many records are gone: 1";
        assert_eq!(
            causes,
            is_refused.then(|| vec![cause.to_owned()]),
            "{first}"
        );
    }
}
