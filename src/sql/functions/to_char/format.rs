//! The patterns of PostgreSQL's `to_char`, read once and written for each time.

use std::fmt::Write as _;

use chrono::{Datelike as _, NaiveDateTime, Timelike as _};
use datafusion_common::Result;

use crate::sql::problem::Problem;

/// A time, and whether it is an instant, whose zone has a name.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    pub at: NaiveDateTime,
    pub zoned: bool,
}

/// The letters of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Upper,
    Title,
    Lower,
}

/// What is written for a pattern.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// A number of at least so many digits.
    Number(fn(NaiveDateTime) -> i64, usize),
    /// A name, or so many first letters of it.
    Month(Case, Option<usize>),
    Day(Case, Option<usize>),
    /// Before and after noon, with points or without.
    Noon(Case, bool),
    /// So many digits of the second's fraction.
    Fraction(usize),
    /// The year with a comma after the thousands.
    Thousands,
    Zone(Case),
    /// What is always the same, because times are in UTC.
    Fixed(&'static str),
}

/// Where a pattern may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Any,
    /// Not of a TIME, which has no date.
    Dates,
}

use Case::{Lower, Title, Upper};
use Part::{Day, Fixed, Fraction, Month, Noon, Number, Thousands, Zone};

/// The patterns in capitals, longer ones before those that they start with. Those whose case says
/// nothing may be written in small letters.
const PATTERNS: &[(&str, For, Part)] = &[
    ("Y,YYY", For::Dates, Thousands),
    ("YYYY", For::Dates, Number(|at| at.year().into(), 4)),
    ("YYY", For::Dates, Number(|at| (at.year() % 1000).into(), 3)),
    ("YY", For::Dates, Number(|at| (at.year() % 100).into(), 2)),
    ("Y", For::Dates, Number(|at| (at.year() % 10).into(), 1)),
    (
        "IYYY",
        For::Dates,
        Number(|at| at.iso_week().year().into(), 4),
    ),
    (
        "IYY",
        For::Dates,
        Number(|at| (at.iso_week().year() % 1000).into(), 3),
    ),
    (
        "IY",
        For::Dates,
        Number(|at| (at.iso_week().year() % 100).into(), 2),
    ),
    (
        "IW",
        For::Dates,
        Number(|at| at.iso_week().week().into(), 2),
    ),
    (
        "ID",
        For::Dates,
        Number(|at| at.weekday().number_from_monday().into(), 1),
    ),
    (
        "I",
        For::Dates,
        Number(|at| (at.iso_week().year() % 10).into(), 1),
    ),
    (
        "CC",
        For::Dates,
        Number(|at| ((at.year() + 99) / 100).into(), 2),
    ),
    ("Q", For::Dates, Number(|at| at.quarter().into(), 1)),
    ("MM", For::Dates, Number(|at| at.month().into(), 2)),
    (
        "WW",
        For::Dates,
        Number(|at| (at.ordinal0() / 7 + 1).into(), 2),
    ),
    ("W", For::Dates, Number(|at| (at.day0() / 7 + 1).into(), 1)),
    ("DDD", For::Dates, Number(|at| at.ordinal().into(), 3)),
    ("DD", For::Dates, Number(|at| at.day().into(), 2)),
    (
        "J",
        For::Dates,
        Number(|at| (at.num_days_from_ce() + 1_721_425).into(), 1),
    ),
    ("HH24", For::Any, Number(|at| at.hour().into(), 2)),
    ("HH12", For::Any, Number(|at| at.hour12().1.into(), 2)),
    ("HH", For::Any, Number(|at| at.hour12().1.into(), 2)),
    ("MI", For::Any, Number(|at| at.minute().into(), 2)),
    (
        "SSSSS",
        For::Any,
        Number(|at| at.num_seconds_from_midnight().into(), 1),
    ),
    (
        "SSSS",
        For::Any,
        Number(|at| at.num_seconds_from_midnight().into(), 1),
    ),
    ("SS", For::Any, Number(|at| at.second().into(), 2)),
    ("MS", For::Any, Fraction(3)),
    ("US", For::Any, Fraction(6)),
    ("FF1", For::Any, Fraction(1)),
    ("FF2", For::Any, Fraction(2)),
    ("FF3", For::Any, Fraction(3)),
    ("FF4", For::Any, Fraction(4)),
    ("FF5", For::Any, Fraction(5)),
    ("FF6", For::Any, Fraction(6)),
    ("TZH", For::Dates, Fixed("+00")),
    ("TZM", For::Dates, Fixed("00")),
    ("OF", For::Dates, Fixed("+00")),
];

/// The patterns that write letters, in the case that they are written in.
const NAMES: &[(&str, For, Part)] = &[
    ("MONTH", For::Dates, Month(Upper, None)),
    ("Month", For::Dates, Month(Title, None)),
    ("month", For::Dates, Month(Lower, None)),
    ("MON", For::Dates, Month(Upper, Some(3))),
    ("Mon", For::Dates, Month(Title, Some(3))),
    ("mon", For::Dates, Month(Lower, Some(3))),
    ("DAY", For::Dates, Day(Upper, None)),
    ("Day", For::Dates, Day(Title, None)),
    ("day", For::Dates, Day(Lower, None)),
    ("DY", For::Dates, Day(Upper, Some(3))),
    ("Dy", For::Dates, Day(Title, Some(3))),
    ("dy", For::Dates, Day(Lower, Some(3))),
    ("AM", For::Any, Noon(Upper, false)),
    ("PM", For::Any, Noon(Upper, false)),
    ("am", For::Any, Noon(Lower, false)),
    ("pm", For::Any, Noon(Lower, false)),
    ("A.M.", For::Any, Noon(Upper, true)),
    ("P.M.", For::Any, Noon(Upper, true)),
    ("a.m.", For::Any, Noon(Lower, true)),
    ("p.m.", For::Any, Noon(Lower, true)),
];

/// After `TZH` and `TZM`, which start with them.
const ZONES: &[(&str, For, Part)] = &[
    ("TZ", For::Dates, Zone(Upper)),
    ("tz", For::Dates, Zone(Lower)),
    (
        "D",
        For::Dates,
        Number(|at| at.weekday().number_from_sunday().into(), 1),
    ),
];

/// A piece of a format.
#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Part {
        part: Part,
        /// `FM`: without blanks and zeros that only fill.
        bare: bool,
        /// `TH`: 1ST, 2ND.
        ordinal: Option<Case>,
    },
}

/// A format that was understood.
#[derive(Clone, Debug, Default)]
pub struct Format(Vec<Piece>);

impl Format {
    pub fn read(format: &str, is_clock: bool) -> Result<Self> {
        let (mut pieces, mut rest) = (Vec::new(), format);
        while !rest.is_empty() {
            let after = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm"));
            let bare = after.is_some();
            rest = after.unwrap_or(rest);
            if let Some((part, place, length)) = pattern(rest) {
                if is_clock && place == For::Dates {
                    return refuse(rest, "a TIME has no date: write HH24:MI:SS");
                }
                rest = &rest[length..];
                let ordinal = ordinal(&mut rest, part)?;
                pieces.push(Piece::Part {
                    part,
                    bare,
                    ordinal,
                });
            } else {
                let (text, length) = literal(rest)?;
                pieces.push(Piece::Text(text));
                rest = &rest[length..];
            }
        }
        Ok(Self(pieces))
    }

    pub fn write(&self, time: Time, out: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Part {
                    part,
                    bare,
                    ordinal,
                } => {
                    let start = out.len();
                    write(*part, *bare, time, out);
                    if let Some(case) = ordinal {
                        let suffix = suffix(&out[start..]);
                        push(out, suffix, *case);
                    }
                }
            }
        }
    }
}

/// The pattern that a format starts with, and its length.
fn pattern(format: &str) -> Option<(Part, For, usize)> {
    let exact = |known: &&(&str, For, Part)| format.starts_with(known.0);
    let either = |known: &&(&str, For, Part)| {
        format.starts_with(known.0) || format.starts_with(&known.0.to_lowercase())
    };
    let names = NAMES.iter().find(exact);
    let found = names.or_else(|| PATTERNS.iter().find(either));
    let found = found.or_else(|| ZONES.iter().find(exact));
    let found = found.or_else(|| ZONES.iter().find(either));
    found.map(|(name, place, part)| (*part, *place, name.len()))
}

/// `TH` behind a number, which is taken off `rest`.
fn ordinal(rest: &mut &str, part: Part) -> Result<Option<Case>> {
    let is_number = matches!(part, Number(..) | Thousands | Fraction(_));
    let case = match (rest.get(..2), is_number) {
        (Some("TH"), true) => Upper,
        (Some("th"), true) => Lower,
        _ => return Ok(None),
    };
    let after = &rest[2..];
    if after.starts_with(['H', 'h']) {
        // PostgreSQL writes `01STH24` for DDTHH24, which nobody wants.
        return refuse(
            rest,
            "write text in double quotes: YYYY-MM-DD\"T\"HH24:MI:SS",
        );
    }
    *rest = after;
    Ok(Some(case))
}

/// Text that stands for itself, and how long it is in the format.
fn literal(format: &str) -> Result<(String, usize)> {
    if let Some(quoted) = format.strip_prefix('"') {
        let (mut text, mut escaped) = (String::new(), false);
        for (at, c) in quoted.char_indices() {
            match (c, escaped) {
                ('"', false) => return Ok((text, at + 2)),
                ('\\', false) => escaped = true,
                (c, _) => {
                    text.push(c);
                    escaped = false;
                }
            }
        }
        return Ok((text, format.len()));
    }
    let first = format.chars().next().unwrap_or_default();
    if let Some(quote) = format.strip_prefix("\\\"") {
        return Ok(("\"".to_owned(), format.len() - quote.len()));
    }
    match first.is_alphabetic() && !matches!(first, 'T' | 'Z') {
        true => refuse(format, "write YYYY-MM-DD HH24:MI:SS, or %Y-%m-%d %H:%M:%S"),
        false => Ok((first.to_string(), first.len_utf8())),
    }
}

fn refuse<T>(rest: &str, hint: &str) -> Result<T> {
    let message = format!("`{rest}` is no part of a date format");
    Err(Problem::of_file(message).hint(hint).into())
}

fn write(part: Part, bare: bool, time: Time, out: &mut String) {
    const TEXT: &str = "strings take text";
    let at = time.at;
    let width = |width: usize| if bare { 0 } else { width };
    match part {
        Number(number, digits) => {
            write!(out, "{:01$}", number(at), width(digits)).expect(TEXT);
        }
        Thousands => write!(out, "{},{:03}", at.year() / 1000, at.year() % 1000).expect(TEXT),
        Fraction(digits) => {
            let micros = format!("{:06}", at.nanosecond() / 1000);
            let shown = &micros[..digits];
            out.push_str(if bare { unpadded(shown) } else { shown });
        }
        Month(case, letters) => name(out, MONTHS[at.month0() as usize], case, letters, bare),
        Day(case, letters) => {
            let day = at.weekday().num_days_from_monday() as usize;
            name(out, DAYS[day], case, letters, bare);
        }
        Noon(case, points) => {
            let text = match (at.hour() < 12, points) {
                (true, false) => "AM",
                (false, false) => "PM",
                (true, true) => "A.M.",
                (false, true) => "P.M.",
            };
            push(out, text, case);
        }
        Zone(case) if time.zoned => push(out, "UTC", case),
        Zone(_) => {}
        Fixed(text) => out.push_str(text),
    }
}

/// A number without the zeros in front.
fn unpadded(digits: &str) -> &str {
    match digits.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    }
}

fn name(out: &mut String, name: &str, case: Case, letters: Option<usize>, bare: bool) {
    let shown = &name[..letters.unwrap_or(name.len())];
    push(out, shown, case);
    if letters.is_none() && !bare {
        let blanks = LONGEST - shown.len();
        out.extend(std::iter::repeat_n(' ', blanks));
    }
}

fn push(out: &mut String, text: &str, case: Case) {
    match case {
        Upper => out.push_str(&text.to_uppercase()),
        Title => out.push_str(text),
        Lower => out.push_str(&text.to_lowercase()),
    }
}

/// How a number ends as an ordinal.
fn suffix(number: &str) -> &'static str {
    let teens = number.len() > 1 && number[..number.len() - 1].ends_with('1');
    match number.as_bytes().last() {
        Some(b'1') if !teens => "ST",
        Some(b'2') if !teens => "ND",
        Some(b'3') if !teens => "RD",
        _ => "TH",
    }
}

/// The letters of the longest names, September and Wednesday.
const LONGEST: usize = 9;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: &str) -> String {
        let at = NaiveDateTime::parse_from_str("2026-03-01 09:30:15.5", "%Y-%m-%d %H:%M:%S%.f");
        let time = Time {
            at: at.unwrap(),
            zoned: true,
        };
        let mut out = String::new();
        Format::read(format, false).unwrap().write(time, &mut out);
        out
    }

    #[test]
    fn names_have_the_case_of_their_pattern_and_nine_letters() {
        assert_eq!(shown("MONTH|Mon|dy"), "MARCH    |Mar|sun");
        assert_eq!(shown("FMDay, FMDDth FMMonth"), "Sunday, 1st March");
    }

    #[test]
    fn text_stands_in_double_quotes() {
        assert_eq!(shown("\"at\" hh24:mi:ss.ms"), "at 09:30:15.500");
    }

    #[test]
    fn what_nobody_can_mean_is_refused() {
        for format in ["YYYY-NN", "DDTHH24", "hello"] {
            assert!(Format::read(format, false).is_err(), "{format}");
        }
        assert!(Format::read("YYYY", true).is_err());
    }
}
