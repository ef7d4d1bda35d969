//! What is read as a time, and that what was written reads back.

use proptest::prelude::*;

use arrow::datatypes::IntervalMonthDayNano;

use super::*;
use crate::types::moment::any_timestamp;

#[test]
fn a_timestamp_is_read_as_iso_or_as_postgres_writes_it() {
    let noon = Some(1_714_564_800_000_000);
    for text in [
        "2024-05-01T12:00:00",
        "2024-05-01 12:00:00",
        "2024-05-01T12:00",
        "2024-05-01T12:00:00Z",
        "2024-05-01 12:00:00+00",
        "2024-05-01 12:00:00 UTC",
        "2024-05-01T14:30:00+02:30",
        "2024-05-01T14:30:00+0230",
        "2024-05-01T04:00:00.000-08",
        "2024-05-01T11:59:60",
        "2024-05-01T11:59:59.9999999",
    ] {
        assert_eq!(timestamp(text), noon, "{text}");
    }
    assert_eq!(timestamp("1970-01-02"), Some(DAY_US));
    assert_eq!(timestamp("1969-12-31T23:59:59.999999"), Some(-1));
}

#[test]
fn the_last_days_of_a_month_are_usual_but_for_the_leap_day() {
    for usual in [
        "2024-01-31T00:00:00Z",
        "2023-02-28 23:59:59",
        "2024-04-30T12:00:00.5",
    ] {
        assert_eq!(
            usual_timestamp(usual.as_bytes()),
            any_timestamp(usual),
            "{usual}"
        );
        assert!(usual_timestamp(usual.as_bytes()).is_some(), "{usual}");
    }
    for unusual in [
        "2024-02-29T00:00:00Z",
        "2024-04-31T00:00:00",
        "2024-01-00T00:00:00",
    ] {
        assert_eq!(usual_timestamp(unusual.as_bytes()), None, "{unusual}");
    }
    // Each byte is held against what must stand there, also those next to a byte that is wrong.
    let right = "2024-05-01T10:00:00.123456Z";
    for at in 0..right.len() {
        for byte in (0..=127_u8).filter(|&byte| byte != right.as_bytes()[at]) {
            let mut bytes = right.as_bytes().to_vec();
            bytes[at] = byte;
            let text = std::str::from_utf8(&bytes).unwrap();
            let usual = usual_timestamp(&bytes);
            assert!(usual.is_none() || usual == any_timestamp(text), "{text}");
        }
    }
}

#[test]
fn what_is_no_timestamp_is_refused() {
    for text in [
        "",
        "2024",
        "2024-5-1",
        "2024-13-01",
        "2024-02-30",
        "2023-02-29",
        "2024-05-01T24:00:00",
        "2024-05-01T12:60:00",
        "2024-05-01T12:00:61",
        "2024-05-01T12:00:00.",
        "2024-05-01T",
        "2024-05-01X12:00:00",
        "2024-05-01T12:00:00+",
        "2024-05-01T12:00:00+25:00",
        "2024-05-01T12:00:00 ",
        "2024-05-01T12:00:00Zx",
        "9999999-01-01T00:00:00",
        "infinity",
    ] {
        assert_eq!(timestamp(text), None, "{text}");
    }
}

#[test]
fn an_interval_is_read_in_words_and_as_a_clock() {
    let parts = |text| interval(text).map(|i| (i.months, i.days, i.nanoseconds));

    assert_eq!(
        parts("1 year 2 mons 3 days 04:05:06.7"),
        Some((14, 3, 14_706_700_000_000))
    );
    assert_eq!(parts("-00:00:01"), Some((0, 0, -1_000_000_000)));
    assert_eq!(parts("90 seconds"), Some((0, 0, 90_000_000_000)));
    for text in ["", "5", "1 fortnight", "1:2:3:4", "00:61:00", "00:00:0x"] {
        assert_eq!(parts(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn every_timestamp_reads_back(micros: i64, zoned: bool) {
        for style in [Style::Postgres, Style::Iso] {
            let mut text = String::new();
            write_timestamp(&mut text, micros, zoned, style);
            prop_assert_eq!(timestamp(&text), Some(micros), "{}", text);
        }
    }

    #[test]
    fn the_usual_form_is_read_as_any_other(
        text in "(19|20|00)[0-9]{2}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,7})?[Z+]?",
    ) {
        if let Some(micros) = usual_timestamp(text.as_bytes()) {
            prop_assert_eq!(any_timestamp(&text), Some(micros), "{}", text);
        }
    }

    #[test]
    fn every_date_reads_back(days: i32) {
        let mut text = String::new();
        write_date(&mut text, i64::from(days));
        prop_assert_eq!(date(&text), Some(days), "{}", text);
    }

    #[test]
    fn every_interval_reads_back(months: i32, days: i32, nanoseconds: i64) {
        let value = IntervalMonthDayNano::new(months, days, nanoseconds);
        let mut text = String::new();
        write_interval(&mut text, value);
        prop_assert_eq!(interval(&text), Some(value), "{}", text);
    }

    #[test]
    fn a_date_agrees_with_chrono(days in -90_000_000_i32..90_000_000) {
        if let Some(expected) = chrono::NaiveDate::from_epoch_days(days) {
            use chrono::Datelike;
            let (year, month, day) = civil_from_days(i64::from(days));
            prop_assert_eq!(year, i64::from(expected.year()));
            prop_assert_eq!((month, day), (i64::from(expected.month()), i64::from(expected.day())));
        }
    }
}
