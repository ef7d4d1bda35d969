//! What an option of a connector is, and what its values mean.

use std::time::Duration;

/// One option of a connector.
#[derive(Clone, Copy, Debug)]
pub struct ConnectorOption {
    /// The name in `WITH`. A `*` stands for a column's name, or at the end for anything.
    pub name: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// What holds when it is not given.
    pub default: Absent,
    /// Where it may be given.
    pub side: Side,
    /// What values it takes.
    pub kind: ValueKind,
}

impl ConnectorOption {
    /// An option of a source that means `default` when it is not given.
    pub(super) const fn source(
        name: &'static str,
        help: &'static str,
        default: &'static str,
        kind: ValueKind,
    ) -> Self {
        Self {
            name,
            help,
            default: Absent::Means(default),
            side: Side::Source,
            kind,
        }
    }
}

/// What holds when an option is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It has to be given.
    Required,
    /// This, in words.
    Means(&'static str),
}

/// On which side of a pipeline an option has a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Reading only.
    Source,
    /// Writing only.
    Sink,
    /// Both.
    Both,
}

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text but the empty one.
    Text,
    /// A whole number from 0.
    Count,
    /// A whole number from 1.
    Positive,
    /// A number above 0.
    Rate,
    /// A number.
    Number,
    /// A number from 0 to 1.
    Share,
    /// A length of time: `500ms`, `10s`, `5 minutes`.
    Length,
    /// A date, or a date and a time, in UTC.
    Timestamp,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

impl ValueKind {
    /// What a value that is none should have been; `None` if `text` is one.
    pub(super) fn mismatch(self, text: &str) -> Option<String> {
        let fits = match self {
            Self::Text => !text.is_empty(),
            Self::Count => count(text).is_some(),
            Self::Positive => count(text).is_some_and(|count| count > 0),
            Self::Rate => number(text).is_some_and(|rate| rate > 0.0),
            Self::Number => number(text).is_some(),
            Self::Share => number(text).is_some_and(|share| (0.0..=1.0).contains(&share)),
            Self::Length => length(text).is_some(),
            Self::Timestamp => timestamp(text).is_some(),
            Self::OneOf(words) => words.contains(&text),
        };
        (!fits).then(|| self.expected())
    }

    fn expected(self) -> String {
        match self {
            Self::Text => "not empty".to_owned(),
            Self::Count => "a whole number".to_owned(),
            Self::Positive => "a whole number above 0".to_owned(),
            Self::Rate => "a number above 0".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Share => "a number from 0 to 1".to_owned(),
            Self::Length => "a length of time such as `500ms`, `10s` or `5 minutes`".to_owned(),
            Self::Timestamp => "a time such as `2026-01-31 12:00:00`, in UTC".to_owned(),
            Self::OneOf(_) => format!("one of {}", self.words().unwrap_or_default()),
        }
    }

    /// The words that a choice is among.
    pub(super) fn words(self) -> Option<String> {
        match self {
            Self::OneOf(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                Some(words.join(", "))
            }
            Self::Text
            | Self::Count
            | Self::Positive
            | Self::Rate
            | Self::Number
            | Self::Share
            | Self::Length
            | Self::Timestamp => None,
        }
    }
}

/// `1000000` or `1_000_000`.
pub(super) fn count(text: &str) -> Option<u64> {
    text.replace('_', "").parse().ok()
}

/// A finite number.
pub(super) fn number(text: &str) -> Option<f64> {
    let number: f64 = text.replace('_', "").parse().ok()?;
    number.is_finite().then_some(number)
}

/// `500ms`, `10 s`, `5 minutes`.
pub(super) fn length(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_alphabetic())?;
    let (amount, unit) = text.split_at(split);
    let seconds = match unit.to_ascii_lowercase().trim_end_matches('s') {
        "u" | "microsecond" => 1e-6,
        "m" if unit.eq_ignore_ascii_case("ms") => 1e-3,
        "millisecond" => 1e-3,
        // `s` without its `s`.
        "" | "sec" | "second" => 1.0,
        "m" | "min" | "minute" => 60.0,
        "h" | "hour" => 3600.0,
        "d" | "day" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number(amount.trim())? * seconds).ok()
}

/// Microseconds since 1970 of a date, or a date and a time, in UTC.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    let text = text.trim_end_matches('Z').replace('T', " ");
    let time = chrono::NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f")
        .or_else(|_| chrono::NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M"))
        .ok()
        .or_else(|| {
            let date = chrono::NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?;
            date.and_hms_opt(0, 0, 0)
        })?;
    Some(time.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_in_every_unit() {
        assert_eq!(length("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(length("10s"), Some(Duration::from_secs(10)));
        assert_eq!(length("250 us"), Some(Duration::from_micros(250)));
        assert_eq!(length("5 minutes"), Some(Duration::from_secs(300)));
        assert_eq!(length("2m"), Some(Duration::from_secs(120)));
        assert_eq!(length("1.5h"), Some(Duration::from_secs(5400)));
        assert_eq!(length("1 DAY"), Some(Duration::from_secs(86_400)));
    }

    #[test]
    fn what_is_no_length_of_time_is_not_guessed() {
        for text in ["10", "", "s", "-1s", "ten seconds", "1 parsec"] {
            assert_eq!(length(text), None, "{text}");
        }
    }

    #[test]
    fn a_timestamp_is_utc_with_or_without_a_time() {
        assert_eq!(timestamp("1970-01-02"), Some(86_400_000_000));
        assert_eq!(timestamp("1970-01-01T00:00:01.5Z"), Some(1_500_000));
        assert_eq!(timestamp("1970-01-01 00:01"), Some(60_000_000));
        assert_eq!(timestamp("yesterday"), None);
    }

    #[test]
    fn a_mismatch_says_what_is_expected() {
        assert_eq!(ValueKind::Share.mismatch("0.5"), None);
        assert_eq!(
            ValueKind::Share.mismatch("50").unwrap(),
            "a number from 0 to 1"
        );
        assert_eq!(
            ValueKind::OneOf(&["a", "b"]).mismatch("c").unwrap(),
            "one of `a`, `b`"
        );
    }
}
