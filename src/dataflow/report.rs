//! How an epoch's watermark becomes exact.
//!
//! ```text
//!   partition closes epoch e ──▶ Report { partition, position } to every worker
//!   frontier passes e        ──▶ every partition's word for e is here: W(e) is their minimum
//! ```
//!
//! No polling and no guess: the frontier's guarantee turns a minimum into the watermark. Whoever
//! applies reports in the order of epochs knows the same `W(e)` and the same positions as
//! everyone else, on every worker and in every replay.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::written::Written;
use crate::plan::TableId;
use crate::types::{Epoch, Fates, PartitionMark, Side, SourceMark, Watermark};

/// What one worker's partitions of one source have reached at the end of an epoch. Partitions
/// that did not move since the last report are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The source.
    pub table: TableId,
    /// By index of the partition.
    pub partitions: Vec<(usize, PartitionMark)>,
    /// Event time is at least here: it was, where this run begins or at the last stop.
    pub reached: Watermark,
    /// There are at least so many partitions. Files that were found together are announced each by its
    /// own worker: event time waits for all of them as soon as one is heard of.
    pub count: usize,
    /// The partitions that came back in this epoch: they were idle, or are new.
    pub returned: Vec<usize>,
    /// What became of the records of this epoch, by INSERT.
    pub fates: Vec<(usize, Fates)>,
    /// When the records of this epoch were written: for people.
    pub written: Written,
    /// A snapshot is to be cut at the end of this epoch.
    pub cut: bool,
    /// The run stops here in the middle of a replay: what is complete from this epoch on lies before
    /// what some destination holds, so nothing of it may be published.
    pub stops_short: bool,
}

/// The name of a partition. One found since the start goes on where the numbers of those known end:
/// only a topic's become more, and they stand behind the files of its history, if it has one.
#[must_use]
pub fn name_of(names: &[String], index: usize) -> Cow<'_, str> {
    if let Some(name) = names.get(index) {
        return name.into();
    }
    let last = names.last().and_then(|last| last.parse::<usize>().ok());
    let next = last.map_or(names.len(), |last| last + 1);
    (next + index - names.len()).to_string().into()
}

/// The partitions of every source that a node reads, and where each is.
#[derive(Clone, Debug)]
pub struct Positions {
    sources: BTreeMap<TableId, SourcePositions>,
    pending: BTreeMap<Epoch, Vec<Report>>,
}

/// Where one source is.
#[derive(Clone, Debug)]
struct SourcePositions {
    partitions: Vec<Option<PartitionMark>>,
    /// The highest watermark so far: event time does not go back.
    reached: Watermark,
    /// Who came back in the epoch that is being completed.
    returned: Vec<usize>,
    /// The last epoch in which all were woken.
    woken: Epoch,
    fates: BTreeMap<usize, Fates>,
}

impl SourcePositions {
    fn complete(&mut self, report: Report) {
        let last = report.partitions.iter().map(|(partition, _)| partition + 1);
        let count = last.max().unwrap_or(0).max(report.count);
        if count > self.partitions.len() {
            self.partitions.resize(count, None);
        }
        for (partition, mark) in report.partitions {
            if let Some(before) = &self.partitions[partition] {
                assert!(
                    mark.watermark >= before.watermark && mark.offset >= before.offset,
                    "partition {partition} went back from {before:?} to {mark:?}"
                );
            }
            self.partitions[partition] = Some(mark);
        }
        self.reached = self.reached.max(report.reached);
        self.returned.extend(report.returned);
        for (insert, fates) in report.fates {
            *self.fates.entry(insert).or_default() += fates;
        }
    }

    /// Where the whole source was silent, those that come back first do not take event time along:
    /// it waits for all again, until each has spoken or is idle anew. How fast what came to
    /// the others is read must not decide whether it is late.
    fn wake(&mut self, epoch: Epoch) {
        let returned = std::mem::take(&mut self.returned);
        let mut marks = self.partitions.iter().enumerate();
        let is_silent = |mark: &Option<PartitionMark>| {
            let mark = mark.as_ref();
            mark.is_some_and(|mark| mark.ended || !mark.is_waited_for())
        };
        if returned.is_empty()
            || !marks.all(|(index, mark)| returned.contains(&index) || is_silent(mark))
        {
            return;
        }
        for mark in self.partitions.iter_mut().flatten() {
            mark.idle &= mark.ended;
        }
        self.woken = epoch;
    }

    /// Event time moves to the minimum over the partitions that it waits for: those that are not
    /// idle. One that has ended is not waited for: its watermark is the end, or, in a
    /// folder whose files become more, it is spent. Event time ends when all have.
    ///
    /// Where all are idle nobody is waited for, and event time goes to where the furthest is. So it
    /// does not matter which of them fell silent first, and a partition that never had a record
    /// does not keep back what the others have completed.
    fn advance(&mut self) {
        let known = self.partitions.iter().map(|mark| match mark {
            None => (true, Watermark::START),
            Some(mark) => (mark.is_waited_for(), mark.watermark),
        });
        let go_on = known.filter(|&(_, watermark)| watermark != Watermark::END);
        let waited_for = go_on.clone().filter(|&(is_waited_for, _)| is_waited_for);
        let slowest = waited_for.map(|(_, watermark)| watermark).min();
        let furthest = go_on.map(|(_, watermark)| watermark).max();
        let reached = slowest.or(furthest).unwrap_or(Watermark::END);
        self.reached = self.reached.max(reached);
    }
}

impl Positions {
    /// Nothing known yet of `sources`, given with their numbers of partitions.
    #[must_use]
    pub fn new(sources: impl IntoIterator<Item = (TableId, usize)>) -> Self {
        let unknown = |count| {
            let mut positions = SourcePositions {
                partitions: vec![None; count],
                reached: Watermark::START,
                returned: Vec::new(),
                woken: Epoch(0),
                fates: BTreeMap::new(),
            };
            positions.advance();
            positions
        };
        let sources = sources
            .into_iter()
            .map(|(table, count)| (table, unknown(count)));
        Self {
            sources: sources.collect(),
            pending: BTreeMap::new(),
        }
    }

    /// Takes in a report for `epoch`; it counts once that epoch is complete. A report of a
    /// source that is not read here is passed over, but that a snapshot is cut concerns everyone.
    pub fn hear(&mut self, epoch: Epoch, report: Report) {
        if self.sources.contains_key(&report.table) || report.cut {
            self.pending.entry(epoch).or_default().push(report);
        }
    }

    /// The epochs that have reports and are not yet complete, ascending.
    pub fn pending(&self) -> impl Iterator<Item = Epoch> + '_ {
        self.pending.keys().copied()
    }

    /// `epoch` is complete: applies what was heard for it and for those before it. Returns
    /// whether a snapshot is to be cut here.
    pub fn complete(&mut self, epoch: Epoch) -> bool {
        let later = self.pending.split_off(&epoch.next());
        let mut cut = false;
        for (epoch, reports) in std::mem::replace(&mut self.pending, later) {
            for report in reports {
                cut |= report.cut;
                if let Some(known) = self.sources.get_mut(&report.table) {
                    known.complete(report);
                }
            }
            for known in self.sources.values_mut() {
                known.wake(epoch);
                known.advance();
            }
        }
        cut
    }

    /// `W` of the last complete epoch: the minimum over all sources.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        let sources = self.sources.values().map(|source| source.reached);
        sources.min().unwrap_or(Watermark::END)
    }

    /// The same where event time goes on. Where it has ended, it is the furthest of what the
    /// partitions came to before: that does not depend on which of them ended first, nor on
    /// whether its last rows and its end were in one epoch.
    #[must_use]
    pub fn furthest(&self) -> Watermark {
        let reached = self.watermark();
        if reached != Watermark::END {
            return reached;
        }
        let partitions = self.sources.values().flat_map(|source| &source.partitions);
        let ended = partitions.flatten().filter_map(|mark| mark.before_end);
        ended.max().unwrap_or(Watermark::START)
    }

    /// The same for one source.
    #[must_use]
    pub fn watermark_of(&self, table: TableId) -> Watermark {
        self.sources[&table].reached
    }

    /// How far event time was in the files of `table`, once they are read: nowhere, if none had a row.
    /// Nothing while one is yet to be read, or where there are none.
    #[must_use]
    pub fn end_of_files(&self, table: TableId) -> Option<Watermark> {
        let partitions = self.sources[&table].partitions.iter().flatten();
        let files = partitions.filter(|mark| mark.is_file());
        let ends = files.map(|mark| mark.ended.then(|| mark.before_end.unwrap_or_default()));
        ends.reduce(|one, other| Some(one?.max(other?)))?
    }

    /// The last epoch in which all of `table`'s partitions were woken, 0 if they never were.
    #[must_use]
    pub fn woken(&self, table: TableId) -> Epoch {
        self.sources[&table].woken
    }

    /// What became of `table`'s records up to the last complete epoch, by INSERT.
    #[must_use]
    pub fn fates(&self, table: TableId) -> &BTreeMap<usize, Fates> {
        &self.sources[&table].fates
    }

    /// The distance covered in `table`'s partitions, without those of a topic that follows files: their
    /// offsets count something else.
    #[must_use]
    pub fn distance(&self, table: TableId) -> u64 {
        let marks = self.marks(table).map(|(_, mark)| mark);
        let own = marks.filter(|mark| !matches!(mark.side, Some(Side::From(_))));
        own.map(|mark| mark.offset.0).sum()
    }

    /// Where those of `table`'s partitions are that were heard of.
    pub fn marks(&self, table: TableId) -> impl Iterator<Item = (usize, &PartitionMark)> {
        let known = self.sources[&table].partitions.iter().enumerate();
        known.filter_map(|(index, mark)| Some((index, mark.as_ref()?)))
    }

    /// Where `table`'s partitions are, by the names given; one without a name has its number.
    /// Partitions never heard of are left out. Which source it is, is for the caller to say.
    #[must_use]
    pub fn source_mark(&self, table: TableId, names: &[String]) -> SourceMark {
        let known = &self.sources[&table];
        let marks = known.partitions.iter().enumerate();
        SourceMark {
            watermark: known.reached,
            partitions: marks
                .filter_map(|(index, mark)| {
                    Some((name_of(names, index).into_owned(), mark.clone()?))
                })
                .collect(),
            ..SourceMark::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{EventTime, Offset, TakenFile};

    fn at(partition: usize, watermark: i64) -> Report {
        let watermark = Watermark::behind(EventTime(watermark), 0);
        let mark = PartitionMark {
            watermark,
            ..PartitionMark::beginning(Offset(1))
        };
        Report {
            table: 0,
            partitions: vec![(partition, mark)],
            ..Report::default()
        }
    }

    #[test]
    fn the_watermark_is_the_minimum_over_the_partitions() {
        let mut positions = Positions::new([(0, 2)]);
        positions.hear(Epoch(1), at(0, 50));
        positions.complete(Epoch(1));
        assert_eq!(positions.watermark(), Watermark::START);

        positions.hear(Epoch(2), at(1, 30));
        positions.complete(Epoch(2));
        assert_eq!(positions.watermark().micros(), 30);
    }

    #[test]
    fn the_distance_is_that_of_the_files_and_not_of_the_topic_that_follows_them() {
        let mut positions = Positions::new([(0, 3)]);
        let from = EventTime(50);
        let marks = [
            PartitionMark::beginning(Offset(70)),
            PartitionMark::following(Offset(1000), from),
            PartitionMark::beginning(Offset(7)),
        ];
        for (process, mark) in marks.into_iter().enumerate() {
            let partitions = vec![(process, mark)];
            let report = Report {
                partitions,
                ..Report::default()
            };
            positions.hear(Epoch(1), report);
        }
        assert_eq!(positions.distance(0), 0);

        positions.complete(Epoch(1));

        assert_eq!(positions.distance(0), 77);
    }

    #[test]
    fn files_end_where_the_furthest_of_them_was_when_all_are_read() {
        let mut positions = Positions::new([(0, 3)]);
        let at = |time| Watermark::behind(EventTime(time), 0);
        let file = |before_end: Option<Watermark>| PartitionMark {
            identity: Some("file".to_owned()),
            ended: before_end.is_some(),
            before_end,
            ..PartitionMark::beginning(Offset(7))
        };
        let report = |partitions| Report {
            partitions,
            ..Report::default()
        };
        let topic = PartitionMark::following(Offset(0), EventTime(50));
        let first = vec![(0, file(Some(at(40)))), (1, file(None)), (2, topic)];
        positions.hear(Epoch(1), report(first));
        positions.complete(Epoch(1));
        assert_eq!(positions.end_of_files(0), None);

        positions.hear(Epoch(2), report(vec![(1, file(Some(Watermark::START)))]));
        positions.complete(Epoch(2));

        assert_eq!(positions.end_of_files(0), Some(at(40)));
    }

    #[test]
    fn a_word_for_a_later_epoch_does_not_count_yet() {
        let mut positions = Positions::new([(0, 1)]);
        positions.hear(Epoch(1), at(0, 10));
        positions.hear(Epoch(2), at(0, 90));

        positions.complete(Epoch(1));

        assert_eq!(positions.watermark().micros(), 10);
        assert_eq!(positions.pending().collect::<Vec<_>>(), [Epoch(2)]);
    }

    /// Whoever missed it would have no part in the snapshot, which would never be whole.
    #[test]
    fn a_cut_is_heard_from_a_source_that_is_not_read_here() {
        let mut positions = Positions::new([(0, 1)]);
        let of_another = |cut| Report {
            table: 1,
            cut,
            ..at(0, 90)
        };
        positions.hear(Epoch(1), of_another(false));
        assert_eq!(positions.pending().count(), 0);
        positions.hear(Epoch(2), of_another(true));
        positions.hear(Epoch(3), at(0, 10));

        assert_eq!(
            positions.pending().collect::<Vec<_>>(),
            [Epoch(2), Epoch(3)]
        );
        assert!(positions.complete(Epoch(2)));
        assert_eq!(positions.watermark(), Watermark::START);
        assert!(!positions.complete(Epoch(3)));
        assert_eq!(positions.watermark().micros(), 10);
    }

    fn idle(mut report: Report) -> Report {
        for (_, mark) in &mut report.partitions {
            mark.idle = true;
        }
        report
    }

    #[test]
    fn event_time_waits_for_no_idle_partition_and_if_all_are_idle_goes_where_the_furthest_is() {
        let mut positions = Positions::new([(0, 3)]);
        let mut hear = |epoch, report| {
            positions.hear(Epoch(epoch), report);
            positions.complete(Epoch(epoch));
            positions.watermark()
        };
        hear(1, at(0, 50));
        hear(2, at(1, 30));
        let mut never_had_a_record = idle(at(2, 0));
        never_had_a_record.partitions[0].1.watermark = Watermark::START;

        assert_eq!(hear(3, never_had_a_record).micros(), 30);
        assert_eq!(hear(4, idle(at(0, 50))).micros(), 30);
        assert_eq!(hear(5, idle(at(1, 30))).micros(), 50);
    }

    fn back(partition: usize, watermark: i64) -> Report {
        Report {
            returned: vec![partition],
            ..at(partition, watermark)
        }
    }

    #[test]
    fn who_comes_back_where_all_were_silent_wakes_all_and_event_time_waits_for_each() {
        let mut positions = Positions::new([(0, 3)]);
        let mut hear = |epoch, report| {
            positions.hear(Epoch(epoch), report);
            positions.complete(Epoch(epoch));
            (positions.watermark().micros(), positions.woken(0).0)
        };
        for (epoch, partition) in (1..).zip(0..3) {
            hear(epoch, idle(at(partition, 50)));
        }

        assert_eq!(hear(4, back(0, 900)), (50, 4));
        // One is idle anew, one speaks.
        assert_eq!(hear(5, idle(at(1, 50))), (50, 4));
        assert_eq!(hear(6, at(2, 70)), (70, 4));
        // It is not alone: event time does not wait for others.
        assert_eq!(hear(7, back(1, 80)), (70, 4));
        assert_eq!(hear(8, at(2, 800)), (80, 4));
    }

    #[test]
    fn who_falls_silent_in_the_epoch_in_which_another_comes_back_is_woken_too() {
        let mut positions = Positions::new([(0, 2)]);
        positions.hear(Epoch(1), idle(at(0, 50)));
        positions.hear(Epoch(1), at(1, 50));
        positions.hear(Epoch(2), back(0, 900));
        positions.hear(Epoch(2), idle(at(1, 50)));

        positions.complete(Epoch(2));

        assert_eq!(positions.watermark().micros(), 50);
        assert!(positions.marks(0).all(|(_, mark)| !mark.idle));
    }

    #[test]
    fn event_time_does_not_wait_for_a_file_that_is_spent_nor_end_with_it() {
        let mut positions = Positions::new([(0, 2)]);
        let mut hear = |epoch, mut report: Report, ended| {
            let mark = &mut report.partitions[0].1;
            let (name, identity) = ("a.csv".to_owned(), String::new());
            mark.file = Some(TakenFile { name, identity });
            mark.ended = ended;
            positions.hear(Epoch(epoch), report);
            positions.complete(Epoch(epoch));
            positions.watermark()
        };

        assert_eq!(hear(1, at(0, 50), true), Watermark::START);
        assert_eq!(hear(2, at(1, 70), false).micros(), 70);
        assert_eq!(hear(3, at(1, 90), true).micros(), 90);
        // One that comes later has to say where it is before event time goes on.
        assert_eq!(hear(4, at(2, 90), false).micros(), 90);
        assert_eq!(hear(5, at(2, 95), false).micros(), 95);
    }

    #[test]
    fn event_time_waits_for_all_files_that_were_found_together() {
        let mut positions = Positions::new([(0, 1)]);
        let mut hear = |epoch, report: Report| {
            positions.hear(Epoch(epoch), report);
            positions.complete(Epoch(epoch));
            positions.watermark().micros()
        };
        hear(1, at(0, 50));
        let found = Report {
            count: 3,
            ..at(1, 50)
        };

        assert_eq!(hear(2, found), 50);
        assert_eq!(hear(3, at(0, 90)), 50);
        assert_eq!(hear(4, at(1, 70)), 50);
        assert_eq!(hear(5, at(2, 50)), 50);
        assert_eq!(hear(6, at(2, 60)), 60);
    }

    /// The files of a topic's history end, and the topic that follows them falls silent.
    #[test]
    fn event_time_does_not_end_with_a_part_of_the_partitions() {
        let mut positions = Positions::new([(0, 3)]);
        let mut file = at(0, 0);
        let mark = &mut file.partitions[0].1;
        (mark.watermark, mark.ended) = (Watermark::END, true);
        positions.hear(Epoch(1), file);
        positions.hear(Epoch(1), idle(at(1, 50)));
        positions.hear(Epoch(1), idle(at(2, 70)));

        positions.complete(Epoch(1));

        assert_eq!(positions.watermark().micros(), 70);
    }

    /// Otherwise windows that are open when `--close-windows` ends event time would be lost.
    #[test]
    fn the_end_of_event_time_is_heard_from_idle_partitions_too() {
        let mut positions = Positions::new([(0, 2)]);
        for partition in 0..2 {
            let mut report = idle(at(partition, 10));
            positions.hear(Epoch(1), report.clone());
            let mark = &mut report.partitions[0].1;
            (mark.watermark, mark.ended) = (Watermark::END, true);
            positions.hear(Epoch(2), report);
        }

        positions.complete(Epoch(1));
        assert_eq!(positions.watermark().micros(), 10);
        positions.complete(Epoch(2));
        assert_eq!(positions.watermark(), Watermark::END);
    }

    #[test]
    fn a_partition_found_since_the_start_goes_on_with_the_numbers() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };

        assert_eq!(name_of(&names(&["0", "1"]), 2), "2");
        assert_eq!(name_of(&names(&["a.csv", "b.csv", "0"]), 4), "2");
        assert_eq!(name_of(&names(&["a.csv", "b.csv", "0"]), 1), "b.csv");
    }

    #[test]
    fn a_source_without_partitions_holds_nothing_back() {
        assert_eq!(Positions::new([(0, 0)]).watermark(), Watermark::END);
    }
}
