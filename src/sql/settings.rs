//! `SET 'name' = 'value'` and `--set name=value`.

use std::time::Duration;

use crate::plan::{Place, Settings};

use super::problem::{Problem, did_you_mean};

/// What a value does to the settings; `None` if it is no value.
type Setter = fn(&mut Given, &str) -> Option<()>;

/// What the settings of a file come to.
#[derive(Debug, Default)]
pub struct Given {
    pub settings: Settings,
    /// `pipeline.name`, where it was set.
    pub name: Option<String>,
}

/// Name, what to write, and what it does.
const SETTINGS: &[(&str, &str, Setter)] = &[
    (
        "allowed.lateness",
        "write for example '10s'",
        |given, text| {
            given.settings.allowed_lateness = duration(text)?;
            Some(())
        },
    ),
    (
        "commit.interval",
        "write for example '100ms'",
        |given, text| {
            given.settings.commit_interval = duration(text).filter(|d| !d.is_zero())?;
            Some(())
        },
    ),
    (
        "pipeline.name",
        "write for example 'orders'",
        |given, text| {
            given.name = Some(text.to_owned()).filter(|name| !name.is_empty());
            given.name.as_ref().map(|_| ())
        },
    ),
    ("queue.bytes", "write for example '64MiB'", |given, text| {
        given.settings.queue_bytes = bytes(text).filter(|bytes| *bytes > 0)?;
        Some(())
    }),
    (
        "snapshot.interval",
        "write for example '10s'",
        |given, text| {
            given.settings.snapshot_interval = duration(text).filter(|d| !d.is_zero())?;
            Some(())
        },
    ),
    ("state.ttl", "write for example '30 days'", |given, text| {
        let ttl = duration(text).filter(|ttl| !ttl.is_zero())?;
        given.settings.state_ttl = Some(ttl);
        Some(())
    }),
    (
        "timezone",
        "write 'UTC': it is the only time zone so far",
        |given, text| {
            // Another zone would have to be carried by every TIMESTAMPTZ type.
            text.eq_ignore_ascii_case("utc").then_some(())?;
            given.settings.timezone = "UTC".to_owned();
            Some(())
        },
    ),
];

/// The names of all settings.
pub fn names() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|(name, ..)| *name)
}

/// Applies one setting.
pub fn set(
    given: &mut Given,
    name: &str,
    value: &str,
    place: Option<Place>,
) -> Result<(), Problem> {
    let problem = |message: String, hint: String| {
        let problem = Problem::of_file(message).hint(hint);
        match place {
            Some(place) => problem.or_at(place),
            None => problem,
        }
    };
    let wanted = name.to_lowercase().replace('_', ".");
    let Some((known, hint, setter)) = SETTINGS.iter().find(|(known, ..)| *known == wanted) else {
        let hint = did_you_mean(&wanted, names()).unwrap_or_else(|| {
            let names: Vec<&str> = names().collect();
            format!("there are {}", super::errors::list(&names))
        });
        return Err(problem(format!("unknown setting `{name}`"), hint));
    };
    setter(given, value.trim()).ok_or_else(|| {
        problem(
            format!("`{value}` is no value for `{known}`"),
            (*hint).to_owned(),
        )
    })
}

/// `100ms`, `10 s`, `5 minutes`; a bare number is refused, since people disagree on its unit.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let microseconds: u64 = match unit.as_str() {
        "us" | "microsecond" | "microseconds" => 1,
        "ms" | "millisecond" | "milliseconds" => 1_000,
        "s" | "sec" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "minute" | "minutes" => 60_000_000,
        "h" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        _ if number == 0 && unit.is_empty() => 1,
        _ => return None,
    };
    number.checked_mul(microseconds).map(Duration::from_micros)
}

/// `65536`, `64 KiB`, `64MB`.
pub fn bytes(text: &str) -> Option<usize> {
    let (number, unit) = number_and_unit(text)?;
    let factor: u64 = match unit.as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    usize::try_from(number.checked_mul(factor)?).ok()
}

fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    Some((number, text[digits..].trim().to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_a_unit_and_refuse_to_guess_one() {
        assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(duration("5 minutes"), Some(Duration::from_secs(300)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        assert_eq!(duration("10"), None);
        assert_eq!(duration("-1s"), None);
    }

    #[test]
    fn an_unknown_setting_suggests_the_nearest_name() {
        let problem = set(&mut Given::default(), "comit.interval", "1s", None).unwrap_err();

        assert_eq!(problem.message, "unknown setting `comit.interval`");
        assert_eq!(problem.hint.unwrap(), "did you mean `commit.interval`?");
    }

    #[test]
    fn the_time_zone_is_utc() {
        let mut given = Given::default();

        assert!(set(&mut given, "timezone", "utc", None).is_ok());
        assert!(set(&mut given, "timezone", "Europe/Zurich", None).is_err());
    }
}
