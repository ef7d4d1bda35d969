//! Where a first run begins to read a topic.

use std::collections::BTreeMap;

use crate::connector::option;
use crate::plan::Table;

/// What `scan.startup.mode` may be: our words, then Flink's for the same.
pub(super) const MODES: &[&str] = &[
    "earliest",
    "latest",
    "timestamp",
    "offsets",
    "earliest-offset",
    "latest-offset",
    "specific-offsets",
];

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// At the first record that is there.
    Earliest,
    /// After the last record that is there.
    Latest,
    /// At the first record that is not older: milliseconds since 1970.
    Timestamp(i64),
    /// At these, by partition; others at their first record.
    Offsets(BTreeMap<i32, u64>),
}

impl Start {
    /// As the options say, or the option that is wrong, and why.
    pub fn of(table: &Table) -> Result<Self, (String, String)> {
        let mode = table.option("scan.startup.mode").unwrap_or("earliest");
        let needed = |option: &str| {
            table.option(option).ok_or_else(|| {
                let message = format!("mode `{mode}` needs the option `{option}`");
                ("scan.startup.mode".to_owned(), message)
            })
        };
        let only_with = |option: &str, with: &str| match table.option(option) {
            Some(_) if !mode.ends_with(with) => Err((
                option.to_owned(),
                format!("`{option}` means something only with 'scan.startup.mode' = '{with}'"),
            )),
            Some(_) | None => Ok(()),
        };
        only_with("scan.startup.timestamp", "timestamp")?;
        only_with("scan.startup.offsets", "offsets")?;
        match mode {
            "latest" | "latest-offset" => Ok(Self::Latest),
            "timestamp" => {
                let name = "scan.startup.timestamp";
                let text = needed(name)?;
                milliseconds(text).map(Self::Timestamp).ok_or_else(|| {
                    let message = format!("`{text}` is no time such as `2026-01-31 12:00:00`, nor milliseconds since 1970");
                    (name.to_owned(), message)
                })
            }
            "offsets" | "specific-offsets" => {
                let name = "scan.startup.offsets";
                let text = needed(name)?;
                offsets(text).map(Self::Offsets).ok_or_else(|| {
                    let message = format!("`{text}` is no list such as `0:42,1:300`");
                    (name.to_owned(), message)
                })
            }
            // `earliest` and `earliest-offset`: other words were refused with the options.
            _ => Ok(Self::Earliest),
        }
    }
}

pub(super) fn milliseconds(text: &str) -> Option<i64> {
    let number = text.parse().ok().filter(|&ms: &i64| ms >= 0);
    number.or_else(|| option::timestamp(text).map(|us| us / 1000))
}

/// `0:42,1:300`, or Flink's `partition:0,offset:42;partition:1,offset:300`.
fn offsets(text: &str) -> Option<BTreeMap<i32, u64>> {
    let flink = text.contains("partition:");
    let pairs = text
        .trim_end_matches(';')
        .split(if flink { ';' } else { ',' });
    let pair = |pair: &'_ str| -> Option<(i32, u64)> {
        let (partition, offset) = if flink {
            let (partition, offset) = pair.split_once(',')?;
            let partition = partition.trim().strip_prefix("partition:")?;
            (partition, offset.trim().strip_prefix("offset:")?)
        } else {
            pair.split_once(':')?
        };
        let partition = partition.trim().parse().ok().filter(|&p: &i32| p >= 0)?;
        Some((partition, offset.trim().parse().ok()?))
    };
    let mut offsets = BTreeMap::new();
    for pair in pairs.map(pair) {
        let (partition, offset) = pair?;
        if offsets.insert(partition, offset).is_some() {
            return None; // Which of the two is meant?
        }
    }
    Some(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_we_and_as_flink_write_them() {
        let expected = BTreeMap::from([(0, 42), (1, 300)]);

        assert_eq!(offsets("0:42,1:300"), Some(expected.clone()));
        assert_eq!(offsets(" 1:300, 0:42 "), Some(expected.clone()));
        let flink = "partition:0,offset:42;partition:1,offset:300";
        assert_eq!(offsets(flink), Some(expected));
    }

    #[test]
    fn what_names_no_offset_or_one_twice_is_refused() {
        for text in ["", "0", "0:", "-1:4", "0:-4", "0:1,0:2", "partition:0"] {
            assert_eq!(offsets(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_is_a_date_or_milliseconds() {
        assert_eq!(milliseconds("1970-01-01 00:00:01.5"), Some(1500));
        assert_eq!(milliseconds("1500"), Some(1500));
        assert_eq!(milliseconds("yesterday"), None);
    }
}
