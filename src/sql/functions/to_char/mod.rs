//! `to_char(time, format)` with PostgreSQL's patterns: `to_char(at, 'FMMonth DD, YYYY')`.
//!
//! A format that has a `%` is chrono's, as DataFusion takes it. Of the others every part is known or
//! refused; text stands in double quotes. Names of months and days are in English, padded to nine
//! letters unless `FM` stands before them, and in the case that the pattern is written in.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of types and values, those of times are named"
)]

mod format;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{
    DataType, Field, FieldRef, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use chrono::DateTime;
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::sql::functions::folded::folded;
use crate::sql::problem::Problem;

use format::{Format, Time};

/// The name of the function.
const TO_CHAR: &str = "to_char";

/// The function, around DataFusion's.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ToChar {
    chronos: Arc<ScalarUDF>,
    signature: Signature,
}

impl ToChar {
    /// The function, if `chronos` is the one that it is made around.
    pub fn around(chronos: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
        (chronos.name() == TO_CHAR).then(|| {
            Arc::new(ScalarUDF::from(Self {
                chronos: Arc::clone(chronos),
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
    }
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        TO_CHAR
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let time = match arguments {
            [DataType::Timestamp(_, zone), _] => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            // As in PostgreSQL, where a date is an instant for this.
            [DataType::Date32 | DataType::Null, _] => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            [DataType::Time32(_) | DataType::Time64(_), _] => {
                DataType::Time64(TimeUnit::Microsecond)
            }
            [other, _] => {
                let name = crate::sql::types::name_of(other);
                let hint = match other.is_numeric() {
                    true => "to_char is for times; of a number, write CAST(round(x, 2) AS TEXT)",
                    false => "to_char is for DATE, TIME, TIMESTAMP and TIMESTAMPTZ",
                };
                let problem = Problem::of_file(format!("there is no to_char({name}, TEXT)"));
                return Err(problem.hint(hint).into());
            }
            _ => return plan_err!("to_char takes a time and a format"),
        };
        Ok(vec![time, DataType::Utf8])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        if let [_, Some(ScalarValue::Utf8(Some(format)))] = arguments.scalar_arguments
            && !format.contains('%')
        {
            let is_clock = matches!(arguments.arg_fields[0].data_type(), DataType::Time64(_));
            Format::read(format, is_clock)?;
        }
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(TO_CHAR, DataType::Utf8, nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [times, formats] = arguments.args.as_slice() else {
            return exec_err!("to_char takes a time and a format");
        };
        if let ColumnarValue::Scalar(ScalarValue::Utf8(Some(format))) = formats
            && format.contains('%')
        {
            return self.chronos.invoke_with_args(arguments);
        }
        folded(&arguments, |rows| {
            let times = times.to_array(rows)?;
            let is_clock = matches!(times.data_type(), DataType::Time64(_));
            if let ColumnarValue::Scalar(ScalarValue::Utf8(Some(format))) = formats {
                let format = Format::read(format, is_clock)?;
                return written(&times, |_, time, out| {
                    format.write(time, out);
                    Ok(true)
                });
            }
            let formats = formats.to_array(rows)?;
            let formats = formats.as_string::<i32>();
            written(&times, |row, time, out| {
                let is_there = formats.is_valid(row);
                if is_there {
                    Format::read(formats.value(row), is_clock)?.write(time, out);
                }
                Ok(is_there)
            })
        })
    }
}

/// The text of each time; `write` says whether there is one.
fn written(
    times: &ArrayRef,
    write: impl Fn(usize, Time, &mut String) -> Result<bool>,
) -> Result<ArrayRef> {
    let zoned = matches!(times.data_type(), DataType::Timestamp(_, Some(_)));
    let micros: Box<dyn Iterator<Item = Option<i64>>> = match times.data_type() {
        DataType::Time64(_) => Box::new(times.as_primitive::<Time64MicrosecondType>().iter()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Box::new(times.as_primitive::<TimestampMicrosecondType>().iter())
        }
        other => return exec_err!("to_char of {other}"),
    };
    let (mut out, mut text) = (StringBuilder::new(), String::new());
    for (row, us) in micros.enumerate() {
        let Some(us) = us else {
            out.append_null();
            continue;
        };
        let Some(at) = DateTime::from_timestamp_micros(us) else {
            return exec_err!("timestamp out of range");
        };
        let at = at.naive_utc();
        text.clear();
        match write(row, Time { at, zoned }, &mut text)? {
            true => out.append_value(&text),
            false => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}
