//! What the tables hold, as lines.

use std::collections::BTreeMap;
use std::ops::Deref;

use postgres::{Client, NoTls};

/// How many lines of a difference are worth reading.
const SHOWN: usize = 12;

/// Lines of each table, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables(BTreeMap<&'static str, Vec<String>>);

impl<const N: usize> From<[(&'static str, Vec<String>); N]> for Tables {
    fn from(tables: [(&'static str, Vec<String>); N]) -> Self {
        let sorted = |(name, mut lines): (&'static str, Vec<String>)| {
            lines.sort();
            (name, lines)
        };
        Self(tables.into_iter().map(sorted).collect())
    }
}

impl Deref for Tables {
    type Target = BTreeMap<&'static str, Vec<String>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

const MS: &str = "(extract(epoch from at) * 1000)::bigint";

impl Tables {
    /// Reads all of them: those in databases, and those in topics.
    pub fn read(databases: &[String; 2], topics: [(&'static str, Vec<String>); 3]) -> Self {
        let ms = |column: &str| MS.replace("at)", &format!("{column})"));
        let read = |database: &String, table: &str, columns: &[&str]| {
            let mut client = Client::connect(database, NoTls).unwrap();
            let columns: Vec<String> = columns
                .iter()
                .map(|c| format!("coalesce(({c})::text, '')"))
                .collect();
            let sql = format!("select concat_ws('|', {}) from {table}", columns.join(", "));
            let rows = client.query(&sql, &[]).unwrap();
            rows.iter().map(|row| row.get(0)).collect::<Vec<String>>()
        };
        let [first, second] = databases;
        let sums = ["customer", "n", "amount"];
        let (end, start, at) = (ms("window_end"), ms("window_start"), ms("at"));
        let closed = [end.as_str(), "customer", "n", "amount"];
        let [closed_topic, parts_topic, dead_topic] = topics;
        Self::from([
            closed_topic,
            parts_topic,
            dead_topic,
            ("total", read(first, "total", &["everyone", "n", "amount"])),
            ("parts", read(first, "parts", &sums)),
            ("parts_elsewhere", read(second, "parts_elsewhere", &sums)),
            ("newest", read(first, "newest", &["customer", "id", &at])),
            ("seen", read(first, "seen", &["id", "part"])),
            ("closed", read(first, "closed", &closed)),
            (
                "closed_elsewhere",
                read(second, "closed_elsewhere", &closed),
            ),
            (
                "current",
                read(first, "current", &[&start, "customer", "n"]),
            ),
            (
                "dead",
                read(
                    first,
                    "dead",
                    &["kind", "partition", "\"offset\"", "insert_into"],
                ),
            ),
        ])
    }

    /// What one has more often than the other; nothing if they are equal.
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, lines) in &self.0 {
            let mut counts: BTreeMap<&String, i32> = BTreeMap::new();
            lines
                .iter()
                .for_each(|line| *counts.entry(line).or_default() += 1);
            expected.0[name]
                .iter()
                .for_each(|line| *counts.entry(line).or_default() -= 1);
            let differ = counts.iter().filter(|(_, count)| **count != 0);
            let differ: Vec<String> = differ
                .map(|(line, count)| format!("{count:+} {line}"))
                .collect();
            if !differ.is_empty() {
                let shown = differ
                    .iter()
                    .take(SHOWN)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join("\n    ");
                found.push(format!(
                    "`{name}` differs in {} rows:\n    {shown}",
                    differ.len()
                ));
            }
        }
        found
    }
}
