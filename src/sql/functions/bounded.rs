//! Functions that make much of a little: `repeat('x', n)` with an n out of a record. DataFusion
//! makes whatever is asked for, and panics where memory or Arrow's offsets end; here the record
//! that asks for too much is rejected like any other that an expression fails on.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, TimeUnit};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

use super::around::{Around, listed};

/// What may be asked for: characters of a text, elements of a list. A batch of such texts stays
/// far below the two gigabytes that Arrow's offsets reach.
const MOST: i64 = 10_000;

/// How much a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asks {
    /// So often the first argument.
    Times,
    /// So much as the second argument says.
    Count,
    /// As many steps as there are from the first argument to the second.
    Steps,
}

const BOUNDED: [(&str, Asks); 7] = [
    ("repeat", Asks::Times),
    ("lpad", Asks::Count),
    ("rpad", Asks::Count),
    ("array_repeat", Asks::Count),
    ("array_resize", Asks::Count),
    ("generate_series", Asks::Steps),
    ("range", Asks::Steps),
];

/// The function with a bound, if it is one that needs it.
pub fn bounded(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    listed(&BOUNDED, function)
}

impl Asks {
    /// The highest number that a row asks for.
    fn asked(self, arguments: &[ArrayRef]) -> Result<i64> {
        let number = |at: usize| -> Result<Option<Int64Array>> {
            let Some(column) = arguments.get(at).filter(|it| it.data_type().is_integer()) else {
                return Ok(None);
            };
            let column = cast(column, &DataType::Int64)?;
            Ok(Some(column.as_primitive::<Int64Type>().clone()))
        };
        Ok(match self {
            Self::Count => number(1)?.iter().flatten().flatten().max().unwrap_or(0),
            Self::Times => {
                let texts = cast(&arguments[0], &DataType::Utf8)?;
                let texts = texts.as_string::<i32>();
                let lengths = texts.iter().map(|text| text.map_or(0, str::len));
                let times = number(1)?;
                let times = times.iter().flatten().map(|times| times.unwrap_or(0));
                let asked = lengths.zip(times).filter(|(_, times)| *times > 1);
                let asked = asked.map(|(length, times)| times.saturating_mul(length as i64));
                asked.max().unwrap_or(0)
            }
            Self::Steps if arguments[0].data_type().is_temporal() => steps_in_time(arguments)?,
            Self::Steps => {
                let (first, second, step) = (number(0)?, number(1)?, number(2)?);
                let (from, to) = match (&first, &second) {
                    (Some(from), Some(to)) => (Some(from), to),
                    (Some(to), None) => (None, to),
                    (None, _) => return Ok(0),
                };
                let steps = |row: usize| {
                    let at = |of: Option<&Int64Array>, otherwise: i64| {
                        of.map_or(otherwise, |of| of.value(row))
                    };
                    let distance = to.value(row).abs_diff(at(from, 0));
                    let steps = distance / at(step.as_ref(), 1).unsigned_abs().max(1);
                    i64::try_from(steps).unwrap_or(i64::MAX)
                };
                let rows = (0..to.len()).filter(|&row| to.is_valid(row));
                rows.map(steps).max().unwrap_or(0)
            }
        })
    }
}

/// The steps from a time to another one, at most.
fn steps_in_time(arguments: &[ArrayRef]) -> Result<i64> {
    const DAY_US: i128 = 86_400_000_000;
    let [from, to, step] = arguments else {
        return exec_err!("times are counted from one to another by an interval");
    };
    let micros = |times: &ArrayRef| -> Result<Int64Array> {
        let times = cast(times, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let times = cast(&times, &DataType::Int64)?;
        Ok(times.as_primitive::<Int64Type>().clone())
    };
    let (from, to) = (micros(from)?, micros(to)?);
    let steps = step.as_primitive::<IntervalMonthDayNanoType>();
    let mut most = 0;
    for ((from, to), step) in from.iter().zip(&to).zip(steps) {
        let (Some(from), Some(to), Some(step)) = (from, to, step) else {
            continue;
        };
        let parts = [
            i128::from(step.months) * 28 * DAY_US,
            i128::from(step.days) * DAY_US,
            i128::from(step.nanoseconds) / 1000,
        ];
        let is_mixed = parts.iter().any(|part| *part < 0) && parts.iter().any(|part| *part > 0);
        if is_mixed {
            return exec_err!("an interval of steps goes either forwards or backwards");
        }
        let (distance, length) = (
            i128::from(to) - i128::from(from),
            parts.iter().sum::<i128>(),
        );
        if distance.signum() == length.signum() || length == 0 {
            let steps = distance.abs() / length.abs().max(1);
            most = most.max(i64::try_from(steps).unwrap_or(i64::MAX));
        }
    }
    Ok(most)
}

/// Less than nothing is nothing: DataFusion would take it for a very large number.
fn not_negative(count: &ColumnarValue) -> Result<ColumnarValue> {
    let counts = count.to_array(1)?;
    if !counts.data_type().is_integer() {
        return Ok(count.clone());
    }
    let whole = cast(&counts, &DataType::Int64)?;
    let whole = whole.as_primitive::<Int64Type>();
    if !whole.iter().flatten().any(|count| count < 0) {
        return Ok(count.clone());
    }
    let whole: Int64Array = whole.unary(|count| count.max(0));
    let counts = cast(&whole, counts.data_type())?;
    Ok(match count {
        ColumnarValue::Array(_) => ColumnarValue::Array(counts),
        ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&counts, 0)?),
    })
}

impl Around for Asks {
    fn invoke(
        &self,
        function: &dyn ScalarUDFImpl,
        mut arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        // Constants are computed of no rows too.
        let is_constant = |argument: &ColumnarValue| matches!(argument, ColumnarValue::Scalar(_));
        let rows = match arguments.args.iter().all(is_constant) {
            true => 1,
            false => arguments.number_rows,
        };
        let arrays = arguments.args.iter();
        let arrays: Vec<ArrayRef> = arrays
            .map(|argument| argument.to_array(rows))
            .collect::<Result<_>>()?;
        let asked = self.asked(&arrays)?;
        if asked > MOST {
            let name = function.name();
            return exec_err!("{name} is asked for {asked}, and makes {MOST} at most");
        }
        if let (Self::Count, [_, count, ..]) = (self, arguments.args.as_mut_slice()) {
            *count = not_negative(count)?;
        }
        function.invoke_with_args(arguments)
    }
}
