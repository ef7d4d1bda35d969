//! What a column's values look like, from its type and its `fields.<column>.*` options.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array,
    IntervalMonthDayNanoArray, ListArray, StringArray, StructArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast, cast_with_options, nullif, take};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, TimeUnit};

use super::draw::{Draws, Stream, Zipf};
use crate::connector::option;
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

#[derive(Debug)]
enum Kind {
    Boolean,
    Numbers(Numbers),
    /// Numbers as text behind a prefix.
    Labels {
        prefix: String,
        numbers: Numbers,
    },
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
    List(Box<Maker>),
    Struct(Vec<Maker>),
}

/// How numbers are distributed. For all types but floats they are whole: the type's own units,
/// such as cents or microseconds.
#[derive(Debug)]
enum Numbers {
    Uniform {
        min: i64,
        max: i64,
    },
    UniformFloat {
        min: f64,
        max: f64,
    },
    Zipf {
        min: i64,
        ranks: Zipf,
    },
    Sequence {
        min: i64,
        max: i64,
    },
    Normal {
        mean: f64,
        deviation: f64,
        min: f64,
        max: f64,
    },
}

/// When row `n` happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventTimes {
    pub(super) start_us: i64,
    pub(super) rows_per_second: f64,
    pub(super) lateness_us: u64,
}

/// An option of a field that cannot be followed.
#[derive(Debug)]
pub(super) struct FieldProblem {
    /// The option's name; empty if the column's type is at fault.
    pub(super) option: String,
    pub(super) message: String,
}

/// The options of one field, as given.
struct Given<'a> {
    table: &'a Table,
    field: &'a Field,
}

impl Maker {
    /// The maker of a column of `table`, by its options.
    pub(super) fn new(
        table: &Table,
        field: &Field,
        seed: u64,
        times: EventTimes,
    ) -> Result<Self, FieldProblem> {
        let given = Given { table, field };
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
        let draws = |&row: &u64| (row, self.stream.of(row));
        let each = rows.iter().map(draws);
        match &self.kind {
            Kind::Boolean => Arc::new(
                each.map(|(_, mut draws)| Some(draws.below(2) == 1))
                    .collect::<BooleanArray>(),
            ),
            Kind::Numbers(numbers) => self.typed(numbers, each),
            Kind::Labels { prefix, numbers } => {
                let label =
                    |(row, mut draws)| format!("{prefix}{}", numbers.whole(row, &mut draws));
                Arc::new(each.map(|each| Some(label(each))).collect::<StringArray>())
            }
            Kind::Choice { values, upto } => {
                let index = |(_, mut draws): (u64, Draws)| {
                    let place = draws.unit() * upto.last().expect("a choice has values");
                    let index = upto
                        .partition_point(|&upto| upto <= place)
                        .min(upto.len() - 1);
                    u32::try_from(index).expect("an option has few values")
                };
                let indices: UInt32Array = each.map(|each| Some(index(each))).collect();
                take(values, &indices, None).expect("the indices are those of the values")
            }
            Kind::Letters { length } => Arc::new(
                each.map(|(_, mut draws)| Some(letters(&mut draws, *length)))
                    .collect::<StringArray>(),
            ),
            Kind::Uuid => Arc::new(
                each.map(|(_, mut draws)| Some(uuid(&mut draws)))
                    .collect::<StringArray>(),
            ),
            Kind::Json => {
                let json = |mut draws: Draws| {
                    format!(
                        "{{\"n\": {}, \"s\": \"{}\"}}",
                        draws.below(1000),
                        letters(&mut draws, 4)
                    )
                };
                Arc::new(
                    each.map(|(_, draws)| Some(json(draws)))
                        .collect::<StringArray>(),
                )
            }
            Kind::Bytes => Arc::new(
                each.map(|(_, mut draws)| Some(draws.bits().to_be_bytes()))
                    .collect::<BinaryArray>(),
            ),
            Kind::Interval => {
                let nanos = |mut draws: Draws| {
                    i64::try_from(draws.below(86_400)).expect("a day is short") * 1_000_000_000
                };
                let interval =
                    |draws| arrow::datatypes::IntervalMonthDayNano::new(0, 0, nanos(draws));
                Arc::new(
                    each.map(|(_, draws)| Some(interval(draws)))
                        .collect::<IntervalMonthDayNanoArray>(),
                )
            }
            Kind::EventTime(times) => {
                let micros: Int64Array = each
                    .map(|(row, mut draws)| Some(times.of(row, &mut draws)))
                    .collect();
                self.of_micros(&micros)
            }
            Kind::List(item) => self.list(item, rows),
            Kind::Struct(fields) => {
                let DataType::Struct(types) = &self.data_type else {
                    unreachable!("fields belong to a struct")
                };
                let columns = fields.iter().map(|field| field.make(rows)).collect();
                Arc::new(StructArray::new(types.clone(), columns, None))
            }
        }
    }

    /// Numbers as the column's type.
    fn typed(&self, numbers: &Numbers, each: impl Iterator<Item = (u64, Draws)>) -> ArrayRef {
        if self.data_type.is_floating() {
            let values: Float64Array = each
                .map(|(row, mut draws)| Some(numbers.float(row, &mut draws)))
                .collect();
            return cast(&values, &self.data_type).expect("floats become floats");
        }
        let whole = each.map(|(row, mut draws)| numbers.whole(row, &mut draws));
        if let DataType::Decimal128(precision, scale) = self.data_type {
            let values: Decimal128Array = whole.map(|value| Some(i128::from(value))).collect();
            let values = values.with_precision_and_scale(precision, scale);
            return Arc::new(values.expect("the type was declared, so it is one"));
        }
        let values: Int64Array = whole.map(Some).collect();
        of_units(&values, &self.data_type)
    }

    /// Times since 1970 as the column's type.
    fn of_micros(&self, micros: &Int64Array) -> ArrayRef {
        let timestamp = cast(micros, &DataType::Timestamp(TimeUnit::Microsecond, None))
            .expect("microseconds are a timestamp");
        if self.data_type.is_numeric() {
            return cast(micros, &self.data_type).expect("checked when the maker was made");
        }
        match &self.data_type {
            // Of the instant; a cast would take the time for one of the zone.
            DataType::Timestamp(_, Some(_)) => of_units(micros, &self.data_type),
            other => cast(&timestamp, other).expect("checked when the maker was made"),
        }
    }

    fn list(&self, item: &Maker, rows: &[u64]) -> ArrayRef {
        let DataType::List(field) = &self.data_type else {
            unreachable!("items belong to a list")
        };
        let lengths: Vec<usize> = rows
            .iter()
            .map(|&row| usize::try_from(self.stream.of(row).below(4)).expect("below 4"))
            .collect();
        let places: Vec<u64> = rows
            .iter()
            .zip(&lengths)
            .flat_map(|(&row, &len)| {
                (0..len as u64).map(move |at| row.wrapping_mul(4).wrapping_add(at))
            })
            .collect();
        let offsets = OffsetBuffer::from_lengths(lengths);
        Arc::new(ListArray::new(
            FieldRef::clone(field),
            offsets,
            item.make(&places),
            None::<NullBuffer>,
        ))
    }
}

/// Whole numbers as the values of which they are the units.
fn of_units(values: &Int64Array, data_type: &DataType) -> ArrayRef {
    match data_type {
        DataType::Date32 => {
            let days = cast(values, &DataType::Int32).expect("kept in range");
            cast(&days, data_type).expect("days are a date")
        }
        other => cast(values, other).expect("kept in range"),
    }
}

impl Numbers {
    fn whole(&self, row: u64, draws: &mut Draws) -> i64 {
        match self {
            Self::Uniform { min, max } => {
                let span = max.abs_diff(*min);
                let distance = if span == u64::MAX {
                    draws.bits()
                } else {
                    draws.below(span + 1)
                };
                min.wrapping_add_unsigned(distance)
            }
            Self::Zipf { min, ranks } => min.saturating_add_unsigned(ranks.draw(draws) - 1),
            Self::Sequence { min, max } => match max.abs_diff(*min) {
                u64::MAX => min.wrapping_add_unsigned(row),
                span => min.wrapping_add_unsigned(row % (span + 1)),
            },
            Self::UniformFloat { .. } | Self::Normal { .. } => {
                self.float(row, draws).round() as i64
            }
        }
    }

    fn float(&self, row: u64, draws: &mut Draws) -> f64 {
        match self {
            Self::UniformFloat { min, max } => min + draws.unit() * (max - min),
            Self::Normal {
                mean,
                deviation,
                min,
                max,
            } => (mean + deviation * draws.normal()).clamp(*min, *max),
            Self::Uniform { .. } | Self::Zipf { .. } | Self::Sequence { .. } => {
                self.whole(row, draws) as f64
            }
        }
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

/// Where a type's numbers lie if nothing is said, as they would be written.
fn default_range(data_type: &DataType) -> (String, String) {
    let range = |min: &str, max: &str| (min.to_owned(), max.to_owned());
    match data_type {
        DataType::Decimal128(precision, scale) => {
            // As much of 0 to 100 as has room before the point.
            let digits = i32::from(*precision) - i32::from(*scale);
            range(
                "0",
                if digits >= 3 {
                    "100"
                } else {
                    ["0", "9", "99"][usize::try_from(digits).unwrap_or(0)]
                },
            )
        }
        DataType::Date32 => range("2026-01-01", "2026-12-31"),
        DataType::Time64(_) => range("00:00:00", "23:59:59.999999"),
        DataType::Timestamp(..) => range("2026-01-01 00:00:00", "2026-12-31 23:59:59"),
        other if other.is_floating() => range("0", "100"),
        _ => range("0", "999"),
    }
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
        DataType::List(item) => Kind::List(Box::new(Maker::plain(
            item,
            &format!("{path}\0item"),
            seed,
            times,
        ))),
        DataType::Struct(fields) => {
            let maker = |field: &FieldRef| {
                Maker::plain(field, &format!("{path}\0{}", field.name()), seed, times)
            };
            Kind::Struct(fields.iter().map(maker).collect())
        }
        number => {
            let (min, max) = default_range(number);
            let range = units(&min, number).zip(units(&max, number));
            let (min, max) = range.expect("the defaults are values of their types");
            Kind::Numbers(uniform(min, max, number))
        }
    }
}

fn uniform(min: i64, max: i64, data_type: &DataType) -> Numbers {
    if data_type.is_floating() {
        Numbers::UniformFloat {
            min: min as f64,
            max: max as f64,
        }
    } else {
        Numbers::Uniform { min, max }
    }
}

/// A value in the units of its type; of a float, without what is behind the point.
fn units(text: &str, data_type: &DataType) -> Option<i64> {
    let value = parsed(&[text], data_type)?;
    let value: ArrayRef = match data_type {
        DataType::Decimal128(..) => {
            return i64::try_from(value.as_primitive::<Decimal128Type>().value(0)).ok();
        }
        DataType::Date32 => cast(&value, &DataType::Int32).ok()?,
        _ => value,
    };
    let whole = cast(&value, &DataType::Int64).ok()?;
    Some(whole.as_primitive::<Int64Type>().value(0))
}

/// Texts as values of a type, if they all are.
fn parsed(texts: &[&str], data_type: &DataType) -> Option<ArrayRef> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let texts = StringArray::from(texts.to_vec());
    cast_with_options(&texts, data_type, &strict)
        .ok()
        .filter(|values| values.null_count() == 0)
}

impl Given<'_> {
    fn name(&self, property: &str) -> String {
        format!("fields.{}.{property}", self.field.name())
    }

    fn text(&self, property: &str) -> Option<&str> {
        self.table.option(&self.name(property))
    }

    fn problem(&self, property: &str, message: String) -> FieldProblem {
        FieldProblem {
            option: self.name(property),
            message,
        }
    }

    fn number(&self, property: &str) -> Result<Option<f64>, FieldProblem> {
        let number = |text| {
            option::number(text)
                .ok_or_else(|| self.problem(property, format!("`{text}` is not a number")))
        };
        self.text(property).map(number).transpose()
    }

    /// What the options say, if they say anything about the distribution.
    fn kind(&self, times: EventTimes) -> Result<Option<Kind>, FieldProblem> {
        let data_type = self.field.data_type();
        let implied = if self.text("values").is_some() {
            Some("choice")
        } else if ["min", "max"]
            .iter()
            .any(|property| self.text(property).is_some())
        {
            Some("uniform")
        } else if self.text("length").is_some() {
            Some("random_text")
        } else {
            None
        };
        let Some(kind) = self.text("kind").or(implied) else {
            return Ok(None);
        };
        let fits = match kind {
            "choice" => !data_type.is_nested(),
            "random_text" => *data_type == DataType::Utf8,
            "time" => data_type.is_temporal() && !matches!(data_type, DataType::Interval(_)),
            _ => self.has_numbers(),
        };
        if !fits {
            let property = if self.text("kind").is_some() {
                "kind"
            } else {
                "min"
            };
            let message = format!("a column of type {data_type} cannot be `{kind}`");
            return Err(self.problem(property, message));
        }
        Ok(Some(match kind {
            "choice" => self.choice()?,
            "random_text" => Kind::Letters {
                length: self.number("length")?.unwrap_or(8.0) as u64,
            },
            "time" => Kind::EventTime(times),
            kind => self.numbers(kind)?,
        }))
    }

    fn has_numbers(&self) -> bool {
        let data_type = self.field.data_type();
        let interval = matches!(data_type, DataType::Interval(_));
        data_type.is_numeric()
            || *data_type == DataType::Utf8
            || data_type.is_temporal() && !interval
    }

    fn numbers(&self, kind: &str) -> Result<Kind, FieldProblem> {
        // A text is a number behind a prefix.
        let text = *self.field.data_type() == DataType::Utf8;
        let data_type = if text {
            &DataType::Int64
        } else {
            self.field.data_type()
        };
        let (default_min, default_max) = match kind {
            "sequence" if data_type.is_integer() => {
                ("0".to_owned(), largest(data_type).to_string())
            }
            _ => default_range(data_type),
        };
        let bound = |property: &str, default: String| {
            let text = self.text(property).unwrap_or(&default);
            units(text, data_type).ok_or_else(|| {
                self.problem(
                    property,
                    format!("`{text}` is not a value of type {data_type}"),
                )
            })
        };
        let (min, max) = (bound("min", default_min)?, bound("max", default_max)?);
        if min > max {
            return Err(self.problem(
                "min",
                format!("the smallest value {min} is above the largest {max}"),
            ));
        }
        let numbers = match kind {
            "zipf" => {
                let exponent = self.number("exponent")?.unwrap_or(1.0);
                Numbers::Zipf {
                    min,
                    ranks: Zipf::new(max.abs_diff(min).saturating_add(1), exponent),
                }
            }
            "sequence" => Numbers::Sequence { min, max },
            "normal" => {
                let (min, max) = (self.float("min", min)?, self.float("max", max)?);
                let scale = self.scale();
                let mean = self
                    .number("mean")?
                    .map_or(f64::midpoint(min, max), |mean| mean * scale);
                let deviation = self
                    .number("deviation")?
                    .map_or((max - min) / 6.0, |given| given * scale);
                Numbers::Normal {
                    mean,
                    deviation,
                    min,
                    max,
                }
            }
            _ if data_type.is_floating() => Numbers::UniformFloat {
                min: self.float("min", min)?,
                max: self.float("max", max)?,
            },
            _ => Numbers::Uniform { min, max },
        };
        Ok(if text {
            Kind::Labels {
                prefix: self.text("prefix").unwrap_or_default().to_owned(),
                numbers,
            }
        } else {
            Kind::Numbers(numbers)
        })
    }

    /// A bound with what is behind its point, where the type has that.
    fn float(&self, property: &str, whole: i64) -> Result<f64, FieldProblem> {
        if self.field.data_type().is_floating() {
            Ok(self.number(property)?.unwrap_or(whole as f64))
        } else {
            Ok(whole as f64)
        }
    }

    /// How many units a 1 is.
    fn scale(&self) -> f64 {
        match self.field.data_type() {
            DataType::Decimal128(_, scale) => 10_f64.powi(i32::from(*scale)),
            _ => 1.0,
        }
    }

    fn choice(&self) -> Result<Kind, FieldProblem> {
        let texts: Vec<&str> = self
            .text("values")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .collect();
        let data_type = self.field.data_type();
        let values = match data_type {
            DataType::Binary => {
                parsed(&texts, &DataType::Utf8).and_then(|text| cast(&text, data_type).ok())
            }
            _ => parsed(&texts, data_type),
        };
        let Some(values) = values else {
            let message = format!(
                "`{}` are not all values of type {data_type}",
                texts.join(",")
            );
            return Err(self.problem("values", message));
        };
        let weights: Vec<f64> = match self.text("weights") {
            None => vec![1.0; texts.len()],
            Some(weights) => {
                let weights: Option<Vec<f64>> = weights
                    .split(',')
                    .map(|w| option::number(w.trim()))
                    .collect();
                weights
                    .filter(|w| {
                        w.len() == texts.len()
                            && w.iter().all(|&w| w >= 0.0)
                            && w.iter().sum::<f64>() > 0.0
                    })
                    .ok_or_else(|| {
                        self.problem(
                            "weights",
                            format!(
                                "there must be {} numbers from 0, one per value",
                                texts.len()
                            ),
                        )
                    })?
            }
        };
        let mut sum = 0.0;
        let upto = weights
            .iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        Ok(Kind::Choice { values, upto })
    }
}

/// The largest number of an integer type.
fn largest(data_type: &DataType) -> i64 {
    match data_type {
        DataType::Int16 => i64::from(i16::MAX),
        DataType::Int32 => i64::from(i32::MAX),
        _ => i64::MAX,
    }
}
