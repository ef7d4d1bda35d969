//! Casts between floats and NUMERICs, and of lists, as PostgreSQL makes them.
//!
//! * A DOUBLE becomes a NUMERIC by its first fifteen digits, a REAL by its first six; Arrow
//!   multiplies in floating point, and so makes digits up.
//! * A NUMERIC becomes the float that is nearest to it. A DOUBLE that is no REAL is an error.
//! * Of a list, the elements of the rows at hand are cast, and no others: a batch of one row still
//!   holds the elements of all the rows that it was cut from.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of pairs of types, those that Arrow casts otherwise are named"
)]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array, ListArray, StructArray,
    UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options, is_null, nullif, take};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Fields, Float32Type, Float64Type,
};
use datafusion_common::{Result, exec_datafusion_err, exec_err};
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::casts;
use super::folded::unary;
use super::marked::Unfit;
use crate::sql::types::name_of;

/// What the names of the functions start with, which nobody types; the type follows.
pub const AS: &str = "as ";
/// The same of TRY_CAST.
pub const TRY_AS: &str = "try as ";

const DOUBLE: &str = "DOUBLE PRECISION";

/// Whether a cast is made here.
pub fn is_ours(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Float32 | DataType::Float64, DataType::Decimal128(..)) => true,
        (DataType::Decimal128(..), DataType::Float32 | DataType::Float64) => true,
        (DataType::Float64, DataType::Float32) => true,
        (DataType::List(_), DataType::List(_)) => from != to,
        (DataType::Struct(fields), DataType::Struct(_)) => {
            from != to && fields.iter().any(has_list)
        }
        _ => false,
    }
}

fn has_list(field: &FieldRef) -> bool {
    match field.data_type() {
        DataType::List(_) => true,
        DataType::Struct(fields) => fields.iter().any(has_list),
        _ => false,
    }
}

/// The cast; of a constant, what it comes to.
pub fn converted(value: Expr, to: &DataType, unfit: Unfit) -> Expr {
    if let Expr::Literal(constant, _) = &value
        && let Ok(array) = constant.to_array()
        && let Ok(array) = convert(&array, to, unfit)
        && let Ok(constant) = datafusion_common::ScalarValue::try_from_array(&array, 0)
    {
        return Expr::Literal(constant, None);
    }
    let start = match unfit {
        Unfit::Error => AS,
        Unfit::Null => TRY_AS,
    };
    let function = ScalarUDF::from(Converted {
        name: format!("{start}{}", name_of(to)),
        to: to.clone(),
        unfit,
        signature: Signature::any(1, Volatility::Immutable),
    });
    function.call(vec![value])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Converted {
    name: String,
    to: DataType,
    unfit: Unfit,
    signature: Signature,
}

impl ScalarUDFImpl for Converted {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = self.unfit == Unfit::Null
            || arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(&self.name, self.to.clone(), nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        unary(&arguments, |values| convert(values, &self.to, self.unfit))
    }
}

fn convert(values: &ArrayRef, to: &DataType, unfit: Unfit) -> Result<ArrayRef> {
    use DataType as T;
    let from = values.data_type();
    Ok(match (from, to) {
        (T::Float64, &T::Decimal128(precision, scale)) => {
            let values = values.as_primitive::<Float64Type>().iter();
            let text = |value: f64| format!("{value:.14e}");
            let digits = values.map(|value| value.map(|value| (value, text)));
            numerics(digits, precision, scale, unfit)?
        }
        (T::Float32, &T::Decimal128(precision, scale)) => {
            let values = values.as_primitive::<Float32Type>().iter();
            // A REAL has fewer digits than the DOUBLE that it is written by here.
            let text = |value: f64| format!("{value:.5e}");
            let digits = values.map(|value| value.map(|value| (f64::from(value), text)));
            numerics(digits, precision, scale, unfit)?
        }
        (T::Decimal128(_, scale), T::Float64) => {
            let values = values.as_primitive::<Decimal128Type>();
            Arc::new(values.unary::<_, Float64Type>(|value| double(value, *scale)))
        }
        (T::Decimal128(_, scale), T::Float32) => {
            let values = values.as_primitive::<Decimal128Type>();
            let reals = values
                .iter()
                .map(|value| value.map(|value| real(value, *scale)));
            Arc::new(reals.collect::<Float32Array>())
        }
        (T::Float64, T::Float32) => reals(values.as_primitive(), unfit)?,
        (T::List(_), T::List(field)) => Arc::new(list(values.as_list(), field, unfit)?),
        (T::Struct(_), T::Struct(fields)) => {
            Arc::new(structure(values.as_struct(), fields, unfit)?)
        }
        _ if casts::is_fraction(from) && to.is_integer() => {
            plain(&casts::to_whole(values)?, to, unfit)?
        }
        _ if casts::has_own_text(from) && to == &T::Utf8 => casts::written(values)?,
        _ => plain(values, to, unfit)?,
    })
}

fn plain(values: &ArrayRef, to: &DataType, unfit: Unfit) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: unfit == Unfit::Null,
        ..CastOptions::default()
    };
    Ok(cast_with_options(values, to, &options)?)
}

/// The NUMERICs of floats, each with how its digits are written.
fn numerics(
    values: impl ExactSizeIterator<Item = Option<(f64, impl Fn(f64) -> String)>>,
    precision: u8,
    scale: i8,
    unfit: Unfit,
) -> Result<ArrayRef> {
    let limit = 10i128.pow(u32::from(precision));
    let mut out = Vec::with_capacity(values.len());
    for value in values {
        let Some((value, text)) = value else {
            out.push(None);
            continue;
        };
        let numeric = numeric(value, text, i32::from(scale));
        match (numeric.filter(|numeric| numeric.abs() < limit), unfit) {
            (None, Unfit::Error) => {
                let to = name_of(&DataType::Decimal128(precision, scale));
                return exec_err!("{value} does not fit into {to}");
            }
            (numeric, _) => out.push(numeric),
        }
    }
    let out = Decimal128Array::from(out).with_precision_and_scale(precision, scale)?;
    Ok(Arc::new(out))
}

fn numeric(value: f64, text: impl Fn(f64) -> String, scale: i32) -> Option<i128> {
    if !value.is_finite() {
        return None;
    }
    let text = text(value);
    let (digits, exponent) = text.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    let after = digits.split_once('.').map_or(0, |(_, after)| after.len());
    let digits: i128 = digits.replace('.', "").parse().ok()?;
    moved(digits, exponent - i32::try_from(after).ok()? + scale)
}

/// `number` times ten to the power of `by`, halves away from zero.
pub fn moved(number: i128, by: i32) -> Option<i128> {
    match u32::try_from(by) {
        Ok(by) => number.checked_mul(10i128.checked_pow(by)?),
        Err(_) => {
            let Some(unit) = 10i128.checked_pow(by.unsigned_abs()) else {
                return Some(0);
            };
            let (whole, rest) = (number / unit, (number % unit).abs());
            let up = rest >= unit - rest;
            Some(if up { whole + number.signum() } else { whole })
        }
    }
}

/// Powers of ten that are exact.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The DOUBLE that is nearest to a NUMERIC.
fn double(number: i128, scale: i8) -> f64 {
    /// Whole numbers up to here are exact.
    const EXACT: u128 = 1 << 53;
    let (mut number, mut scale) = (number, i32::from(scale));
    if number.unsigned_abs() > EXACT {
        // A quotient has sixteen digits after the point, many of them zeros.
        for step in [16u32, 8, 4, 2, 1] {
            let unit = 10i128.pow(step);
            if scale >= step.cast_signed() && number % unit == 0 {
                (number, scale) = (number / unit, scale - step.cast_signed());
            }
        }
    }
    // One division of exact numbers, which is rounded once.
    match usize::try_from(scale)
        .ok()
        .and_then(|scale| POWERS.get(scale))
    {
        Some(power) if number.unsigned_abs() <= EXACT => number as f64 / power,
        _ => {
            let text = format!("{number}e{}", -scale);
            text.parse().expect("digits and an exponent are a number")
        }
    }
}

/// The REAL that is nearest to a NUMERIC.
fn real(number: i128, scale: i8) -> f32 {
    let text = format!("{number}e{}", -i32::from(scale));
    text.parse().expect("digits and an exponent are a number")
}

fn reals(values: &Float64Array, unfit: Unfit) -> Result<ArrayRef> {
    let mut out = Vec::with_capacity(values.len());
    for value in values {
        let real = value.map(|value| value as f32);
        let fits = match (value, real) {
            (Some(value), Some(real)) => {
                let vanished = real == 0.0 && value != 0.0;
                (real.is_finite() || !value.is_finite()) && !vanished
            }
            _ => true,
        };
        match (fits, unfit) {
            (true, _) => out.push(real),
            (false, Unfit::Null) => out.push(None),
            (false, Unfit::Error) => {
                let value = value.unwrap_or_default();
                return exec_err!("{value} is out of range for REAL");
            }
        }
    }
    Ok(Arc::new(Float32Array::from(out)))
}

/// What is cast to DOUBLE, of an expression that is such a cast.
pub fn widened(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name().strip_prefix(AS) == Some(DOUBLE) => {
            call.args.first()
        }
        _ => None,
    }
}

fn list(lists: &ListArray, to: &FieldRef, unfit: Unfit) -> Result<ListArray> {
    let lists = compact(lists)?;
    let elements = convert(lists.values(), to.data_type(), unfit)?;
    let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
    Ok(ListArray::try_new(
        Arc::clone(to),
        offsets,
        elements,
        nulls,
    )?)
}

/// The same lists, with the elements that are in them and no others.
fn compact(lists: &ListArray) -> Result<ListArray> {
    let hides = (0..lists.len()).any(|row| lists.is_null(row) && lists.value_length(row) > 0);
    if hides {
        let rows = UInt64Array::from_iter_values(0..lists.len() as u64);
        return Ok(take(lists, &rows, None)?.as_list().clone());
    }
    let DataType::List(field) = lists.data_type() else {
        return exec_err!("a list was expected");
    };
    let offsets = lists.offsets();
    let (first, last) = (offsets[0], offsets[lists.len()]);
    let index = |offset: i32| usize::try_from(offset).expect("offsets are not negative");
    let elements = lists.values().slice(index(first), index(last - first));
    let moved = offsets.iter().map(|offset| offset - first).collect();
    let offsets = OffsetBuffer::new(moved);
    let (field, nulls) = (Arc::clone(field), lists.nulls().cloned());
    Ok(ListArray::try_new(field, offsets, elements, nulls)?)
}

fn structure(rows: &StructArray, to: &Fields, unfit: Unfit) -> Result<StructArray> {
    let by_name = to
        .iter()
        .all(|field| rows.column_by_name(field.name()).is_some());
    let is_missing = is_null(rows)?;
    let columns = to.iter().enumerate().map(|(at, field)| {
        let given = match by_name {
            true => rows.column_by_name(field.name()),
            false => rows.columns().get(at),
        };
        let given = given.ok_or_else(|| exec_datafusion_err!("`{}` is missing", field.name()))?;
        let given = match rows.null_count() {
            0 => Arc::clone(given),
            _ => nullif(given, &is_missing)?,
        };
        convert(&given, field.data_type(), unfit)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let (fields, nulls) = (to.clone(), rows.nulls().cloned());
    Ok(StructArray::try_new_with_length(
        fields,
        columns,
        nulls,
        rows.len(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_double(value: f64, scale: i32) -> Option<i128> {
        numeric(value, |value| format!("{value:.14e}"), scale)
    }

    #[test]
    fn a_double_becomes_a_numeric_by_its_first_fifteen_digits() {
        assert_eq!(
            of_double(1_772_357_415.5, 10),
            Some(17_723_574_155_000_000_000)
        );
        assert_eq!(of_double(1e15, 2), Some(100_000_000_000_000_000));
        assert_eq!(
            of_double(0.123_456_789_012_345_6, 16),
            Some(1_234_567_890_123_460)
        );
        assert_eq!(of_double(2.345, 2), Some(235));
        assert_eq!(of_double(-2.5, 0), Some(-3));
        assert_eq!(of_double(1e-300, 10), Some(0));
        assert_eq!(of_double(1e300, 10), None);
        assert_eq!(of_double(f64::NAN, 10), None);
    }

    #[test]
    fn a_numeric_becomes_the_nearest_double() {
        assert_eq!(
            double(10_737_418_235_000_000_000_000_000, 16),
            1_073_741_823.5
        );
        assert_eq!(double(12_345_678_901_234_567, 2), 123_456_789_012_345.67);
        assert_eq!(double(1, -15), 1e15);
        assert_eq!(double(i128::MAX, 0), i128::MAX as f64);
        assert_eq!(real(16_777_217, 0), 16_777_216.0);
    }

    #[test]
    fn a_list_is_cast_without_the_elements_of_other_rows() {
        let texts =
            |texts: &[&str]| Some(texts.iter().map(|text| Some(text.to_string())).collect());
        let rows: [Option<Vec<Option<String>>>; 3] =
            [texts(&["1"]), texts(&["x"]), texts(&["7", "8"])];
        let mut lists = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
        lists.extend(rows);
        let lists: ArrayRef = Arc::new(lists.finish());
        let to = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
        let cast = |row| convert(&lists.slice(row, 1), &to, Unfit::Error);

        assert!(cast(0).is_ok());
        assert!(cast(1).is_err());
        let last = cast(2).unwrap();
        assert_eq!(last.as_list::<i32>().values().len(), 2);
    }
}
