//! The source operator: arrivals in, rows of the plan's edges out, epochs closed on time.
//!
//! ```text
//!   inbox ──▶ stamp (open epoch, watermark before each row) ──▶ chain ──▶ edges
//!                                      └──▶ when the epoch closes: a report to every worker
//! ```
//!
//! The task is the core: it knows partitions, stops and epochs; what it says goes through
//! `Outlet`, behind which the shell in `render` keeps timely's capabilities. In a replay rows
//! are cut exactly at the offsets of the mark that the stretch ends with, and what lies beyond
//! waits, its partition parked, until every partition is there.

mod accounts;
mod idle;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;
use tracing::debug;

use super::arrival::{Arrival, ArrivedRows, Inbox};
use super::assign::Passed;
use super::chain::{Chain, Place};
use super::outcome::{Failure, Shared};
use super::pace::Cuts;
pub use super::pace::Pace;
use super::partition::PartitionState;
use super::ready::Ready;
use super::rejects::Rejects;
use super::report::{Report, name_of};
use super::schedule::Schedule;
use super::step::plain;
use super::tide::Tide;
use super::written::Written;
use crate::plan::{NodeId, TableId};
use crate::types::{Clock, Epoch, EventTime, Fates, PartitionMark, Side, Watermark};

/// What the end of a partition means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// Event time ends: every window closes.
    Close,
    /// This run ends, and event time does not: open windows wait for the next run.
    Wait,
}

/// Where a source's words go.
pub trait Outlet {
    /// Rows of an edge, in the open epoch.
    fn rows(&mut self, node: NodeId, rows: RecordBatch);
    /// Rows of the dead-letter table, in the open epoch.
    fn letters(&mut self, rows: RecordBatch);
    /// The open epoch is complete as far as this worker's partitions go; `next` opens.
    fn close(&mut self, report: Report, next: Option<Epoch>);
}

/// What stays the same over the run.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// The table.
    pub table: TableId,
    /// Its name.
    pub name: String,
    /// The stateless operators below it.
    pub chain: Chain,
    /// The bound in `WATERMARK FOR`.
    pub bound_us: i64,
    /// All partitions' names.
    pub partitions: Arc<Vec<String>>,
    /// The dead-letter table's schema, if the source names one.
    pub letters: Option<SchemaRef>,
    /// The INSERTs' table names.
    pub inserts: Arc<Vec<String>>,
    /// When epochs close.
    pub pace: Pace,
    /// What the end of a partition means.
    pub at_end: AtEnd,
    /// Event time waits no longer than this for a partition that has been read to its end.
    pub idle_after: Option<Duration>,
    /// The share of records that may be rejected.
    pub reject_limit: f64,
    /// Records that are gone by the time of a replay are missed by nobody.
    pub skips_lost: bool,
    /// It has no end: more partitions may come when all are read.
    pub goes_on: bool,
    /// So many partitions are read before it ends, also if they are found only now.
    pub expected: usize,
    /// What of it comes from files, where a topic follows them.
    pub history: Option<Followed>,
}

/// The files that a topic follows: the first partitions of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// How many there are; none in a run that has left them behind.
    pub files: usize,
    /// The event time at which the topic takes over.
    pub from: EventTime,
}

/// One source on one worker.
pub struct SourceTask<I> {
    spec: SourceSpec,
    inbox: I,
    shared: Arc<Shared>,
    schedule: Schedule,
    tide: Tide,
    partitions: BTreeMap<usize, PartitionState>,
    ready: Ready,
    clock: Clock,
    cuts: Cuts,
    /// When it was last looked what has come.
    looked: Duration,
    /// The open epoch holds rows.
    spent: bool,
    /// How far event time had come where this run begins, or at the last stop.
    reached: Watermark,
    /// The last epoch known of in which all partitions were woken.
    woken: Epoch,
    /// What became of the records since the last epoch closed.
    fates: BTreeMap<usize, Fates>,
    /// When those were written.
    written: Written,
    rejects: Rejects,
    /// The files of its history are read.
    follows: bool,
    /// How many files there are at least, in a folder whose files become more.
    count: usize,
}

impl SourceSpec {
    /// The name of a partition; one found since the start has its number for a name.
    fn partition(&self, index: usize) -> Cow<'_, str> {
        name_of(&self.partitions, index)
    }

    /// What the end of a partition means: a file's is the end of what it has to say.
    fn at_end_of(&self, index: usize) -> AtEnd {
        match self.history {
            Some(followed) if index < followed.files => AtEnd::Close,
            Some(_) | None => self.at_end,
        }
    }

    /// The rows that a partition found since the start is read for.
    fn side(&self) -> Option<Side> {
        self.history.map(|followed| Side::From(followed.from))
    }

    /// A number for a partition that is its own over all sources of a pipeline and over all runs,
    /// also those that have left the files behind.
    fn ordinal(&self, partition: usize) -> u32 {
        const HALF: usize = 1 << 19;
        let files = self.history.map_or(0, |followed| followed.files);
        let place = match partition.checked_sub(files) {
            None => HALF + partition,
            Some(place) => place,
        };
        assert!(
            place < 2 * HALF && files <= HALF,
            "a source has at most a million partitions, half of which may be files"
        );
        u32::try_from((self.table << 20) | place).expect("a pipeline has at most 4096 tables")
    }
}

/// Where a source begins on a worker.
#[derive(Debug)]
pub struct Start {
    /// This worker's partitions.
    pub partitions: BTreeMap<usize, PartitionMark>,
    /// How far event time had come.
    pub watermark: Watermark,
    /// How far it is, over all sources.
    pub tide: Tide,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something was done: there may be more.
    Worked,
    /// Nothing to do before this long.
    Waiting(Duration),
    /// All partitions have ended, or the run stops: the operator is finished.
    Finished,
}

impl<I: Inbox> SourceTask<I> {
    /// `start` says where each of this worker's partitions begins.
    pub fn new(
        spec: SourceSpec,
        inbox: I,
        start: Start,
        schedule: Schedule,
        shared: Arc<Shared>,
        clock: Clock,
    ) -> Self {
        for insert in spec.chain.inserts() {
            // An INSERT is accounted for even if nothing ever comes.
            shared.count(insert, spec.table, Fates::default());
        }
        let state = |(index, mark)| (index, PartitionState::new(mark));
        let mut task = Self {
            partitions: start.partitions.into_iter().map(state).collect(),
            reached: start.watermark,
            woken: Epoch(0),
            tide: start.tide,
            ready: Ready::default(),
            spent: false,
            fates: BTreeMap::new(),
            written: Written::default(),
            cuts: Cuts::new(spec.pace, clock.elapsed()),
            looked: clock.elapsed(),
            rejects: Rejects::new(&spec.name, spec.reject_limit, spec.letters.is_some()),
            follows: false,
            count: 0,
            spec,
            inbox,
            shared,
            schedule,
            clock,
        };
        task.begin_stretch();
        task
    }

    /// Has `wake` called when there is something to do although nothing came.
    pub fn wake_with(&self, wake: impl Fn() + 'static) {
        self.tide.wake_with(Box::new(wake));
    }

    /// The epoch that rows go to.
    pub fn open(&self) -> Epoch {
        self.schedule.open()
    }

    /// Does one piece of work. `credit` says whether more rows may enter.
    pub fn step(&mut self, credit: bool, outlet: &mut impl Outlet) -> Progress {
        if self.shared.has_failed() {
            return Progress::Finished;
        }
        if self.shared.is_stopping() {
            let mut report = self.report(false);
            report.stops_short = self.schedule.stop().is_some();
            outlet.close(report, None);
            return Progress::Finished;
        }
        self.close_on_time(credit, outlet);
        if self.is_at_stop() {
            self.pass_stop(outlet);
            return Progress::Worked;
        }
        if self.is_done() {
            outlet.close(self.report(false), None);
            return Progress::Finished;
        }
        // Only closed epochs give credit back, and the last epoch of a stretch of replay closes
        // only at its offsets: there it goes on without.
        if !credit && !self.schedule.is_last_of_stretch() {
            return Progress::Waiting(Duration::from_millis(1));
        }
        self.wake();
        self.give_floors();
        self.follow();
        self.listen(self.clock.elapsed());
        let Some((partition, arrival)) = self.ready.next().or_else(|| self.inbox.take()) else {
            return Progress::Waiting(self.patience());
        };
        match self.admit(partition, arrival) {
            None | Some(Arrival::CaughtUp(_) | Arrival::Away | Arrival::Found(..)) => {}
            Some(Arrival::End) => self.end(partition),
            Some(Arrival::Rows(_)) if self.has_ended(partition) => {
                self.shared.fail(after_the_end(&self.spec.name));
                return Progress::Finished;
            }
            Some(Arrival::Rows(rows)) => {
                self.spent = true;
                if let Err(error) = self.stamp(partition, rows, outlet) {
                    let message = format!("cannot evaluate the rows of `{}`", self.spec.name);
                    self.shared
                        .fail(Failure::new(message).because(plain(&error)));
                    return Progress::Finished;
                }
                self.cuts.arrived();
            }
        }
        Progress::Worked
    }

    /// Whether event time has ended for a partition: an earlier run ended it, for good.
    fn has_ended(&self, partition: usize) -> bool {
        let mark = &self.partitions[&partition].mark;
        mark.watermark == Watermark::END
    }

    fn is_done(&self) -> bool {
        let read = self.schedule.stop().is_none() && self.partitions.values().all(|p| p.done);
        let found = self.partitions.len() >= self.spec.expected;
        read && found && !self.spec.goes_on && self.ready.is_empty()
    }

    /// How long to wait at most if nothing comes.
    fn patience(&self) -> Duration {
        let left = match self.schedule.stop() {
            None => self.cuts.left(self.clock.elapsed()),
            Some(_) => self.cuts.interval(),
        };
        left.unwrap_or(Duration::from_millis(1))
    }

    fn close_on_time(&mut self, credit: bool, outlet: &mut impl Outlet) {
        let elapsed = self.clock.elapsed();
        let due = match self.cuts.left(elapsed) {
            Some(left) if self.schedule.stop().is_none() => {
                // Only closed epochs give credit back, and move event time: whoever needs that does
                // not wait for time.
                let is_wanted = self.spent && (!credit || self.inbox.is_kept());
                let own = if left.is_zero() || is_wanted {
                    self.schedule.next()
                } else {
                    self.schedule.open()
                };
                // An epoch is complete when all have closed it, and nobody's time holds up the others:
                // what one has closed, nobody keeps open.
                own.max(self.tide.last_closed().next())
            }
            // A replay has so many epochs and no more: it spends one when the bytes of the open
            // one or a snapshot ask for it, and not because time passes.
            Some(_) | None => {
                let cut = self.spent && self.may_cut() && self.shared.wants_cut();
                let wanted = self.cuts.take() || cut || (!credit && self.spent);
                let past = self.schedule.past(self.tide.last_cut());
                if wanted {
                    self.schedule.next().max(past)
                } else {
                    past
                }
            }
        };
        if due > self.schedule.open() {
            self.rest(elapsed);
            let cut = self.may_cut() && self.shared.take_cut();
            outlet.close(self.report(cut), Some(due));
            self.advance(due);
        }
    }

    fn advance(&mut self, epoch: Epoch) {
        self.schedule.advance(epoch);
        self.cuts.opened(self.clock.elapsed());
        self.spent = false;
    }

    /// Where a topic follows files, it is read when event time is where they end.
    fn follow(&mut self) {
        let Some(Followed { from, .. }) = self.spec.history.filter(|_| !self.follows) else {
            return;
        };
        // Where only arrivals close epochs, a worker without files would wait for ever.
        let waits = self.cuts.interval().is_some();
        if !waits || self.tide.reached(self.spec.table).has_reached(from) {
            self.follows = true;
            self.inbox.follow();
        }
    }

    /// Whether a snapshot may be cut at the end of the open epoch.
    fn may_cut(&self) -> bool {
        self.schedule.may_cut(self.tide.complete())
    }

    /// What is known at the end of the open epoch, and whether a snapshot is cut there.
    fn report(&mut self, cut: bool) -> Report {
        let states = self.partitions.iter_mut();
        let returned = states.filter_map(|(&index, state)| state.came_back().then_some(index));
        let returned = returned.collect();
        let states = self.partitions.iter_mut();
        let reports = states.filter_map(|(&index, state)| Some((index, state.report()?)));
        Report {
            table: self.spec.table,
            partitions: reports.collect(),
            returned,
            reached: self.reached,
            count: self.count,
            fates: std::mem::take(&mut self.fates).into_iter().collect(),
            written: std::mem::take(&mut self.written),
            cut,
            stops_short: false,
        }
    }

    fn is_at_stop(&self) -> bool {
        let Some(stop) = self.schedule.stop() else {
            return false;
        };
        self.partitions.iter().all(|(&index, state)| {
            let at = stop.of(index);
            assert!(
                at.is_none_or(|at| state.mark.offset <= at.offset),
                "partition {index} of `{}` ran past {at:?}",
                self.spec.name
            );
            state.is_at(at)
        })
    }

    /// Every partition stands where the mark says: its epoch ends here, exactly.
    fn pass_stop(&mut self, outlet: &mut impl Outlet) {
        let stop = self.schedule.stop().expect("stands at it").clone();
        for (&index, state) in &mut self.partitions {
            if let Some(mark) = stop.of(index) {
                state.end_stretch(mark);
            }
        }
        self.check_watermarks();
        let open = self.schedule.open();
        let last = self.schedule.reached();
        if open < last {
            // Rows and the position that covers them belong to one epoch: a destination may
            // publish any epoch of this stretch.
            outlet.close(self.report(false), Some(last));
        }
        // Not before: in an earlier epoch other partitions may still be on their way here.
        self.reached = stop.watermark;
        let next = match self.schedule.stop() {
            Some(_) => last.next(),
            None => self.schedule.live().max(last.next()),
        };
        outlet.close(self.report(false), Some(next));
        self.advance(next);
        self.begin_stretch();
        for (&index, state) in &mut self.partitions {
            self.ready.release(index, &mut state.held);
            self.inbox.resume(index);
        }
    }

    fn begin_stretch(&mut self) {
        let Some(stop) = self.schedule.stop() else {
            debug!(source = self.spec.name, epoch = %self.schedule.open(), "goes live");
            let closes = self.spec.at_end == AtEnd::Close && !self.spec.goes_on;
            for state in self.partitions.values_mut() {
                state.go_live(self.reached);
                // Files that were read to their ends in the replay say so only once.
                if closes && state.done && state.mark.is_spent() {
                    state.close_time();
                }
            }
            return;
        };
        for (&index, state) in &mut self.partitions {
            state.begin_stretch(stop.of(index));
        }
    }

    /// A replay reads the records of the first run, and so brings back its watermarks.
    fn check_watermarks(&mut self) {
        let stop = self.schedule.stop().expect("stands at it");
        for (&index, state) in &mut self.partitions {
            let stop = stop.of(index);
            if let Some(cause) = stop.and_then(|mark| state.is_other(mark, self.spec.skips_lost)) {
                let failure = Failure::new(format!("cannot read `{}` again", self.spec.name));
                let cause = format!("partition {index} is not what it was: {cause}");
                self.shared.fail(failure.because(cause).hint(
                    "retention, compaction (keep it off with `min.compaction.lag.ms`) or a topic made anew may \
                     be why; `--fresh` starts over",
                ));
            }
        }
    }

    /// Gives back what may go in now, and holds the rest.
    fn admit(&mut self, partition: usize, arrival: Arrival) -> Option<Arrival> {
        if let Arrival::Found(found) = &arrival {
            let side = self.spec.side();
            self.partitions
                .entry(partition)
                .or_insert_with(|| PartitionState::unknown(found, side));
            if found.file.is_some() {
                self.count = self.count.max(found.count);
            }
        }
        let state = self
            .partitions
            .get_mut(&partition)
            .expect("one of this worker's");
        let admitted = match self.schedule.stop() {
            None => {
                let (open, now) = (self.schedule.open(), self.clock.elapsed());
                state.admit_live(arrival, open, now)
            }
            Some(stop) => {
                let (now, next) = state.admit(arrival, stop.of(partition));
                if let Some(next) = next {
                    self.ready.put_back(partition, next);
                }
                now
            }
        };
        if !state.held.is_empty() {
            self.inbox.park(partition);
        }
        admitted
    }

    fn end(&mut self, partition: usize) {
        let stop = self.schedule.stop().and_then(|stop| stop.of(partition));
        let at_end = self.spec.at_end_of(partition);
        let state = self
            .partitions
            .get_mut(&partition)
            .expect("one of this worker's");
        state.end(stop, at_end == AtEnd::Close, self.spec.goes_on);
        // Event time may go on, which others wait for.
        self.spent |= self.schedule.stop().is_none() && self.inbox.is_kept();
    }

    fn stamp(
        &mut self,
        partition: usize,
        arrived: ArrivedRows,
        outlet: &mut impl Outlet,
    ) -> Result<()> {
        let side = self.partitions[&partition].mark.side;
        if let Some(Side::From(from)) = side {
            self.look_for_gap(&arrived, from);
        }
        let state = self
            .partitions
            .get_mut(&partition)
            .expect("one of this worker's");
        let (arrived, others) = match side {
            None => (arrived, Vec::new()),
            Some(side) => arrived.keep(side)?,
        };
        let arrived = &arrived;
        let passed = Passed::new(state.mark.watermark, &arrived.times, self.spec.bound_us);
        let place = Place {
            partition: self.spec.ordinal(partition),
            positions: &arrived.positions,
            spans: &arrived.spans,
        };
        let mut outcome = self.spec.chain.run(&arrived.rows, &passed, place)?;
        // What others have may be gone when it is read again.
        let records = (arrived.rows.num_rows() + arrived.rejects.len()) as u64;
        state.went_in(arrived, records, passed.after());

        for (node, rows) in std::mem::take(&mut outcome.rows) {
            outlet.rows(node, rows);
        }
        self.account(partition, (arrived, &others), &outcome, outlet)
    }
}

/// Every record would be late.
fn after_the_end(source: &str) -> Failure {
    Failure::new(format!("cannot read on in `{source}`"))
        .because("its event time has ended, and more records have come")
        .hint("an earlier run was told --close-windows, which is for good: start over with --fresh")
}

#[cfg(test)]
mod tests;
