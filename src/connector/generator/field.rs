//! Makes the values of a column, each a function of the seed, the column's name and the row.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of Arrow's types only some are columns; numbers are what is left of those"
)]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array,
    IntervalMonthDayNanoArray, ListArray, StringArray, StructArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, nullif, take};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalMonthDayNano, TimeUnit};

use super::draw::{Draws, Stream};
use super::given::{FieldProblem, Given};
use super::number::{Numbers, default_range, of_units, uniform, units};
use crate::format::{EXTENSION, JSON, UUID};
use crate::plan::Table;

/// Makes the values of one column.
#[derive(Debug)]
pub(super) struct Maker {
    stream: Stream,
    /// Decides separately which values are NULL, so that asking for some changes no others.
    null_stream: Stream,
    null_share: f64,
    kind: Kind,
    data_type: DataType,
}

/// What kind of values.
#[derive(Debug)]
pub(super) enum Kind {
    Boolean,
    Numbers(Numbers),
    /// Numbers as text behind a prefix.
    Labels {
        prefix: String,
        numbers: Numbers,
    },
    /// Each of the values up to its sum of weights.
    Choice {
        values: ArrayRef,
        upto: Vec<f64>,
    },
    Letters {
        length: u64,
    },
    Uuid,
    Json,
    Bytes,
    Interval,
    EventTime(EventTimes),
    List {
        field: FieldRef,
        item: Box<Maker>,
    },
    Struct {
        fields: Fields,
        makers: Vec<Maker>,
    },
}

/// When row `n` happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventTimes {
    pub(super) start_us: i64,
    pub(super) rows_per_second: f64,
    pub(super) lateness_us: u64,
}

impl Maker {
    /// The maker of a column of `table`, by its options.
    pub(super) fn new(
        table: &Table,
        field: &Field,
        seed: u64,
        times: EventTimes,
    ) -> Result<Self, FieldProblem> {
        let given = Given::new(table, field);
        let mut maker = Self::plain(field, field.name(), seed, times);
        maker.null_share = given.number("nulls")?.unwrap_or(0.0);
        if let Some(kind) = given.kind(times)? {
            maker.kind = kind;
        }
        Ok(maker)
    }

    /// The maker of a field that has no options.
    fn plain(field: &Field, path: &str, seed: u64, times: EventTimes) -> Self {
        Self {
            stream: Stream::new(seed, path),
            null_stream: Stream::new(seed, &format!("{path}\0null")),
            null_share: 0.0,
            kind: default_kind(field, path, seed, times),
            data_type: field.data_type().clone(),
        }
    }

    /// The values of these rows.
    pub(super) fn make(&self, rows: &[u64]) -> ArrayRef {
        let values = self.make_all(rows);
        if self.null_share == 0.0 {
            return values;
        }
        let null = |&row: &u64| self.null_stream.of(row).unit() < self.null_share;
        let nulls: BooleanArray = rows.iter().map(|row| Some(null(row))).collect();
        nullif(&values, &nulls).expect("there is one answer per value")
    }

    fn make_all(&self, rows: &[u64]) -> ArrayRef {
        match &self.kind {
            Kind::Boolean => {
                Arc::new(self.each::<_, BooleanArray>(rows, |_, draws| draws.below(2) == 1))
            }
            Kind::Numbers(numbers) => self.typed(numbers, rows),
            Kind::Labels { prefix, numbers } => self.texts(rows, |row, draws| {
                format!("{prefix}{}", numbers.whole(row, draws))
            }),
            Kind::Choice { values, upto } => {
                let indices: UInt32Array = self.each(rows, |_, draws| chosen(upto, draws));
                take(values, &indices, None).expect("the indices are those of the values")
            }
            Kind::Letters { length } => self.texts(rows, |_, draws| letters(draws, *length)),
            Kind::Uuid => self.texts(rows, |_, draws| uuid(draws)),
            Kind::Json => self.texts(rows, |_, draws| {
                format!(
                    "{{\"n\": {}, \"s\": \"{}\"}}",
                    draws.below(1000),
                    letters(draws, 4)
                )
            }),
            Kind::Bytes => {
                Arc::new(self.each::<_, BinaryArray>(rows, |_, draws| draws.bits().to_be_bytes()))
            }
            Kind::Interval => {
                Arc::new(self.each::<_, IntervalMonthDayNanoArray>(rows, |_, draws| {
                    let seconds = i64::try_from(draws.below(86_400)).expect("a day is short");
                    IntervalMonthDayNano::new(0, 0, seconds * 1_000_000_000)
                }))
            }
            Kind::EventTime(times) => {
                self.of_micros(&self.each(rows, |row, draws| times.of(row, draws)))
            }
            Kind::List { field, item } => self.list(field, item, rows),
            Kind::Struct { fields, makers } => {
                let columns = makers.iter().map(|maker| maker.make(rows)).collect();
                Arc::new(StructArray::new(fields.clone(), columns, None))
            }
        }
    }

    /// One value per row, each from its own draws.
    fn each<T, A: FromIterator<Option<T>>>(
        &self,
        rows: &[u64],
        value: impl Fn(u64, &mut Draws) -> T,
    ) -> A {
        rows.iter()
            .map(|&row| Some(value(row, &mut self.stream.of(row))))
            .collect()
    }

    fn texts(&self, rows: &[u64], text: impl Fn(u64, &mut Draws) -> String) -> ArrayRef {
        Arc::new(self.each::<_, StringArray>(rows, text))
    }

    /// Numbers as the column's type.
    fn typed(&self, numbers: &Numbers, rows: &[u64]) -> ArrayRef {
        if self.data_type.is_floating() {
            let values: Float64Array = self.each(rows, |row, draws| numbers.float(row, draws));
            return cast(&values, &self.data_type).expect("floats become floats");
        }
        let whole = |row, draws: &mut Draws| numbers.whole(row, draws);
        if let DataType::Decimal128(precision, scale) = self.data_type {
            let values: Decimal128Array =
                self.each(rows, |row, draws| i128::from(whole(row, draws)));
            let values = values.with_precision_and_scale(precision, scale);
            return Arc::new(values.expect("the type was declared, so it is one"));
        }
        of_units(&self.each(rows, whole), &self.data_type)
    }

    /// Times since 1970 as the column's type.
    fn of_micros(&self, micros: &Int64Array) -> ArrayRef {
        match &self.data_type {
            DataType::Timestamp(..) => of_units(micros, &self.data_type),
            other => {
                let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
                let timestamp = cast(micros, &timestamp).expect("microseconds are a timestamp");
                cast(&timestamp, other).expect("the other types are a part of a timestamp")
            }
        }
    }

    /// Lists of up to three items, each made as if by a row of its own.
    fn list(&self, field: &FieldRef, item: &Maker, rows: &[u64]) -> ArrayRef {
        const LENGTHS: u64 = 4;
        let mut lengths = Vec::with_capacity(rows.len());
        let mut places = Vec::new();
        for &row in rows {
            let length = self.stream.of(row).below(LENGTHS);
            lengths.push(usize::try_from(length).expect("lists are short"));
            places.extend((0..length).map(|at| row.wrapping_mul(LENGTHS).wrapping_add(at)));
        }
        let offsets = OffsetBuffer::from_lengths(lengths);
        let items = item.make(&places);
        Arc::new(ListArray::new(
            FieldRef::clone(field),
            offsets,
            items,
            None::<NullBuffer>,
        ))
    }
}

impl EventTimes {
    fn of(&self, row: u64, draws: &mut Draws) -> i64 {
        let since = (row as f64 * 1e6 / self.rows_per_second) as i64;
        let early = draws.below(self.lateness_us + 1);
        self.start_us
            .saturating_add(since)
            .saturating_sub_unsigned(early)
    }
}

/// The index of a value, by where a draw falls among the sums of weights.
fn chosen(upto: &[f64], draws: &mut Draws) -> u32 {
    let place = draws.unit() * upto.last().expect("a choice has values");
    let index = upto
        .partition_point(|&upto| upto <= place)
        .min(upto.len() - 1);
    u32::try_from(index).expect("an option has few values")
}

fn letters(draws: &mut Draws, length: u64) -> String {
    const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
    (0..length)
        .map(|_| char::from(LETTERS[usize::try_from(draws.below(26)).expect("below 26")]))
        .collect()
}

/// A random UUID, of version 4.
fn uuid(draws: &mut Draws) -> String {
    let (high, low) = (draws.bits(), draws.bits());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}

fn default_kind(field: &Field, path: &str, seed: u64, times: EventTimes) -> Kind {
    let extension = field.metadata().get(EXTENSION).map(String::as_str);
    match field.data_type() {
        DataType::Boolean => Kind::Boolean,
        DataType::Utf8 if extension == Some(UUID) => Kind::Uuid,
        DataType::Utf8 if extension == Some(JSON) => Kind::Json,
        DataType::Utf8 => Kind::Letters { length: 8 },
        DataType::Binary => Kind::Bytes,
        DataType::Interval(_) => Kind::Interval,
        DataType::Timestamp(..) => Kind::EventTime(times),
        DataType::List(field) => {
            let item = Maker::plain(field, &format!("{path}\0item"), seed, times);
            Kind::List {
                field: FieldRef::clone(field),
                item: Box::new(item),
            }
        }
        DataType::Struct(fields) => {
            let maker = |field: &FieldRef| {
                Maker::plain(field, &format!("{path}\0{}", field.name()), seed, times)
            };
            let makers = fields.iter().map(maker).collect();
            Kind::Struct {
                fields: fields.clone(),
                makers,
            }
        }
        number => {
            let (min, max) = default_range(number);
            let range = units(&min, number).zip(units(&max, number));
            let (min, max) = range.expect("the defaults are values of their types");
            Kind::Numbers(uniform(min, max, number))
        }
    }
}
