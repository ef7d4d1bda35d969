//! A brake for files that are ahead of event time: what they make be held does not grow with history.
//!
//! ```text
//!   trips    process 0   jan ──▶│            event time: where the furthest back of all files is, of
//!   trips    process 1   feb    │──▶ so far   all replayed sources and all processes
//!   clicks   process 1   2024   │──▶ so far
//! ```
//!
//! Each feed reads its own files in the order of event time. What it cannot see is how far the files of
//! other sources and of other processes are: that is in the reports of all, which every worker hears. A feed
//! counts the bytes that it has read past there, and a file with `queue.bytes` of them behind it waits.
//!
//! Nobody waits for ever. A partition that event time waits for stands no further than event time, so it is
//! never kept; it is read by somebody, its epoch closes, and event time moves. That holds where time
//! closes epochs: not while an earlier run's stretch is replayed, and there nothing is kept. Sources count
//! as long as their files are read, and only those whose files' ends end their event time.
//!
//! The order in which files are read changes no result.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::crew::Crew;
use super::feed::Reading;
use crate::dataflow::source::Pace;
use crate::dataflow::tide::Tide;
use crate::plan::TableId;
use crate::types::{Epoch, EventTime, Watermark};

/// What waits for each other.
#[derive(Clone, Debug)]
pub struct Alignment {
    /// The replayed sources, and when a topic takes over.
    tables: Vec<(TableId, Option<EventTime>)>,
    /// The last epoch that is replayed to an earlier run's mark.
    resumed: Epoch,
}

impl Alignment {
    /// Of `tables`, if there is anything that a feed does not see by itself.
    #[must_use]
    pub fn of(
        tables: Vec<(TableId, Option<EventTime>)>,
        resumed: Epoch,
        crew: Crew,
        pace: Pace,
    ) -> Option<Self> {
        let closes = match pace {
            Pace::Interval(_) => true,
            Pace::Arrivals { .. } | Pace::Count { .. } => false,
        };
        let several = tables.len() > 1 || (crew.processes > 1 && !tables.is_empty());
        (several && closes).then_some(Self { tables, resumed })
    }

    /// How far event time is, over all whose files are not read yet; nothing if nobody is to wait.
    #[must_use]
    pub fn reached(&self, tide: &Tide) -> Option<Watermark> {
        if tide.complete() < self.resumed {
            return None;
        }
        let reached = self.tables.iter().filter_map(|&(table, from)| {
            let reached = tide.reached(table);
            let follows = from.is_some_and(|from| reached.has_reached(from));
            (reached != Watermark::END && !follows).then_some(reached)
        });
        reached.min()
    }
}

/// Tells the feeds of a process how far event time is.
pub struct Brake<'a> {
    alignment: &'a Alignment,
    feeds: &'a [Arc<dyn Reading>],
    told: Option<Watermark>,
}

impl<'a> Brake<'a> {
    /// They have not been told anything.
    #[must_use]
    pub fn new(alignment: &'a Alignment, feeds: &'a [Arc<dyn Reading>]) -> Self {
        Self {
            alignment,
            feeds,
            told: None,
        }
    }

    /// Tells them what is new.
    pub fn look(&mut self, tide: &Tide) {
        let reached = self.alignment.reached(tide);
        if reached != self.told {
            self.told = reached;
            self.feeds.iter().for_each(|feed| feed.tell(reached));
        }
    }
}

/// What a feed has read past event time.
#[derive(Debug)]
pub struct Ahead {
    reached: Option<Watermark>,
    /// Bytes, by where their partitions stand after them.
    blocks: BTreeMap<Watermark, usize>,
    bytes: usize,
    limit: usize,
}

impl Ahead {
    /// Nothing is read, and nothing known; `limit` is how many bytes may be.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            reached: None,
            blocks: BTreeMap::new(),
            bytes: 0,
            limit,
        }
    }

    /// So many bytes were read of a partition that stands at `at` after them.
    pub fn read(&mut self, at: Watermark, bytes: usize) {
        if self.reached.unwrap_or_default() < at {
            *self.blocks.entry(at).or_default() += bytes;
            self.bytes += bytes;
        }
    }

    /// Event time is there; nobody waits if it is nowhere.
    pub fn tell(&mut self, reached: Option<Watermark>) {
        self.reached = reached;
        let reached = reached.unwrap_or_default();
        while let Some(first) = self.blocks.first_entry().filter(|it| *it.key() <= reached) {
            self.bytes -= first.remove();
        }
    }

    /// Whether some partitions have to wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.reached.is_some() && self.bytes >= self.limit
    }

    /// Whether a partition that stands at `at` has to wait: so much lies between event time and there.
    /// Those that are less far go on, many of them side by side.
    #[must_use]
    pub fn keeps(&self, at: Watermark) -> bool {
        let before = || self.blocks.range(..=at).map(|(_, bytes)| bytes);
        let is_past = self.reached.is_some_and(|reached| at > reached);
        is_past && self.is_full() && before().sum::<usize>() >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dataflow::report::{Positions, Report};
    use crate::types::{Offset, PartitionMark};

    fn at(time: i64) -> Watermark {
        Watermark::behind(EventTime(time), 0)
    }

    fn crew(processes: usize) -> Crew {
        Crew {
            process: 0,
            processes,
            threads: 1,
            before: 0,
        }
    }

    const LIVE: Pace = Pace::Interval(Duration::from_millis(100));

    #[test]
    fn who_is_past_event_time_waits_once_so_much_of_it_was_read() {
        let mut ahead = Ahead::new(100);
        ahead.tell(Some(at(10)));
        ahead.read(at(10), 500);
        ahead.read(at(40), 60);
        assert!(!ahead.keeps(at(40)), "there is room");
        ahead.read(at(50), 60);
        assert!(ahead.keeps(at(50)) && !ahead.keeps(at(10)));
        assert!(!ahead.keeps(at(40)), "less lies before it");

        ahead.tell(Some(at(40)));

        assert!(!ahead.keeps(at(50)), "half of it was passed");
    }

    #[test]
    fn nobody_waits_while_event_time_is_not_told() {
        let mut ahead = Ahead::new(1);
        ahead.read(at(40), 60);
        assert!(!ahead.keeps(at(40)));
        ahead.tell(Some(Watermark::START));
        assert!(ahead.keeps(at(40)) && !ahead.keeps(Watermark::START));
        ahead.tell(None);
        assert!(!ahead.keeps(at(40)));
    }

    #[test]
    fn one_source_in_one_process_and_a_pace_of_arrivals_are_not_braked() {
        let of = |tables: usize, processes, pace| {
            let tables = (0..tables).map(|table| (table, None)).collect();
            Alignment::of(tables, Epoch(0), crew(processes), pace).is_some()
        };
        assert!(of(2, 1, LIVE) && of(1, 2, LIVE));
        assert!(!of(1, 1, LIVE) && !of(0, 2, LIVE));
        assert!(!of(2, 2, Pace::Arrivals { seed: 1 }));
    }

    #[test]
    fn event_time_is_that_of_the_sources_whose_files_are_read_once_the_replay_is_over() {
        let tide = Tide::new(Positions::new([(0, 1), (1, 1), (2, 1)]), Epoch(0));
        let tables = vec![(0, None), (1, Some(EventTime(50)))];
        let alignment = Alignment::of(tables, Epoch(1), crew(1), LIVE).unwrap();
        let hear = |epoch, table, watermark| {
            let mark = PartitionMark {
                watermark,
                ..PartitionMark::beginning(Offset(1))
            };
            let report = Report {
                table,
                partitions: vec![(0, mark)],
                ..Report::default()
            };
            tide.hear(Epoch(epoch), report);
            tide.advance(Some(Epoch(epoch + 1)));
            alignment.reached(&tide)
        };

        assert_eq!(alignment.reached(&tide), None, "epoch 1 is replayed");
        assert_eq!(hear(1, 0, at(70)), Some(Watermark::START));
        assert_eq!(hear(2, 1, at(20)), Some(at(20)));
        assert_eq!(hear(3, 1, at(50)), Some(at(70)), "its topic takes over");
        assert_eq!(hear(4, 0, Watermark::END), None);
    }
}
