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

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::TableId;
use crate::types::{Epoch, PartitionMark, SourceMark, Watermark};

/// What one worker's partitions of one source have reached at the end of an epoch. Partitions
/// that did not move since the last report are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The source.
    pub table: TableId,
    /// By index of the partition.
    pub partitions: Vec<(usize, PartitionMark)>,
}

/// The partitions of every source that a node reads, and where each is.
#[derive(Clone, Debug)]
pub struct Positions {
    sources: BTreeMap<TableId, Vec<Option<PartitionMark>>>,
    pending: BTreeMap<Epoch, Vec<Report>>,
}

impl Positions {
    /// Nothing known yet of `sources`, given with their numbers of partitions.
    #[must_use]
    pub fn new(sources: impl IntoIterator<Item = (TableId, usize)>) -> Self {
        let sources = sources
            .into_iter()
            .map(|(table, count)| (table, vec![None; count]));
        Self {
            sources: sources.collect(),
            pending: BTreeMap::new(),
        }
    }

    /// Takes in a report for `epoch`; it counts once that epoch is complete. A report of a
    /// source that is not read here is passed over.
    pub fn hear(&mut self, epoch: Epoch, report: Report) {
        if self.sources.contains_key(&report.table) {
            self.pending.entry(epoch).or_default().push(report);
        }
    }

    /// The epochs that have reports and are not yet complete, ascending.
    pub fn pending(&self) -> impl Iterator<Item = Epoch> + '_ {
        self.pending.keys().copied()
    }

    /// `epoch` is complete: applies what was heard for it and for those before it.
    pub fn complete(&mut self, epoch: Epoch) {
        let later = self.pending.split_off(&epoch.next());
        for report in std::mem::replace(&mut self.pending, later)
            .into_values()
            .flatten()
        {
            let known = self
                .sources
                .get_mut(&report.table)
                .expect("heard only of these");
            for (partition, mark) in report.partitions {
                if let Some(before) = &known[partition] {
                    assert!(
                        mark.watermark >= before.watermark && mark.offset >= before.offset,
                        "partition {partition} went back from {before:?} to {mark:?}"
                    );
                }
                known[partition] = Some(mark);
            }
        }
    }

    /// `W` of the last complete epoch: the minimum over all partitions of all sources. A source
    /// without partitions has nothing to wait for.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        self.sources
            .values()
            .flatten()
            .map(|mark| {
                mark.as_ref()
                    .map_or(Watermark::START, |mark| mark.watermark)
            })
            .min()
            .unwrap_or(Watermark::END)
    }

    /// The same for one source.
    #[must_use]
    pub fn watermark_of(&self, table: TableId) -> Watermark {
        let marks = self.sources[&table].iter();
        marks
            .map(|mark| {
                mark.as_ref()
                    .map_or(Watermark::START, |mark| mark.watermark)
            })
            .min()
            .unwrap_or(Watermark::END)
    }

    /// Where `table`'s partitions are, by the names given. Partitions never heard of are left out.
    #[must_use]
    pub fn source_mark(&self, table: TableId, names: &[String]) -> SourceMark {
        let known = &self.sources[&table];
        let named = names.iter().zip(known);
        SourceMark {
            watermark: Watermark::START,
            partitions: named
                .filter_map(|(name, mark)| Some((name.clone(), mark.clone()?)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{EventTime, Offset};

    fn at(partition: usize, watermark: i64) -> Report {
        let watermark = Watermark::behind(EventTime(watermark), 0);
        let mark = PartitionMark {
            watermark,
            ..PartitionMark::beginning(Offset(1))
        };
        Report {
            table: 0,
            partitions: vec![(partition, mark)],
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
    fn a_word_for_a_later_epoch_does_not_count_yet() {
        let mut positions = Positions::new([(0, 1)]);
        positions.hear(Epoch(1), at(0, 10));
        positions.hear(Epoch(2), at(0, 90));

        positions.complete(Epoch(1));

        assert_eq!(positions.watermark().micros(), 10);
        assert_eq!(positions.pending().collect::<Vec<_>>(), [Epoch(2)]);
    }

    #[test]
    fn a_source_without_partitions_holds_nothing_back() {
        assert_eq!(Positions::new([(0, 0)]).watermark(), Watermark::END);
    }
}
