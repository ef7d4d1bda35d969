//! `AT TIME ZONE` as PostgreSQL has it, which is `timezone(zone, time)`.
//!
//! * A TIMESTAMPTZ becomes the TIMESTAMP that clocks in the zone show at that instant.
//! * A TIMESTAMP, which such clocks show, becomes the TIMESTAMPTZ of the instant. One that is
//!   skipped when clocks go forward is read as before they did; one that comes twice when they go
//!   back is the second.
//!
//! Zones are named as in `Europe/Berlin`, or UTC. Abbreviations and offsets are refused:
//! PostgreSQL reads CET as one hour in summer too, and `+02` as west of Greenwich.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of types and values, those of times are named"
)]

use std::str::FromStr as _;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, LocalResult, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _};
use datafusion_common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion_expr::expr::Cast;
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::folded::folded;
use crate::sql::problem::{Problem, did_you_mean};

/// The name of the function.
pub const TIMEZONE: &str = "timezone";

/// The time of the table of zones ends with 2099; from then on PostgreSQL goes by rules.
const END_US: i64 = 4_102_444_800_000_000;
const START_US: i64 = -62_135_596_800_000_000;

/// `timezone(zone, time)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Timezone(Signature);

impl Default for Timezone {
    fn default() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

fn timestamp(zoned: bool) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zoned.then(|| "UTC".into()))
}

impl ScalarUDFImpl for Timezone {
    fn name(&self) -> &str {
        TIMEZONE
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [zone, time] = arguments else {
            return plan_err!("timezone takes a zone and a time");
        };
        let is_zone = matches!(
            zone,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
        );
        let time = match time {
            DataType::Timestamp(_, zone) => timestamp(zone.is_some()),
            // As in PostgreSQL, which prefers an instant where a date or a text is written.
            DataType::Date32 | DataType::Utf8 | DataType::Null => timestamp(true),
            _ => return plan_err!("AT TIME ZONE is for TIMESTAMP and TIMESTAMPTZ"),
        };
        match is_zone {
            true => Ok(vec![DataType::Utf8, time]),
            false => plan_err!("the zone of AT TIME ZONE is a text"),
        }
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [_, DataType::Timestamp(_, zone)] => Ok(timestamp(zone.is_none())),
            _ => plan_err!("AT TIME ZONE is for TIMESTAMP and TIMESTAMPTZ"),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        if let Some(Some(ScalarValue::Utf8(Some(zone)))) = arguments.scalar_arguments.first() {
            named(zone)?;
        }
        let mut types = arguments.arg_fields.iter();
        let types: Vec<DataType> = types.by_ref().map(|it| it.data_type().clone()).collect();
        let nullable = arguments.arg_fields.iter().any(|it| it.is_nullable());
        let field = arrow::datatypes::Field::new(TIMEZONE, self.return_type(&types)?, nullable);
        Ok(std::sync::Arc::new(field))
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        context: &SimplifyContext,
    ) -> Result<ExprSimplifyResult> {
        let is_utc = matches!(arguments.first(), Some(Expr::Literal(ScalarValue::Utf8(Some(zone)), _))
            if zone.eq_ignore_ascii_case("UTC"));
        match (is_utc, <[Expr; 2]>::try_from(arguments)) {
            // Nothing moves, so that what knows of a time still knows it.
            (true, Ok([_, time])) => {
                let to = self.return_type(&[DataType::Utf8, context.get_data_type(&time)?])?;
                let cast = Expr::Cast(Cast::new(Box::new(time), to));
                Ok(ExprSimplifyResult::Simplified(cast))
            }
            (false, Ok(arguments)) => Ok(ExprSimplifyResult::Original(arguments.into())),
            (_, Err(arguments)) => Ok(ExprSimplifyResult::Original(arguments)),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [zones, times] = arguments.args.as_slice() else {
            return exec_err!("timezone takes a zone and a time");
        };
        let to_local = arguments.return_field.data_type() == &timestamp(false);
        folded(&arguments, |rows| {
            let moved = match zones {
                ColumnarValue::Scalar(ScalarValue::Utf8(Some(zone))) => {
                    let zone = named(zone)?;
                    moved(&times.to_array(rows)?, to_local, |_| Ok(Some(zone)))?
                }
                zones => {
                    let zones = zones.to_array(rows)?;
                    let zones = zones.as_string::<i32>();
                    let zone = |row: usize| match zones.is_null(row) {
                        true => Ok(None),
                        false => named(zones.value(row)).map(Some),
                    };
                    moved(&times.to_array(rows)?, to_local, zone)?
                }
            };
            Ok(std::sync::Arc::new(match to_local {
                true => moved,
                false => moved.with_timezone("UTC"),
            }))
        })
    }
}

/// Each time as its zone has it.
fn moved(
    times: &ArrayRef,
    to_local: bool,
    zone: impl Fn(usize) -> Result<Option<Tz>>,
) -> Result<TimestampMicrosecondArray> {
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let rows = times.iter().enumerate();
    rows.map(|(row, time)| match (time, zone(row)?) {
        (Some(us), Some(zone)) if to_local => local(zone, us).map(Some),
        (Some(us), Some(zone)) => instant(zone, us).map(Some),
        (None, _) | (_, None) => Ok(None),
    })
    .collect()
}

fn naive(us: i64) -> Result<NaiveDateTime> {
    let time = DateTime::from_timestamp_micros(us).filter(|_| (START_US..END_US).contains(&us));
    match time {
        Some(time) => Ok(time.naive_utc()),
        None => exec_err!("AT TIME ZONE knows the years from 1 to 2099"),
    }
}

/// What clocks show at an instant.
fn local(zone: Tz, us: i64) -> Result<i64> {
    let offset = zone.offset_from_utc_datetime(&naive(us)?).fix();
    Ok(us + i64::from(offset.local_minus_utc()) * 1_000_000)
}

/// The instant at which clocks show a time.
fn instant(zone: Tz, us: i64) -> Result<i64> {
    let shown = naive(us)?;
    let offset = match zone.offset_from_local_datetime(&shown) {
        LocalResult::Single(offset) | LocalResult::Ambiguous(_, offset) => offset,
        // No zone changes its clocks twice within a day.
        LocalResult::None => {
            let before = shown.checked_sub_signed(TimeDelta::days(1));
            let before = before.ok_or_else(|| exec_datafusion_err!("timestamp out of range"))?;
            zone.offset_from_utc_datetime(&before)
        }
    };
    Ok(us - i64::from(offset.fix().local_minus_utc()) * 1_000_000)
}

/// The zone of a name.
fn named(name: &str) -> Result<Tz> {
    let is_utc = ["UTC", "GMT"]
        .iter()
        .any(|utc| name.eq_ignore_ascii_case(utc));
    if is_utc {
        return Tz::from_str("UTC").map_err(Into::into);
    }
    if name.contains('/')
        && let Ok(zone) = Tz::from_str(name)
    {
        return Ok(zone);
    }
    let hint = did_you_mean(name, COMMON.iter().copied());
    let hint = hint.unwrap_or_else(|| "write its name, such as 'Europe/Berlin', or 'UTC'".into());
    Err(Problem::of_file(format!("there is no time zone '{name}'"))
        .hint(hint)
        .into())
}

/// Zones that are likely meant.
const COMMON: [&str; 12] = [
    "America/Chicago",
    "America/Los_Angeles",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Paris",
    "Europe/Zurich",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> i64 {
        let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
        time.and_utc().timestamp_micros()
    }

    #[test]
    fn a_time_that_is_skipped_is_read_as_before_clocks_went_forward() {
        let berlin = named("Europe/Berlin").unwrap();

        let read = instant(berlin, us("2026-03-29 02:30")).unwrap();

        assert_eq!(read, us("2026-03-29 01:30"));
    }

    #[test]
    fn a_time_that_comes_twice_is_the_second() {
        let berlin = named("Europe/Berlin").unwrap();

        let read = instant(berlin, us("2026-10-25 02:30")).unwrap();

        assert_eq!(read, us("2026-10-25 01:30"));
    }

    #[test]
    fn an_offset_or_an_abbreviation_is_no_zone() {
        for name in ["+02:00", "CET", "EST5EDT", "Mars/Olympus", ""] {
            assert!(named(name).is_err(), "{name}");
        }
    }
}
