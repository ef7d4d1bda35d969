//! The join itself: knows rows and times, and nothing of timely.
//!
//! No right row to come is further behind the watermark `W` than the right side promised, `b`. So
//! a left row at `t` has met all that it may be joined with when `t < W - b` (`t <= W - b` where
//! the right row must be older). It comes out in the very epoch in which that becomes so:
//! neither what comes out nor when hangs on anything but the input and its watermarks.
//!
//! A right row is needed until every left row that waits or is to come sees a newer one of its
//! key. Those are at `W - max(a, b)` or after, where `a` is what the left side promised. A right row
//! that says that there is none is needed while one of its own time may come, which it would hide.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{
    DataType, Field, SchemaRef, TimestampMicrosecondType, UInt32Type, UInt64Type,
};

use super::versions::{Version, Versions};
use crate::dataflow::changing::{Codec, CodecError, has_null};
use crate::dataflow::sided::{Extra, Held, Same, Saving, Side, Sided, saved_rows};
use crate::dataflow::state::{StateError, Stateful};
use crate::plan::{Asof, JoinKind};
use crate::types::{Watermark, batch};

/// What an operator needs to know of a join besides its inputs.
pub struct AsofPlan {
    /// Whether left rows without a match come out.
    pub kind: JoinKind,
    /// By which times.
    pub asof: Asof,
    /// Whether two further columns of the right say where its rows stand in the input.
    pub located: bool,
    /// What comes out.
    pub output: SchemaRef,
}

/// The left rows that wait, and the right rows that they may be joined with.
pub struct AsofJoin {
    plan: AsofPlan,
    codecs: [Arc<Codec>; 2],
    waiting: Side,
    versions: Versions,
}

/// How many rows make one batch.
const CHUNK: usize = 8192;

/// A left row, and the right row that it is joined with.
type Pair = (Box<[u8]>, Option<Box<[u8]>>);

impl AsofJoin {
    /// A join of nothing yet; the codecs make keys and bytes of the rows of each side.
    pub fn new(plan: AsofPlan, codecs: [Arc<Codec>; 2]) -> Self {
        Self {
            plan,
            codecs,
            waiting: Side::default(),
            versions: Versions::default(),
        }
    }

    /// Whether a right row at `right` holds at `left`.
    fn holds(&self, right: i64, left: i64) -> bool {
        match self.plan.asof.older {
            true => right < left,
            false => right <= left,
        }
    }

    fn update_left(
        &mut self,
        rows: &RecordBatch,
        times: &[i64],
        emit: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        let encoded = self.codecs[0].encode(rows)?;
        let mut alone = Vec::new();
        for (row, &time) in times.iter().enumerate() {
            let (key, bytes) = (encoded.keys.value(row), encoded.rows.value(row));
            match has_null(key) {
                // It matches nothing, now or later.
                true => alone.push((Box::from(bytes), None)),
                false => self.wait(key, Held::new(time, bytes)),
            }
        }
        self.say(&alone, emit)
    }

    fn wait(&mut self, key: &[u8], left: Held) {
        self.waiting.insert(key, left, |_, _| Same::Beside);
    }

    fn update_right(&mut self, rows: &RecordBatch, times: &[i64]) -> Result<(), CodecError> {
        let encoded = self.codecs[1].encode(rows)?;
        let width = self.codecs[1].schema().fields().len();
        let places = self.plan.located.then(|| {
            (
                rows.column(width).as_primitive::<UInt32Type>(),
                rows.column(width + 1).as_primitive::<UInt64Type>(),
            )
        });
        let gone = self
            .plan
            .asof
            .gone
            .map(|gone| rows.column(gone).as_boolean());
        for (row, &time) in times.iter().enumerate() {
            let key = encoded.keys.value(row);
            if has_null(key) {
                continue;
            }
            let place = places.map_or((0, 0), |(partitions, offsets)| {
                (partitions.value(row), offsets.value(row))
            });
            let is_gone = gone.is_some_and(|gone| gone.is_valid(row) && gone.value(row));
            let version = Version {
                time,
                place,
                row: (!is_gone).then(|| encoded.rows.value(row).into()),
            };
            self.versions.insert(key, version);
        }
        Ok(())
    }

    /// Says pairs, as far as the kind of join shows them.
    fn say(&self, pairs: &[Pair], emit: &mut dyn FnMut(RecordBatch)) -> Result<(), CodecError> {
        let shown: Vec<&Pair> = match self.plan.kind {
            JoinKind::Left => pairs.iter().collect(),
            JoinKind::Inner => pairs.iter().filter(|(_, right)| right.is_some()).collect(),
        };
        for pairs in shown.chunks(CHUNK) {
            let mut columns = self.codecs[0].decode(pairs.iter().map(|(left, _)| &**left))?;
            let found = pairs.iter().filter_map(|(_, right)| right.as_deref());
            let mut count = 0;
            let places: UInt32Array = pairs
                .iter()
                .map(|(_, right)| {
                    right.as_ref()?;
                    count += 1;
                    Some(count - 1)
                })
                .collect();
            for column in self.codecs[1].decode(found)? {
                columns.push(take(&column, &places, None)?);
            }
            emit(batch(Arc::clone(&self.plan.output), columns, pairs.len())?);
        }
        Ok(())
    }
}

impl Sided for AsofJoin {
    fn update(
        &mut self,
        side: usize,
        rows: &RecordBatch,
        emit: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        let times = rows.column(self.plan.asof.times[side]);
        let times = times.as_primitive::<TimestampMicrosecondType>().values();
        match side {
            0 => self.update_left(rows, times, emit),
            _ => self.update_right(rows, times),
        }
    }

    fn close(
        &mut self,
        watermark: Watermark,
        emit: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        if watermark.is_start() {
            return Ok(());
        }
        let (ended, older) = (watermark == Watermark::END, self.plan.asof.older);
        let behind = |us: i64| watermark.micros().saturating_sub(us);
        let complete = behind(self.plan.asof.behind_us[1]);
        let is_over = |time| ended || time < complete || (older && time == complete);
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut pairs: Vec<Pair> = Vec::new();
        waiting.let_go(is_over, |key, held| {
            let newest = self
                .versions
                .newest(key, |right| self.holds(right, held.time));
            pairs.push((held.row, newest.and_then(|version| version.row.clone())));
        });
        self.waiting = waiting;
        self.say(&pairs, emit)?;
        if ended {
            self.versions.clear();
            return Ok(());
        }
        let asked = behind(self.plan.asof.lag_us());
        let is_past = |time| time < asked;
        let is_seen = |time| is_past(time) || (!older && time == asked);
        self.versions.forget(is_seen, is_past);
        Ok(())
    }
}

impl Stateful for AsofJoin {
    fn rows(&self) -> usize {
        self.waiting.len() + self.versions.len()
    }

    fn bytes(&self) -> usize {
        self.waiting.bytes() + self.versions.bytes()
    }

    fn save(&self) -> Result<Vec<RecordBatch>, StateError> {
        let mut saving = Saving::<Places>::default();
        for (key, held) in self.waiting.iter() {
            saving.add(0, key, held.time, Some(&held.row), (0, 0))?;
        }
        for (key, Version { time, place, row }) in self.versions.iter() {
            saving.add(1, key, *time, row.as_deref(), *place)?;
        }
        saving.finish()
    }

    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError> {
        let (rows, places) = saved_rows(saved);
        let partitions = places[0].as_primitive::<UInt32Type>().values();
        let offsets = places[1].as_primitive::<UInt64Type>().values();
        for (at, saved) in rows.enumerate() {
            let (key, time) = (saved.key, saved.time);
            if saved.side == 0 {
                let row = saved.row.expect("only a right row may be gone");
                self.wait(key, Held::new(time, row));
                continue;
            }
            let version = Version {
                time,
                place: (partitions[at], offsets[at]),
                row: saved.row.map(Into::into),
            };
            self.versions.insert(key, version);
        }
        Ok(())
    }
}

/// Where the right rows of a snapshot stand.
#[derive(Default)]
struct Places(Vec<u32>, Vec<u64>);

impl Extra for Places {
    type Of = (u32, u64);

    fn push(&mut self, (partition, offset): (u32, u64)) {
        self.0.push(partition);
        self.1.push(offset);
    }

    fn columns(self) -> Vec<(Field, ArrayRef)> {
        vec![
            (
                Field::new("partition", DataType::UInt32, false),
                Arc::new(UInt32Array::from(self.0)),
            ),
            (
                Field::new("offset", DataType::UInt64, false),
                Arc::new(UInt64Array::from(self.1)),
            ),
        ]
    }
}
