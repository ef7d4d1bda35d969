//! What the tables have to hold, computed from the records of the topic in the plainest way there
//! is: each partition on its own, record by record, then maps.

use std::collections::{BTreeMap, BTreeSet};

use crate::feed::{self, PARTITIONS, Row};
use crate::pipeline::{BOUND_MS, HOP_MS, TUMBLE_MS};
use crate::reader::Floors;
use crate::tables::Tables;

/// The tables after all windows have closed. `records` are the offsets and indexes of each
/// partition's records.
pub fn tables(records: &[BTreeMap<u64, u64>], floors: &Floors) -> Tables {
    let mut books = Books::default();
    for partition in 0..PARTITIONS {
        let number = usize::try_from(partition).unwrap();
        let none = BTreeMap::new();
        let mut floors = floors.get(number).unwrap_or(&none).iter().peekable();
        let mut watermark = i64::MIN;
        for (&offset, &index) in &records[number] {
            while let Some((_, floor)) = floors.next_if(|(from, _)| **from <= offset) {
                watermark = watermark.max(*floor);
            }
            let place = (partition, offset);
            match feed::row(partition, index) {
                None => {
                    books.letter("rejected", place, "");
                    let text = feed::text(partition, index);
                    let letter = format!("rejected|{partition}|{offset}|{text}");
                    books.letters_topic.push(letter);
                }
                Some(row) => {
                    books.enter(&row, place, watermark);
                    watermark = watermark.max((row.at_ms - BOUND_MS) * 1000);
                }
            }
        }
    }
    books.tables()
}

#[derive(Default)]
struct Books {
    total: (i64, i64),
    parts: BTreeMap<String, (i64, i64)>,
    /// By event time, partition and offset.
    newest: BTreeMap<String, (i64, i32, u64, i64)>,
    seen: BTreeSet<(i64, i32)>,
    closed: BTreeMap<(i64, String), (i64, i64)>,
    current: BTreeMap<(i64, String), i64>,
    letters: Vec<String>,
    letters_topic: Vec<String>,
}

impl Books {
    fn letter(&mut self, kind: &str, (partition, offset): (i32, u64), insert: &str) {
        self.letters
            .push(format!("{kind}|{partition}|{offset}|{insert}"));
    }

    fn enter(&mut self, row: &Row, place: (i32, u64), watermark_us: i64) {
        let add = |(n, amount): &mut (i64, i64)| {
            *n += 1;
            *amount += row.amount;
        };
        add(&mut self.total);
        add(self.parts.entry(row.customer.clone()).or_default());
        self.seen.insert((row.id, place.0));
        let newest = (row.at_ms, place.0, place.1, row.id);
        let known = self.newest.entry(row.customer.clone()).or_insert(newest);
        *known = newest.max(*known);

        let is_late = |end_ms: i64| watermark_us >= end_ms * 1000;
        let end = row.at_ms.div_euclid(TUMBLE_MS) * TUMBLE_MS + TUMBLE_MS;
        if is_late(end) {
            self.letter("late", place, "closed");
            self.letter("late", place, "closed_elsewhere");
            self.letter("late", place, "closed_topic");
        } else {
            add(self.closed.entry((end, row.customer.clone())).or_default());
        }
        let (slide, size) = HOP_MS;
        let last = row.at_ms.div_euclid(slide) * slide;
        let starts = (0..size / slide).map(|back| last - back * slide);
        let starts: Vec<i64> = starts.filter(|start| !is_late(start + size)).collect();
        if starts.is_empty() {
            self.letter("late", place, "current");
        }
        for start in starts {
            *self
                .current
                .entry((start, row.customer.clone()))
                .or_default() += 1;
        }
    }

    fn tables(self) -> Tables {
        let pair = |(n, amount): (i64, i64)| format!("{n}|{amount}");
        let parts: Vec<String> = self
            .parts
            .iter()
            .map(|(customer, sums)| format!("{customer}|{}", pair(*sums)))
            .collect();
        let closed: Vec<String> = self
            .closed
            .iter()
            .map(|((end, customer), sums)| format!("{end}|{customer}|{}", pair(*sums)))
            .collect();
        let newest = self.newest.iter();
        let seen = self.seen.iter();
        let current = self.current.iter();
        Tables::from([
            ("total", vec![format!("all|{}", pair(self.total))]),
            ("parts", parts.clone()),
            ("parts_elsewhere", parts.clone()),
            ("parts_topic", parts),
            (
                "newest",
                newest
                    .map(|(c, (at, _, _, id))| format!("{c}|{id}|{at}"))
                    .collect(),
            ),
            (
                "seen",
                seen.map(|(id, part)| format!("{id}|{part}")).collect(),
            ),
            ("closed", closed.clone()),
            ("closed_elsewhere", closed.clone()),
            ("closed_topic", closed),
            (
                "current",
                current
                    .map(|((start, c), n)| format!("{start}|{c}|{n}"))
                    .collect(),
            ),
            ("dead", self.letters),
            ("dead_topic", self.letters_topic),
        ])
    }
}
