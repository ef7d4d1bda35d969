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
mod shape;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};

use super::changing::{Codec, order_of};
use super::framed::{Asked, Before, Calls, Frames, Partition, Totals};
use super::group::GroupError;
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
    /// Rows before which others may come, by time, partition and order; and how many of each.
    waiting: BTreeMap<(i64, Bytes, Bytes), usize>,
    partitions: BTreeMap<Bytes, Held>,
    totals: Totals,
    /// How many totals were given out.
    slots: u32,
    /// When a partition has something to show, or to let go, without any new row.
    due: BTreeSet<(i64, Bytes)>,
    reach: Reach,
    bytes: usize,
}

type Bytes = Arc<[u8]>;

/// A partition, as far as it is held.
#[derive(Default)]
struct Held {
    rows: VecDeque<(i64, Bytes)>,
    /// How many of them came out.
    shown: usize,
    before: Before,
    due: Option<i64>,
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

/// How many rows are worked out in one go.
const CHUNK_ROWS: usize = 1 << 16;

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
            totals: calls.totals(),
            codec,
            calls,
            time,
            behind_us,
            output,
            waiting: BTreeMap::new(),
            partitions: BTreeMap::new(),
            slots: 0,
            due: BTreeSet::new(),
            reach,
            bytes: 0,
        })
    }

    /// Takes rows of the input.
    pub fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        let times = times(rows.column(self.time))?;
        let encoded = self.codec.encode(rows)?;
        for (row, time) in times.into_iter().enumerate() {
            let key: Bytes = Arc::from(encoded.keys.value(row));
            self.wait(time, key, Arc::from(encoded.rows.value(row)));
        }
        Ok(())
    }

    fn wait(&mut self, time: i64, key: Bytes, row: Bytes) {
        self.bytes += row.len();
        *self.waiting.entry((time, key, row)).or_default() += 1;
    }

    /// Event time is at `watermark`: the rows whose frames are complete.
    pub fn close(&mut self, watermark: Watermark) -> Result<Vec<RecordBatch>, GroupError> {
        let horizon = (watermark != Watermark::END)
            .then(|| watermark.micros().saturating_sub(self.behind_us));
        let mut touched = BTreeSet::new();
        while let Some(first) = self.waiting.first_entry() {
            if horizon.is_some_and(|horizon| first.key().0 >= horizon) {
                break;
            }
            let ((time, key, row), count) = first.remove_entry();
            let rows = &mut self.partition(&key).rows;
            rows.extend(std::iter::repeat_n((time, row), count));
            touched.insert(key);
        }
        match horizon {
            None => touched.extend(self.partitions.keys().map(Arc::clone)),
            Some(horizon) => {
                let due = self.due.iter().take_while(|(at, _)| *at <= horizon);
                touched.extend(due.map(|(_, key)| Arc::clone(key)));
            }
        }
        let touched: Vec<Bytes> = touched.into_iter().collect();
        let (mut out, mut from) = (Vec::new(), 0);
        while from < touched.len() {
            let mut rows = 0;
            let fits = touched[from..].iter().take_while(|key| {
                rows += self.partitions[*key].rows.len();
                rows <= CHUNK_ROWS
            });
            let to = from + fits.count().max(1);
            out.extend(self.work(&touched[from..to], horizon)?);
            from = to;
        }
        Ok(out)
    }

    /// The partition of a key; a new one has a total of nothing.
    fn partition(&mut self, key: &Bytes) -> &mut Held {
        self.partitions.entry(Arc::clone(key)).or_insert_with(|| {
            let slot = self.slots;
            let mut any = false;
            for total in self.totals.0.iter_mut().flatten() {
                total.resize(slot as usize + 1);
                any = true;
            }
            self.slots += u32::from(any);
            Held {
                before: Before {
                    slot,
                    held: vec![0; self.totals.0.len()],
                    ..Before::default()
                },
                ..Held::default()
            }
        })
    }

    /// Shows what is complete of some partitions, and lets go what no frame needs any more.
    fn work(
        &mut self,
        keys: &[Bytes],
        horizon: Option<i64>,
    ) -> Result<Option<RecordBatch>, GroupError> {
        let held = keys.iter().map(|key| &self.partitions[key]);
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
                Laid::new(partition, frames, held.shown)
            })
            .collect();
        let asked = keys.iter().zip(&laid).map(|(key, laid)| Asked {
            partition: &laid.partition,
            frames: &laid.frames,
            places: laid.ready.clone(),
            before: self.partitions[key].before.clone(),
        });
        let asked: Vec<Asked<'_>> = asked.collect();
        let said = self.calls.say(&rows, &asked, Some(&mut self.totals))?;
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
        let held = self.partitions.get_mut(key).expect("it was worked out");
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
        for (_, row) in held.rows.drain(..free) {
            self.bytes -= row.len();
        }
        held.shown = next - free.min(next);
        self.schedule(key);
    }

    /// Says when a partition is due; forgets one of which nothing is remembered.
    fn schedule(&mut self, key: &Bytes) {
        let held = self.partitions.get_mut(key).expect("it was worked out");
        let after = |row: Option<&(i64, Bytes)>, us: Option<i64>| {
            let ((time, _), us) = row.zip(us)?;
            Some(time.saturating_add(us).saturating_add(1))
        };
        let show = after(held.rows.get(held.shown), self.reach.show_us);
        let front = held.rows.front().filter(|_| held.shown > 0);
        let drop = after(front, self.reach.drop_us);
        let due = show.into_iter().chain(drop).min();
        if due != held.due {
            if let Some(old) = std::mem::replace(&mut held.due, due) {
                self.due.remove(&(old, Arc::clone(key)));
            }
            self.due.extend(due.map(|due| (due, Arc::clone(key))));
        }
        if held.rows.is_empty() && !self.reach.counts {
            self.partitions.remove(key);
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
fn laid_out(held: &Held, base: &mut u32) -> Partition {
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

fn times(column: &arrow::array::ArrayRef) -> Result<Vec<i64>, GroupError> {
    let times = cast(column, &DataType::Int64)?;
    assert_eq!(times.null_count(), 0, "rows without a time are turned away");
    Ok(times.as_primitive::<Int64Type>().values().to_vec())
}
