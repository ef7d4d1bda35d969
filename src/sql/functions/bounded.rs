//! Functions that make much of a little: `repeat('x', n)` with an n out of a record. DataFusion
//! makes whatever is asked for, and panics where memory or Arrow's offsets end; here the record
//! that asks for too much is rejected like any other that an expression fails on.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion_common::{Result, exec_err};
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

impl Around for Asks {
    fn invoke(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        let arrays = arguments.args.iter();
        let arrays: Vec<ArrayRef> = arrays
            .map(|argument| argument.to_array(arguments.number_rows))
            .collect::<Result<_>>()?;
        let asked = self.asked(&arrays)?;
        if asked > MOST {
            let name = function.name();
            return exec_err!("{name} is asked for {asked}, and makes {MOST} at most");
        }
        function.invoke_with_args(arguments)
    }
}
