//! Dates, times and timestamps, into text; out of it, and intervals, as `types` has them.
//!
//! Years outside of 1 to 9999 are written with all their digits and, before year 0, with a minus
//! sign.

use std::fmt::Write;

use crate::types::interval::write_clock;

pub(super) use crate::types::interval::{read as interval, write as write_interval};
pub(super) use crate::types::moment::{date, time_of_day, timestamp, usual_timestamp};

const DAY_US: i64 = 86_400_000_000;

/// Year, month and day of a number of days since 1970.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// What stands between a date and a time, and after a time with zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `2024-05-01 10:00:00+00`
    Postgres,
    /// `2024-05-01T10:00:00Z`
    Iso,
}

/// Writes days since 1970 as a date.
pub(super) fn write_date(out: &mut String, days: i64) {
    let (year, month, day) = civil_from_days(days);
    let sign = if year < 0 { "-" } else { "" };
    write!(out, "{sign}{:04}-{month:02}-{day:02}", year.abs()).expect("a String takes all text");
}

/// Writes microseconds of a day as a time, without trailing zeros.
pub(super) fn write_time(out: &mut String, micros: i64) {
    write_clock(out, micros / 1_000_000, micros % 1_000_000 * 1_000);
}

/// Writes microseconds since 1970; `zoned` says that they are an instant, shown in UTC.
pub(super) fn write_timestamp(out: &mut String, micros: i64, zoned: bool, style: Style) {
    write_date(out, micros.div_euclid(DAY_US));
    out.push(match style {
        Style::Postgres => ' ',
        Style::Iso => 'T',
    });
    write_time(out, micros.rem_euclid(DAY_US));
    if zoned {
        out.push_str(match style {
            Style::Postgres => "+00",
            Style::Iso => "Z",
        });
    }
}

#[cfg(test)]
mod tests;
