//! The join itself: knows rows and times, and nothing of timely.
//!
//! A row meets the rows of the other side that came before it, then waits for those that come
//! after it: so each pair comes out once, in the epoch of its later row. A row is let go when the
//! watermark says that none of the other side's rows to come can match it, exactly then (see
//! `Interval::held_us`), so neither what comes out nor when hangs on anything but the input and
//! its watermarks.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch, UInt32Array, new_null_array,
};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{DataType, Field, SchemaRef, TimestampMicrosecondType};
use datafusion_common::exec_datafusion_err;

use crate::dataflow::changing::{Codec, CodecError, has_null};
use crate::dataflow::roles::watermarks;
use crate::dataflow::sided::{Extra, Held, Same, Saving, Side, Sided, saved_rows};
use crate::dataflow::state::{StateError, Stateful};
use crate::dataflow::step::{Evaluated, evaluate_rows, truth};
use crate::plan::{Expression, Interval, JoinType};
use crate::types::{Watermark, batch};

/// What an operator needs to know of a join besides its inputs.
pub struct IntervalPlan {
    /// Which rows come out.
    pub kind: JoinType,
    /// How the times bound each other.
    pub interval: Interval,
    /// Whether those are not times of the rows, but how far event time was when they were read.
    pub by_watermarks: bool,
    /// A further condition over the left's columns and then the right's.
    pub residual: Option<Expression>,
    /// The left's columns and then the right's.
    pub both: SchemaRef,
    /// What comes out.
    pub output: SchemaRef,
}

/// The rows of both sides that may still match.
pub struct IntervalJoin {
    plan: IntervalPlan,
    codecs: [Arc<Codec>; 2],
    sides: [Side; 2],
}

/// How many pairs, or rows, make one batch.
const CHUNK: usize = 8192;

/// New rows of one side.
struct New<'a> {
    side: usize,
    columns: &'a [ArrayRef],
    /// Which of them have matched.
    matched: Vec<bool>,
}

/// A new row, by its place, and one that was there.
type Pair<'a> = (u32, &'a Held);

impl IntervalJoin {
    /// A join of nothing yet; the codecs make keys and bytes of the rows of each side.
    pub fn new(plan: IntervalPlan, codecs: [Arc<Codec>; 2]) -> Self {
        Self {
            plan,
            codecs,
            sides: Default::default(),
        }
    }

    fn hold(&mut self, side: usize, key: &[u8], time: i64, row: &[u8], matched: bool) {
        let held = Held::new(time, row);
        held.matched.set(matched);
        self.sides[side].insert(key, held, |_, _| Same::Beside);
    }

    /// The times of rows of a side.
    fn times<'a>(&self, side: usize, rows: &'a RecordBatch) -> &'a [i64] {
        if self.plan.by_watermarks {
            return watermarks(rows);
        }
        let times = rows.column(self.plan.interval.times[side]);
        times.as_primitive::<TimestampMicrosecondType>().values()
    }

    /// What new rows match of what is there.
    fn look_up(
        &self,
        new: &mut New<'_>,
        keys: &BinaryArray,
        times: &[i64],
        emit: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        let one_sided = self.plan.kind.is_left_only();
        let any_will_do = one_sided && new.side == 0 && self.plan.residual.is_none();
        let mut pairs: Vec<Pair<'_>> = Vec::new();
        for (row, &time) in times.iter().enumerate() {
            let key = keys.value(row);
            if has_null(key) {
                continue;
            }
            let (first, last) = self.partners(new.side, time);
            let found = within(&self.sides[1 - new.side], key, first, last);
            for held in found.take(if any_will_do { 1 } else { usize::MAX }) {
                // A left row of which all is said is held until its time has come.
                if one_sided && new.side == 1 && held.matched.get() {
                    continue;
                }
                pairs.push((u32::try_from(row)?, held));
                if pairs.len() == CHUNK {
                    self.settle(new, &pairs, emit)?;
                    pairs.clear();
                }
            }
        }
        match pairs.is_empty() {
            true => Ok(()),
            false => self.settle(new, &pairs, emit),
        }
    }

    /// From when to when the rows happened that one of `side` at `time` may match.
    fn partners(&self, side: usize, time: i64) -> (i64, i64) {
        let Interval {
            lower_us, upper_us, ..
        } = self.plan.interval;
        match side {
            0 => (time.saturating_sub(upper_us), time.saturating_sub(lower_us)),
            _ => (time.saturating_add(lower_us), time.saturating_add(upper_us)),
        }
    }

    /// Says what comes of pairs whose keys and times match.
    fn settle(
        &self,
        new: &mut New<'_>,
        pairs: &[Pair<'_>],
        emit: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        let kind = self.plan.kind;
        let mut rows = None;
        if !kind.is_left_only() || self.plan.residual.is_some() {
            rows = Some(self.both(new, pairs)?);
        }
        let mut holds = None;
        if let (Some(residual), Some(rows)) = (&self.plan.residual, &rows) {
            holds = Some(holding(residual, rows)?);
        }
        let mut firsts = Vec::new();
        for (at, &(row, held)) in pairs.iter().enumerate() {
            if holds.as_ref().is_some_and(|holds| !holds.value(at)) {
                continue;
            }
            let of_new = std::mem::replace(&mut new.matched[row as usize], true);
            let of_held = held.matched.replace(true);
            let is_first = if new.side == 0 { !of_new } else { !of_held };
            if is_first {
                firsts.push((row, held));
            }
        }
        match (kind, rows) {
            (JoinType::Semi, _) if !firsts.is_empty() => emit(self.lefts(new, &firsts)?),
            (JoinType::Semi | JoinType::Anti, _) => {}
            (JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full, rows) => {
                let rows = rows.expect("made for every kind that shows pairs");
                let rows = match holds {
                    Some(holds) => filter_record_batch(&rows, &holds)?,
                    None => rows,
                };
                if rows.num_rows() > 0 {
                    let count = rows.num_rows();
                    emit(batch(
                        Arc::clone(&self.plan.output),
                        rows.columns().to_vec(),
                        count,
                    )?);
                }
            }
        }
        Ok(())
    }

    /// Pairs as rows.
    fn both(&self, new: &New<'_>, pairs: &[Pair<'_>]) -> Result<RecordBatch, CodecError> {
        let places: Vec<u32> = pairs.iter().map(|(row, _)| *row).collect();
        let mine = pick(new.columns, &places)?;
        let theirs = self.codecs[1 - new.side].decode(pairs.iter().map(|(_, held)| &*held.row))?;
        let columns = match new.side {
            0 => [mine, theirs].concat(),
            _ => [theirs, mine].concat(),
        };
        Ok(batch(Arc::clone(&self.plan.both), columns, pairs.len())?)
    }

    /// The left rows of pairs.
    fn lefts(&self, new: &New<'_>, pairs: &[Pair<'_>]) -> Result<RecordBatch, CodecError> {
        let columns = match new.side {
            0 => {
                let places: Vec<u32> = pairs.iter().map(|(row, _)| *row).collect();
                pick(new.columns, &places)?
            }
            _ => self.codecs[0].decode(pairs.iter().map(|(_, held)| &*held.row))?,
        };
        Ok(batch(Arc::clone(&self.plan.output), columns, pairs.len())?)
    }

    /// Rows of one side that match nothing.
    fn alone(
        &self,
        side: usize,
        columns: Vec<ArrayRef>,
        count: usize,
    ) -> Result<RecordBatch, CodecError> {
        let mut columns = columns;
        if !self.plan.kind.is_left_only() {
            let others = self.codecs[1 - side].schema().fields().iter();
            let nulls = others.map(|field| new_null_array(field.data_type(), count));
            let nulls: Vec<ArrayRef> = nulls.collect();
            columns = match side {
                0 => [columns, nulls].concat(),
                _ => [nulls, columns].concat(),
            };
        }
        Ok(batch(Arc::clone(&self.plan.output), columns, count)?)
    }
}

impl Sided for IntervalJoin {
    fn update(
        &mut self,
        side: usize,
        rows: &RecordBatch,
        emit: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        let encoded = self.codecs[side].encode(rows)?;
        let times = self.times(side, rows);
        let mut new = New {
            side,
            columns: &rows.columns()[..self.codecs[side].schema().fields().len()],
            matched: vec![false; rows.num_rows()],
        };
        self.look_up(&mut new, &encoded.keys, times, emit)?;
        let mut alone = Vec::new();
        for (row, &time) in times.iter().enumerate() {
            let (key, matched) = (encoded.keys.value(row), new.matched[row]);
            if has_null(key) {
                // It matches nothing, now or later.
                alone.push(u32::try_from(row)?);
            } else if !(matched && side == 0 && self.plan.kind.is_left_only()) {
                self.hold(side, key, time, encoded.rows.value(row), matched);
            }
        }
        if self.plan.kind.shows_alone(side) && !alone.is_empty() {
            emit(self.alone(side, pick(new.columns, &alone)?, alone.len())?);
        }
        Ok(())
    }

    /// Lets go what can match no more, and says of those rows that never matched that they are
    /// alone, if that is asked.
    fn close(
        &mut self,
        watermark: Watermark,
        emit: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        let held_us = self.plan.interval.held_us();
        for side in [0, 1] {
            let shown = self.plan.kind.shows_alone(side);
            let mut alone = Vec::new();
            // `time + held < watermark`: a row of the other side may be as late as it promised.
            let last = watermark.micros().saturating_sub(held_us[side]);
            let is_over =
                |time| !watermark.is_start() && (watermark == Watermark::END || time < last);
            self.sides[side].let_go(is_over, |_, held| {
                if shown && !held.matched.get() {
                    alone.push(held.row);
                }
            });
            for rows in alone.chunks(CHUNK) {
                let columns = self.codecs[side].decode(rows.iter().map(|row| &**row))?;
                emit(self.alone(side, columns, rows.len())?);
            }
        }
        Ok(())
    }
}

impl Stateful for IntervalJoin {
    fn rows(&self) -> usize {
        self.sides.iter().map(Side::len).sum()
    }

    fn bytes(&self) -> usize {
        self.sides.iter().map(Side::bytes).sum()
    }

    fn save(&self) -> Result<Vec<RecordBatch>, StateError> {
        let mut saving = Saving::<Matched>::default();
        for (side, rows) in self.sides.iter().enumerate() {
            for (key, held) in rows.iter() {
                saving.add(side, key, held.time, Some(&held.row), held.matched.get())?;
            }
        }
        saving.finish()
    }

    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError> {
        let (rows, matched) = saved_rows(saved);
        let matched = matched[0].as_boolean();
        for (at, saved) in rows.enumerate() {
            let row = saved.row.expect("no row of a side is gone");
            self.hold(saved.side, saved.key, saved.time, row, matched.value(at));
        }
        Ok(())
    }
}

/// Which rows of a snapshot have matched.
#[derive(Default)]
struct Matched(Vec<bool>);

impl Extra for Matched {
    type Of = bool;

    fn push(&mut self, matched: bool) {
        self.0.push(matched);
    }

    fn columns(self) -> Vec<(Field, ArrayRef)> {
        let matched = Arc::new(BooleanArray::from(self.0));
        vec![(Field::new("matched", DataType::Boolean, false), matched)]
    }
}

/// The rows of a side under a key with a time from `first` to `last`.
fn within<'a>(side: &'a Side, key: &[u8], first: i64, last: i64) -> impl Iterator<Item = &'a Held> {
    side.get(key).into_iter().flat_map(move |rows| {
        let start = rows.partition_point(|held| held.time < first);
        let rows = rows.range(start..);
        rows.take_while(move |held| held.time <= last)
    })
}

/// For which pairs the further condition holds. Each is judged alone; rows are final here, so one that
/// fails ends the run.
fn holding(residual: &Expression, pairs: &RecordBatch) -> Result<BooleanArray, CodecError> {
    let Evaluated { values, failed } = evaluate_rows(pairs, std::slice::from_ref(residual))?;
    match failed.first() {
        Some((_, why)) => Err(exec_datafusion_err!("{why}").into()),
        None => Ok(truth(&values[0])?),
    }
}

/// Some rows of columns.
fn pick(columns: &[ArrayRef], rows: &[u32]) -> Result<Vec<ArrayRef>, CodecError> {
    let rows = UInt32Array::from(rows.to_vec());
    let picked = columns.iter().map(|column| Ok(take(column, &rows, None)?));
    picked.collect()
}
