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

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Int64Array, RecordBatch,
    UInt32Array, UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::{
    DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt32Type, UInt64Type,
};

use super::versions::{Version, Versions};
use crate::dataflow::aggregate::routes;
use crate::dataflow::changing::{Codec, CodecError, has_null};
use crate::dataflow::interval::{Held, Side, Sided};
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
                false => self.waiting.insert(
                    key,
                    Held {
                        time,
                        matched: Cell::new(false),
                        row: bytes.into(),
                    },
                ),
            }
        }
        self.say(&alone, emit)
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
        let (mut saved, mut part) = (Vec::new(), Part::default());
        let waiting = self.waiting.iter();
        let waiting = waiting.map(|(key, held)| (0, key, held.time, (0, 0), Some(&*held.row)));
        let versions = self.versions.iter().map(|(key, version)| {
            let Version { time, place, row } = version;
            (1, key, *time, *place, row.as_deref())
        });
        for (side, key, time, place, row) in waiting.chain(versions) {
            part.add(side, key, time, place, row);
            if part.times.len() == CHUNK {
                saved.push(std::mem::take(&mut part).finish()?);
            }
        }
        if !part.times.is_empty() {
            saved.push(part.finish()?);
        }
        Ok(saved)
    }

    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError> {
        let is_right = saved.column(1).as_boolean();
        let (keys, rows) = (saved.column(2), saved.column(3));
        let (keys, rows) = (keys.as_binary::<i32>(), rows.as_binary::<i32>());
        let times = saved.column(4).as_primitive::<Int64Type>();
        let partitions = saved.column(5).as_primitive::<UInt32Type>();
        let offsets = saved.column(6).as_primitive::<UInt64Type>();
        for row in 0..saved.num_rows() {
            let (key, time) = (keys.value(row), times.value(row));
            let bytes = rows.is_valid(row).then(|| rows.value(row).into());
            match is_right.value(row) {
                true => self.versions.insert(
                    key,
                    Version {
                        time,
                        place: (partitions.value(row), offsets.value(row)),
                        row: bytes,
                    },
                ),
                false => self.waiting.insert(
                    key,
                    Held {
                        time,
                        matched: Cell::new(false),
                        row: bytes.expect("only a right row may be gone"),
                    },
                ),
            }
        }
        Ok(())
    }
}

/// A batch of a snapshot in the making.
#[derive(Default)]
struct Part {
    is_right: BooleanBuilder,
    keys: BinaryBuilder,
    rows: BinaryBuilder,
    times: Vec<i64>,
    partitions: Vec<u32>,
    offsets: Vec<u64>,
}

impl Part {
    fn add(&mut self, side: usize, key: &[u8], time: i64, place: (u32, u64), row: Option<&[u8]>) {
        self.is_right.append_value(side == 1);
        self.keys.append_value(key);
        self.rows.append_option(row);
        self.times.push(time);
        self.partitions.push(place.0);
        self.offsets.push(place.1);
    }

    /// With the hash that decides who owns a row before it.
    fn finish(mut self) -> Result<RecordBatch, StateError> {
        let keys = self.keys.finish();
        let schema = Schema::new(vec![
            Field::new("hash", DataType::UInt64, false),
            Field::new("is_right", DataType::Boolean, false),
            Field::new("key", DataType::Binary, false),
            Field::new("row", DataType::Binary, true),
            Field::new("time", DataType::Int64, false),
            Field::new("partition", DataType::UInt32, false),
            Field::new("offset", DataType::UInt64, false),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(routes(&keys)),
            Arc::new(self.is_right.finish()),
            Arc::new(keys),
            Arc::new(self.rows.finish()),
            Arc::new(Int64Array::from(self.times)),
            Arc::new(UInt32Array::from(self.partitions)),
            Arc::new(UInt64Array::from(self.offsets)),
        ];
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    }
}
