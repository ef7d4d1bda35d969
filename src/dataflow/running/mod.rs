//! Functions over the rows of an append stream in the order of their event time: each row comes
//! out once, with what is said of it, when no row that is still to come can change that.
//!
//! ```text
//!   rows ──▶ waiting ──watermark──▶ partitions, in their order ──▶ rows whose frames are complete
//! ```
//!
//! Behind the watermark the rows of a partition are all there, and stand in their order for good. A
//! row's frame is complete when the next row to come cannot be in it. Rows are held while they wait
//! for that, or are in a frame that is still to come; frames without a start are a total per
//! partition, which goes on from row to row.

mod saved;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::changing::{Codec, order_of};
use super::framed::{Asked, Before, Calls, Frames, Partition, Totals};
use super::group::{GroupError, Groups};
use super::sequences::{Bytes, Sequence, Sequences, times};
use crate::plan::{
    AggregateCall, AggregateFunction, Frame, FrameBound, FrameUnits, OverCall, OverFunction,
    RowOfFrame, SortKey,
};
use crate::types::Watermark;

/// The rows of a worker's partitions that a frame may need still.
pub struct Running {
    codec: Arc<Codec>,
    calls: Calls,
    /// Position of the event time.
    time: usize,
    /// How far before the watermark rows may come.
    behind_us: i64,
    output: SchemaRef,
    sequences: Sequences<(), Shown>,
    totals: Open,
    reach: Reach,
}

/// What is known of a partition besides its rows.
struct Shown {
    /// How many of the rows came out.
    rows: usize,
    before: Before,
}

/// The totals of frames without a start, one for each partition.
struct Open {
    totals: Totals,
    /// How many were given out.
    slots: u32,
}

/// How time alone completes frames, and lets rows go.
struct Reach {
    /// So long after a row, its frames are complete.
    show_us: Option<i64>,
    /// So long after a row, no frame needs it.
    drop_us: Option<i64>,
    /// Whether something is remembered of partitions that hold no row.
    counts: bool,
}

impl Running {
    /// Functions over rows by the keys and the order of `codec`, which begins with the column
    /// `time`.
    pub fn new(
        codec: Arc<Codec>,
        calls: &[OverCall],
        order: &[SortKey],
        (time, behind_us): (usize, i64),
        output: SchemaRef,
    ) -> Result<Self, GroupError> {
        let calls: Vec<OverCall> = calls.iter().map(going_on).collect();
        let reach = Reach::of(&calls);
        let calls = Calls::new(calls, order, codec.schema())?;
        Ok(Self {
            totals: Open {
                totals: calls.totals(),
                slots: 0,
            },
            codec,
            calls,
            time,
            behind_us,
            output,
            sequences: Sequences::default(),
            reach,
        })
    }

    /// Shows what is complete of some partitions, and lets go what no frame needs any more.
    fn work(
        &mut self,
        keys: &[Bytes],
        horizon: Option<i64>,
    ) -> Result<Option<RecordBatch>, GroupError> {
        let held = keys.iter().map(|key| &self.sequences[key]);
        let all = held.clone().flat_map(|held| held.rows.iter());
        let rows = self.codec.decode(all.map(|(_, row)| &**row))?;
        let rows = RecordBatch::try_new(Arc::clone(self.codec.schema()), rows)?;
        let counted = self.calls.counted(&rows)?;
        let mut base = 0;
        let laid: Vec<Laid> = held
            .map(|held| {
                let partition = laid_out(held, &mut base);
                let frames = match horizon {
                    Some(next) => self.calls.frames_so_far(&partition, &counted, next.into()),
                    None => self.calls.frames(&partition, &counted),
                };
                Laid::new(partition, frames, held.state.rows)
            })
            .collect();
        let asked = keys.iter().zip(&laid).map(|(key, laid)| Asked {
            partition: &laid.partition,
            frames: &laid.frames,
            places: laid.ready.clone(),
            before: self.sequences[key].state.before.clone(),
        });
        let asked: Vec<Asked<'_>> = asked.collect();
        let said = self
            .calls
            .say(&rows, &asked, Some(&mut self.totals.totals))?;
        if let Some(why) = said.failed.into_values().next() {
            return Err(why.into());
        }
        let shown = asked
            .iter()
            .flat_map(|asked| asked.partition.rows[asked.places.clone()].iter().copied());
        let shown = arrow::array::UInt32Array::from_iter_values(shown);
        let mut columns = arrow::compute::take_record_batch(&rows, &shown)?
            .columns()
            .to_vec();
        columns.extend(said.columns);
        let out = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        for (key, laid) in keys.iter().zip(laid) {
            self.let_go(key, &laid, horizon.is_none());
        }
        Ok((out.num_rows() > 0).then_some(out))
    }

    /// Drops the rows at the front that no frame needs any more.
    fn let_go(&mut self, key: &Bytes, laid: &Laid, is_over: bool) {
        let Laid {
            partition,
            frames,
            ready,
        } = laid;
        let calls = self.calls.calls();
        let held = self.sequences.state(key);
        let next = ready.end;
        // Whoever comes next, its peers must be there to be counted.
        let mut free = partition
            .peers
            .get(next)
            .map_or(next, |&peer| usize::try_from(peer - 1).unwrap_or(next));
        for (at, call) in calls.iter().enumerate() {
            if let Some(last) = ready.clone().next_back() {
                held.before.held[at] = frames[at][last].end;
            }
            if let Some(frame) = frames[at].get(next) {
                let taken = held.before.held[at] as usize;
                free = free.min(needed(call, frame, taken, next));
            }
        }
        if is_over {
            free = partition.rows.len();
        }
        let groups = partition.peers[..free].iter().enumerate();
        let groups = groups.filter(|(place, peer)| **peer == *place as u64 + 1);
        // A group of which some rows stay is among those that stay.
        let is_cut = partition
            .peers
            .get(free)
            .is_some_and(|&peer| peer <= free as u64);
        held.before.groups += groups.count() as u64 - u64::from(is_cut);
        held.before.rows += free as u64;
        let dropped = u32::try_from(free).expect("fewer than 2^32 rows at a time");
        for taken in &mut held.before.held {
            *taken = taken.saturating_sub(dropped);
        }
        held.rows = next - free.min(next);
        self.sequences.drop_front(key, free);
        self.schedule(key);
    }

    /// Says when a partition is due; forgets one of which nothing is remembered.
    fn schedule(&mut self, key: &Bytes) {
        let held = &self.sequences[key];
        let after = |row: Option<&(i64, Bytes)>, us: Option<i64>| {
            let ((time, _), us) = row.zip(us)?;
            Some(time.saturating_add(us).saturating_add(1))
        };
        let shown = held.state.rows;
        let show = after(held.rows.get(shown), self.reach.show_us);
        let front = held.rows.front().filter(|_| shown > 0);
        let drop = after(front, self.reach.drop_us);
        self.sequences
            .schedule(key, show.into_iter().chain(drop).min());
        if !self.reach.counts {
            self.sequences.forget_empty(key);
        }
    }
}

impl Groups for Running {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        let times = times(rows.column(self.time))?;
        let encoded = self.codec.encode(rows)?;
        for (row, time) in times.into_iter().enumerate() {
            let key = Arc::from(encoded.keys.value(row));
            let row = Arc::from(encoded.rows.value(row));
            self.sequences.wait(time, (), key, row);
        }
        Ok(())
    }

    /// The rows whose frames are complete.
    fn close(&mut self, watermark: Watermark) -> Result<Vec<RecordBatch>, GroupError> {
        let horizon = (watermark != Watermark::END)
            .then(|| watermark.micros().saturating_sub(self.behind_us));
        let touched = self.sequences.settle(horizon, || self.totals.begin());
        let mut out = Vec::new();
        for keys in self.sequences.chunks(&touched) {
            out.extend(self.work(keys, horizon)?);
        }
        Ok(out)
    }
}

impl Open {
    /// What is known of a new partition, whose totals are of nothing.
    fn begin(&mut self) -> Shown {
        let slot = self.slots;
        let mut any = false;
        for total in self.totals.0.iter_mut().flatten() {
            total.resize(slot as usize + 1);
            any = true;
        }
        self.slots += u32::from(any);
        Shown {
            rows: 0,
            before: Before {
                slot,
                held: vec![0; self.totals.0.len()],
                ..Before::default()
            },
        }
    }
}

/// A partition that is held, its frames, and which of its rows come out now.
struct Laid {
    partition: Partition,
    frames: Frames,
    ready: Range<usize>,
}

impl Laid {
    fn new(partition: Partition, frames: Frames, shown: usize) -> Self {
        let rows = partition.rows.len();
        let is_complete = |place: &usize| {
            let mut ends = frames.iter().map(|frames| frames[*place].end as usize);
            ends.all(|end| end <= rows)
        };
        let ready = (shown..rows).take_while(is_complete).count();
        Self {
            partition,
            ready: shown..shown + ready,
            frames,
        }
    }
}

/// The rows of a partition by their order, numbered from `base` on.
fn laid_out(held: &Sequence<Shown>, base: &mut u32) -> Partition {
    let mut partition = Partition::default();
    let mut before: Option<&[u8]> = None;
    for (_, row) in &held.rows {
        let order = Some(order_of(row));
        partition.add(*base, before == order);
        before = order;
        *base += 1;
    }
    partition
}

/// How many rows at the front a call needs no more, where this is the frame of the next row and
/// `taken` rows are in its total.
fn needed(call: &OverCall, frame: &Range<u32>, taken: usize, next: usize) -> usize {
    let (start, end) = (frame.start as usize, frame.end as usize);
    match &call.function {
        OverFunction::Aggregate { frame, .. } => match frame.start {
            FrameBound::Unbounded => taken,
            FrameBound::At(_) => start,
        },
        OverFunction::Value { row, frame, .. } => match (row, frame.start) {
            // The last row of the frame, wherever it starts.
            (RowOfFrame::Last, FrameBound::Unbounded) => end.saturating_sub(1),
            (RowOfFrame::First | RowOfFrame::Last | RowOfFrame::Nth(_), _) => start,
        },
        OverFunction::Before { .. } => start,
        OverFunction::RowNumber
        | OverFunction::Rank
        | OverFunction::DenseRank
        | OverFunction::PercentRank
        | OverFunction::CumulativeShare
        | OverFunction::Ntile(_) => next,
    }
}

/// The first value of a frame without a start, as an aggregate that goes on.
fn going_on(call: &OverCall) -> OverCall {
    match &call.function {
        OverFunction::Value {
            row: RowOfFrame::First,
            value,
            frame:
                frame @ Frame {
                    start: FrameBound::Unbounded,
                    ..
                },
        } => OverCall {
            function: OverFunction::Aggregate {
                call: Box::new(AggregateCall {
                    function: AggregateFunction::First,
                    distinct: false,
                    arguments: vec![value.clone()],
                    filter: None,
                    order_by: Vec::new(),
                    output: Arc::clone(&call.output),
                    text: call.text.clone(),
                }),
                frame: *frame,
            },
            ..call.clone()
        },
        OverFunction::Value { .. }
        | OverFunction::RowNumber
        | OverFunction::Rank
        | OverFunction::DenseRank
        | OverFunction::PercentRank
        | OverFunction::CumulativeShare
        | OverFunction::Ntile(_)
        | OverFunction::Before { .. }
        | OverFunction::Aggregate { .. } => call.clone(),
    }
}

impl Reach {
    fn of(calls: &[OverCall]) -> Self {
        let (mut show_us, mut drop_us, mut counts) = (None, Some(0), false);
        for call in calls {
            let Frame { units, start, end } = call.function.frame();
            let us = |distance: i128| i64::try_from(distance.abs()).unwrap_or(i64::MAX);
            let by_time = units == FrameUnits::Range;
            if let FrameBound::At(distance) = end
                && by_time
                && distance > 0
            {
                show_us = show_us.max(Some(us(distance)));
            }
            match start {
                FrameBound::Unbounded => {
                    counts = true;
                    if let FrameBound::At(distance) = end
                        && distance < 0
                    {
                        drop_us = drop_us
                            .filter(|_| by_time)
                            .map(|most: i64| most.max(us(distance)));
                    }
                }
                FrameBound::At(distance) if distance < 0 && by_time => {
                    drop_us = drop_us.map(|most: i64| most.max(us(distance)));
                }
                // Only further rows push these out.
                FrameBound::At(distance) if distance < 0 => drop_us = None,
                FrameBound::At(_) => {}
            }
        }
        Self {
            show_us,
            drop_us,
            counts,
        }
    }
}
