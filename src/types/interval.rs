//! Intervals out of and into text, as PostgreSQL writes them: for columns and for casts.

use std::fmt::Write;

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use arrow::datatypes::IntervalMonthDayNano;

const SECOND_NS: i64 = 1_000_000_000;

/// An interval: PostgreSQL's words (`1 year 2 mons 3 days 04:05:06.7`).
pub fn read(text: &str) -> Option<IntervalMonthDayNano> {
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    let clock = match words.last() {
        Some(last) if last.contains(':') => clock_nanos(words.pop()?)?,
        Some(_) => 0,
        None => return None,
    };
    if words.is_empty() {
        return Some(IntervalMonthDayNano::new(0, 0, clock));
    }
    // A bare number has no unit that everybody would guess the same.
    if words
        .last()
        .is_some_and(|last| last.bytes().all(|b| !b.is_ascii_alphabetic()))
    {
        return None;
    }
    let words: Vec<&str> = words
        .iter()
        .map(|word| word.trim_start_matches('+'))
        .collect();
    let named = parse_interval_month_day_nano(&words.join(" ")).ok()?;
    let nanoseconds = named.nanoseconds.checked_add(clock)?;
    Some(IntervalMonthDayNano::new(
        named.months,
        named.days,
        nanoseconds,
    ))
}

/// `[-]H:MM[:SS[.fraction]]` of any number of hours, as nanoseconds.
fn clock_nanos(text: &str) -> Option<i64> {
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let mut parts = text.split(':');
    let whole = |part: &str| -> Option<i128> {
        let valid = (1..=10).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        valid.then(|| part.parse().ok()).flatten()
    };
    let (hours, minutes) = (whole(parts.next()?)?, whole(parts.next()?)?);
    let (mut seconds, mut nanos) = (0, 0);
    if let Some(last) = parts.next() {
        let (second, fraction) = last.split_once('.').unwrap_or((last, "0"));
        seconds = whole(second)?;
        whole(fraction).filter(|_| fraction.len() <= 9)?;
        nanos = whole(&format!("{fraction:0<9}"))?;
    }
    if parts.next().is_some() || minutes > 59 || seconds > 59 {
        return None;
    }
    let total = ((hours * 60 + minutes) * 60 + seconds) * i128::from(SECOND_NS) + nanos;
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Writes an interval as PostgreSQL does: `1 year 2 mons -3 days 04:05:06`.
pub fn write(out: &mut String, interval: IntervalMonthDayNano) {
    let start = out.len();
    let (years, months) = (interval.months / 12, interval.months % 12);
    // After what is negative, what is not says so.
    let mut plus = "";
    for (count, unit) in [(years, "year"), (months, "mon"), (interval.days, "day")] {
        if count != 0 {
            let plus = std::mem::replace(&mut plus, if count < 0 { "+" } else { "" });
            let plus = if count < 0 { "" } else { plus };
            let plural = if count == 1 { "" } else { "s" };
            write!(out, "{plus}{count} {unit}{plural} ").expect("a String takes all text");
        }
    }
    let nanos = interval.nanoseconds;
    if nanos == 0 && out.len() > start {
        out.pop();
        return;
    }
    out.push_str(if nanos < 0 { "-" } else { plus });
    let (seconds, rest) = (nanos / SECOND_NS, nanos % SECOND_NS);
    write_clock(out, seconds.abs(), rest.abs());
}

/// Writes seconds and nanoseconds as a time, without trailing zeros.
pub fn write_clock(out: &mut String, seconds: i64, nanos: i64) {
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(out, "{hour:02}:{minute:02}:{second:02}").expect("a String takes all text");
    if nanos != 0 {
        let digits = format!("{nanos:09}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}
