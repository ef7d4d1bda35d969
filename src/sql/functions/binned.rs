//! `date_bin` in microseconds: DataFusion counts in nanoseconds, which end in the year 2262, and
//! makes NULL of what is beyond. By months it is DataFusion's, and beyond is an error.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of types, those of times are named"
)]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, TimeUnit, TimestampMicrosecondType,
};
use datafusion_common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
};

use super::around::{Around, wrap};
use super::coerced;
use super::folded::folded;
use super::intervals::INTERVAL;

const DAY_US: i64 = 86_400_000_000;

/// `date_bin`, if `function` is it.
pub fn binned(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    (function.name() == "date_bin").then(|| wrap(function, Binned))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Binned;

impl Around for Binned {
    const TAKES: bool = true;

    fn takes(&self, function: &ScalarUDF, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [stride, time, ..] = arguments else {
            return plan_err!("date_bin takes an interval, a time and where to begin");
        };
        let is_stride = matches!(
            stride,
            DataType::Interval(_) | DataType::Duration(_) | DataType::Utf8 | DataType::Null
        );
        let zone = match time {
            DataType::Timestamp(_, zone) => zone.clone(),
            DataType::Date32 | DataType::Utf8 | DataType::Null => None,
            _ => return coerced(function, arguments),
        };
        if !is_stride || arguments.len() > 3 {
            return plan_err!("date_bin takes an interval, a time and where to begin");
        }
        let time = DataType::Timestamp(TimeUnit::Microsecond, zone);
        let mut types = vec![time; arguments.len()];
        types[0] = INTERVAL;
        Ok(types)
    }

    fn return_type(&self, _: &dyn ScalarUDFImpl, arguments: &[DataType]) -> Result<DataType> {
        match arguments.get(1) {
            Some(time) => Ok(time.clone()),
            None => plan_err!("date_bin takes a time"),
        }
    }

    fn return_field(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ReturnFieldArgs,
    ) -> Result<FieldRef> {
        let mut fields = arguments.arg_fields.iter();
        let nullable = fields.any(|field| field.is_nullable());
        let types: Vec<DataType> = arguments
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let data_type = self.return_type(function, &types)?;
        Ok(Arc::new(Field::new(function.name(), data_type, nullable)))
    }

    fn invoke(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        let [
            ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(stride)),
            rest @ ..,
        ] = arguments.args.as_slice()
        else {
            return exec_err!("the interval of date_bin is a constant");
        };
        let is_time = matches!(
            rest.first().map(ColumnarValue::data_type),
            Some(DataType::Timestamp(TimeUnit::Microsecond, _))
        );
        match stride {
            Some(stride) if stride.months == 0 && is_time => {
                let width = width(*stride)?;
                folded(&arguments, |rows| {
                    let times = rest.iter().map(|it| it.to_array(rows));
                    let times: Vec<ArrayRef> = times.collect::<Result<_>>()?;
                    Ok(Arc::new(bins(width, &times)?))
                })
            }
            _ => theirs(function, arguments, is_time),
        }
    }
}

/// What the function itself comes to.
fn theirs(
    function: &dyn ScalarUDFImpl,
    mut arguments: ScalarFunctionArgs,
    is_time: bool,
) -> Result<ColumnarValue> {
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    if let Some(origin) = arguments.args.get_mut(2)
        && is_time
    {
        *origin = origin.cast_to(&nanos, None)?;
    }
    let rows = arguments.number_rows;
    let given = arguments.args.iter().map(|it| it.to_array(rows));
    let given: Vec<ArrayRef> = given.collect::<Result<_>>()?;
    let bins = function.invoke_with_args(arguments)?;
    let array = bins.to_array(rows)?;
    let is_known = |row: &usize| given.iter().all(|it| it.is_valid(*row));
    match (0..rows).any(|row| array.is_null(row) && is_known(&row)) {
        true => exec_err!("timestamp out of range"),
        false => Ok(bins),
    }
}

fn width(stride: IntervalMonthDayNano) -> Result<i64> {
    let days = i64::from(stride.days).checked_mul(DAY_US);
    let width = days.and_then(|days| days.checked_add(stride.nanoseconds / 1000));
    match width {
        Some(width) if width > 0 => Ok(width),
        _ => exec_err!("the interval of date_bin is greater than zero"),
    }
}

/// The beginning of the bin of each time; the first of them begins at the second array's.
fn bins(width: i64, times: &[ArrayRef]) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    let typed = |array: &ArrayRef| array.as_primitive::<TimestampMicrosecondType>().clone();
    let (Some(times), origins) = (times.first().map(typed), times.get(1).map(typed)) else {
        return exec_err!("date_bin takes a time");
    };
    let beyond = || exec_datafusion_err!("timestamp out of range");
    let bin = |time: i64, origin: i64| {
        let since = time.checked_sub(origin)?;
        since
            .checked_sub(since.rem_euclid(width))?
            .checked_add(origin)
    };
    let bins = (0..times.len()).map(|row| {
        let origin = match &origins {
            Some(origins) => origins.is_valid(row).then(|| origins.value(row)),
            None => Some(0),
        };
        match origin.filter(|_| times.is_valid(row)) {
            Some(origin) => bin(times.value(row), origin).map(Some).ok_or_else(beyond),
            None => Ok(None),
        }
    });
    let bins: PrimitiveArray<TimestampMicrosecondType> = bins.collect::<Result<_>>()?;
    Ok(match times.data_type() {
        DataType::Timestamp(_, zone) => bins.with_timezone_opt(zone.clone()),
        _ => bins,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_begins_a_multiple_away_from_where_the_first_does() {
        let times = |times: Vec<i64>| -> ArrayRef {
            Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from(times))
        };

        let of = bins(10, &[times(vec![-11, -1, 0, 9, 25]), times(vec![5; 5])]).unwrap();

        assert_eq!(of.values().as_ref(), [-15, -5, -5, 5, 25]);
    }
}
