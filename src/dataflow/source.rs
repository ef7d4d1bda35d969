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

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;
use tracing::warn;

use super::arrival::{Arrival, ArrivedRows, Inbox};
use super::assign::Passed;
use super::chain::{Chain, Place};
use super::letters::{self, Letter};
use super::outcome::{Failure, Shared};
use super::report::Report;
use super::schedule::Schedule;
use super::step::{Turned, plain};
use crate::format::RejectedRecord;
use crate::plan::{NodeId, TableId};
use crate::types::{Clock, Epoch, Fates, Offset, PartitionMark, Reason, Span, Watermark};

/// When epochs close.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// When this much time has passed.
    Interval(Duration),
    /// After a pseudo-random number of arrivals: for tests, which cut epochs anywhere.
    Arrivals {
        /// Which sequence of cuts.
        seed: u64,
    },
    /// After so many arrivals: for benchmarks, whose epochs hold so many rows.
    Count {
        /// How many.
        arrivals: u64,
    },
}

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
}

/// What is known of a partition of this worker.
#[derive(Debug)]
struct PartitionState {
    mark: PartitionMark,
    /// Something to report since the last epoch closed.
    moved: bool,
    /// Read to its end, whether or not that ends event time.
    done: bool,
    /// What lies beyond the stop of this stretch.
    held: VecDeque<Arrival>,
}

/// One source on one worker.
pub struct SourceTask<I> {
    spec: SourceSpec,
    inbox: I,
    shared: Arc<Shared>,
    schedule: Schedule,
    partitions: BTreeMap<usize, PartitionState>,
    ready: VecDeque<(usize, Arrival)>,
    clock: Clock,
    /// The open epoch holds rows.
    spent: bool,
    /// The open epoch is to be cut at the next occasion, and the state of the sequence of cuts.
    cut_wanted: bool,
    sequence: u64,
    /// It has been said that records are rejected.
    warned: bool,
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
        start: BTreeMap<usize, PartitionMark>,
        schedule: Schedule,
        shared: Arc<Shared>,
        clock: Clock,
    ) -> Self {
        let state = |mark| PartitionState {
            mark,
            moved: true,
            done: false,
            held: VecDeque::new(),
        };
        for insert in spec.chain.inserts() {
            // An INSERT is accounted for even if nothing ever comes.
            shared.count(insert, spec.table, Fates::default());
        }
        let sequence = match spec.pace {
            Pace::Interval(_) | Pace::Count { .. } => 0,
            Pace::Arrivals { seed } => seed,
        };
        Self {
            partitions: start
                .into_iter()
                .map(|(index, mark)| (index, state(mark)))
                .collect(),
            ready: VecDeque::new(),
            spent: false,
            cut_wanted: false,
            sequence,
            warned: false,
            spec,
            inbox,
            shared,
            schedule,
            clock,
        }
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
            if self.schedule.stop().is_some() {
                self.shared.withhold();
            }
            outlet.close(self.report(), None);
            return Progress::Finished;
        }
        self.close_on_time(credit, outlet);
        if self.is_at_stop() {
            self.pass_stop(outlet);
            return Progress::Worked;
        }
        if self.schedule.stop().is_none() && self.partitions.values().all(|p| p.done) {
            outlet.close(self.report(), None);
            return Progress::Finished;
        }
        // Only closed epochs give credit back, and the last epoch of a stretch of replay closes
        // only at its offsets: there it goes on without.
        if !credit && !self.schedule.is_last_of_stretch() {
            return Progress::Waiting(Duration::from_millis(1));
        }
        let Some((partition, arrival)) = self.ready.pop_front().or_else(|| self.inbox.take())
        else {
            return Progress::Waiting(self.until_tick());
        };
        match self.admit(partition, arrival) {
            None | Some(Arrival::CaughtUp | Arrival::Away | Arrival::Found(_)) => {}
            Some(Arrival::End) => self.end(partition),
            Some(Arrival::Rows(rows)) => {
                self.spent = true;
                if let Err(error) = self.stamp(partition, &rows, outlet) {
                    let message = format!("cannot evaluate the rows of `{}`", self.spec.name);
                    self.shared
                        .fail(Failure::new(message).because(plain(&error)));
                    return Progress::Finished;
                }
                self.cut();
            }
        }
        Progress::Worked
    }

    fn close_on_time(&mut self, credit: bool, outlet: &mut impl Outlet) {
        let live = self.schedule.stop().is_none();
        let due = match self.spec.pace {
            Pace::Interval(interval) if live => {
                let ticks = self.clock.elapsed().as_micros() / interval.as_micros().max(1);
                let ticks = u64::try_from(ticks).expect("a run ends before 2^64 intervals");
                let due = self.schedule.due(ticks);
                // Only closed epochs give credit back: whoever has none does not wait for time.
                if !credit && self.spent {
                    due.max(self.schedule.next())
                } else {
                    due
                }
            }
            // A replay has so many epochs and no more: it spends one when the bytes of the open
            // one ask for it, and not because time passes.
            Pace::Interval(_) | Pace::Arrivals { .. } | Pace::Count { .. } => {
                let wanted = std::mem::take(&mut self.cut_wanted) || (!credit && self.spent);
                if wanted {
                    self.schedule.next()
                } else {
                    self.schedule.open()
                }
            }
        };
        if due > self.schedule.open() {
            outlet.close(self.report(), Some(due));
            self.schedule.advance(due);
            self.spent = false;
        }
    }

    /// After an arrival: whether the epoch is to be cut here.
    fn cut(&mut self) {
        self.cut_wanted |= match self.spec.pace {
            Pace::Interval(_) => false,
            Pace::Count { arrivals } => {
                self.sequence += 1;
                self.sequence.is_multiple_of(arrivals)
            }
            Pace::Arrivals { .. } => {
                // About every third, by a linear congruential sequence.
                let next = self.sequence.wrapping_mul(6_364_136_223_846_793_005);
                self.sequence = next.wrapping_add(1);
                (self.sequence >> 33).is_multiple_of(3)
            }
        };
    }

    fn until_tick(&self) -> Duration {
        match self.spec.pace {
            Pace::Arrivals { .. } | Pace::Count { .. } => Duration::from_millis(1),
            Pace::Interval(interval) => {
                let interval = interval.as_micros().max(1);
                let rest = interval - self.clock.elapsed().as_micros() % interval;
                Duration::from_micros(u64::try_from(rest).unwrap_or(1))
            }
        }
    }

    fn report(&mut self) -> Report {
        let moved = self.partitions.iter_mut().filter(|(_, state)| state.moved);
        let partitions = moved.map(|(&index, state)| {
            state.moved = false;
            (index, state.mark.clone())
        });
        Report {
            table: self.spec.table,
            partitions: partitions.collect(),
        }
    }

    fn is_at_stop(&self) -> bool {
        let Some(stop) = self.schedule.stop() else {
            return false;
        };
        self.partitions
            .iter()
            .all(|(&index, state)| match &stop.partitions[index] {
                None => true,
                Some(mark) => {
                    assert!(
                        state.mark.offset <= mark.offset,
                        "partition {index} of `{}` ran past {}",
                        self.spec.name,
                        mark.offset
                    );
                    state.mark.offset == mark.offset && state.mark.ended == mark.ended
                }
            })
    }

    /// Every partition stands where the mark says: its epoch ends here, exactly.
    fn pass_stop(&mut self, outlet: &mut impl Outlet) {
        self.check_watermarks();
        let open = self.schedule.open();
        let last = self.schedule.reached();
        if open < last {
            // Rows and the position that covers them belong to one epoch: a destination may
            // publish any epoch of this stretch.
            outlet.close(self.report(), Some(last));
        }
        let next = match self.schedule.stop() {
            Some(_) => last.next(),
            None => self.schedule.due(0).max(last.next()),
        };
        outlet.close(self.report(), Some(next));
        self.schedule.advance(next);
        self.spent = false;
        for (&index, state) in &mut self.partitions {
            self.ready
                .extend(state.held.drain(..).map(|arrival| (index, arrival)));
            self.inbox.resume(index);
        }
    }

    /// A replay must bring back the watermarks of the first run: they are a function of the rows.
    fn check_watermarks(&self) {
        let stop = self.schedule.stop().expect("stands at it");
        for (&index, state) in &self.partitions {
            if let Some(mark) = &stop.partitions[index] {
                assert_eq!(
                    state.mark.watermark, mark.watermark,
                    "the replay of partition {index} of `{}` differs from the first run",
                    self.spec.name
                );
            }
        }
    }

    /// Gives back what belongs to this stretch, and holds the rest.
    fn admit(&mut self, partition: usize, arrival: Arrival) -> Option<Arrival> {
        let Some(stop) = self.schedule.stop() else {
            return Some(arrival);
        };
        let stop = stop.partitions[partition].clone();
        let state = self
            .partitions
            .get_mut(&partition)
            .expect("one of this worker's");
        let limit = stop.as_ref().map_or(Offset(0), |mark| mark.offset);
        let admitted = match arrival {
            _ if !state.held.is_empty() => {
                state.held.push_back(arrival);
                None
            }
            Arrival::End if stop.is_some_and(|mark| mark.ended) => Some(Arrival::End),
            Arrival::Rows(rows) if rows.end <= limit => Some(Arrival::Rows(rows)),
            Arrival::Rows(rows) if rows.from < limit => {
                let (before, after) = rows.split(limit);
                state.held.push_back(Arrival::Rows(after));
                Some(Arrival::Rows(before))
            }
            Arrival::CaughtUp | Arrival::Away | Arrival::Found(_) => None,
            Arrival::Rows(_) | Arrival::End => {
                state.held.push_back(arrival);
                None
            }
        };
        if !state.held.is_empty() {
            self.inbox.park(partition);
        }
        admitted
    }

    fn end(&mut self, partition: usize) {
        let stop = self
            .schedule
            .stop()
            .and_then(|stop| stop.partitions[partition].as_ref());
        let stop_says_so = stop.is_some_and(|mark| mark.ended);
        let state = self
            .partitions
            .get_mut(&partition)
            .expect("one of this worker's");
        state.done = true;
        // A mark that says so already has closed event time for good.
        let closed = stop_says_so || self.spec.at_end == AtEnd::Close;
        if closed {
            state.mark.ended = true;
            state.mark.watermark = Watermark::END;
            state.moved = true;
        }
    }

    fn stamp(
        &mut self,
        partition: usize,
        arrived: &ArrivedRows,
        outlet: &mut impl Outlet,
    ) -> Result<()> {
        let state = self
            .partitions
            .get_mut(&partition)
            .expect("one of this worker's");
        let passed = Passed::new(state.mark.watermark, &arrived.times, self.spec.bound_us);
        let ordinal = ordinal(self.spec.table, partition);
        let place = Place {
            partition: ordinal,
            positions: &arrived.positions,
            spans: &arrived.spans,
        };
        let outcome = self.spec.chain.run(&arrived.rows, &passed, place)?;
        state.mark.offset = arrived.end;
        state.mark.watermark = passed.after();
        state.moved = true;

        for (node, rows) in outcome.rows {
            outlet.rows(node, rows);
        }
        let rejected = arrived.rejects.len() as u64;
        for &(insert, fates) in &outcome.fates {
            let rejects = Fates {
                rejected,
                ..Fates::default()
            };
            self.shared.count(insert, self.spec.table, fates);
            self.shared.count(insert, self.spec.table, rejects);
        }
        let records = arrived.rows.num_rows() as u64 + rejected;
        self.shared
            .read(self.spec.table, records, arrived.end.0 - arrived.from.0);
        if self.spec.letters.is_none() {
            self.warn_of_rejects(partition, arrived);
        }
        if let Some(schema) = &self.spec.letters {
            let letters = self.letters(arrived, &outcome.turned);
            if !letters.is_empty() {
                let partition = &self.spec.partitions[partition];
                outlet.letters(letters::rows(&letters, &self.spec.name, partition, schema)?);
            }
        }
        Ok(())
    }

    /// Where nobody keeps dead letters, the first reject is said once: a wrong type would
    /// otherwise look like an empty input.
    fn warn_of_rejects(&mut self, partition: usize, arrived: &ArrivedRows) {
        let Some(first) = arrived.rejects.first().filter(|_| !self.warned) else {
            return;
        };
        self.warned = true;
        warn!(
            source = self.spec.name,
            partition = self.spec.partitions[partition],
            line = first.line,
            column = first.reject.column,
            reason = first.reject.message,
            "records are rejected, and no 'dead.letter' keeps them; this is the first"
        );
    }

    fn letters(&self, arrived: &ArrivedRows, turned: &[(usize, Turned)]) -> Vec<Letter> {
        let rejected = arrived
            .rejects
            .iter()
            .map(|reject| rejected_letter(arrived, reject));
        let turned = turned.iter().map(|(insert, turned)| {
            let into = &self.spec.inserts[*insert];
            turned_letter(arrived, turned, into)
        });
        rejected.chain(turned).collect()
    }
}

/// A number for a partition that is its own over all sources of a pipeline and over all runs.
fn ordinal(table: TableId, partition: usize) -> u32 {
    let number = (table << 20) | partition;
    assert!(
        partition < 1 << 20,
        "a source has at most a million partitions"
    );
    u32::try_from(number).expect("a pipeline has at most 4096 tables")
}

fn rejected_letter(arrived: &ArrivedRows, rejected: &RejectedRecord) -> Letter {
    Letter {
        late: false,
        reason: rejected.reject.reason.code(),
        message: rejected.reject.message.clone(),
        column: rejected.reject.column.clone(),
        offset: arrived.positions.of(rejected.span.start).0,
        line: (rejected.line > 0).then_some(rejected.line),
        insert_into: None,
        payload: arrived.payload(rejected.span).to_vec(),
    }
}

fn turned_letter(arrived: &ArrivedRows, turned: &Turned, into: &str) -> Letter {
    let span: Span = arrived.spans[turned.row() as usize];
    let (late, reason, message) = match turned {
        Turned::Failed { message, .. } => (false, Reason::Expression.code(), message.clone()),
        Turned::Late { window_end, .. } => {
            let end = Watermark::behind(crate::types::EventTime(*window_end), 0);
            (true, "late", format!("its last window ended {end}"))
        }
    };
    Letter {
        late,
        reason,
        message,
        column: None,
        offset: arrived.positions.of(span.start).0,
        line: arrived.line_of(span),
        insert_into: Some(into.to_owned()),
        payload: arrived.payload(span).to_vec(),
    }
}

#[cfg(test)]
mod tests;
