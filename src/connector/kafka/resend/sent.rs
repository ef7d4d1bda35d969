//! Which records have been sent: offsets by partition, kept in pages so that each is a record of
//! moderate size and only those that changed are written.
//!
//! ```text
//!   PARTITION/PAGE       of an older build, or a broker that gives topics no ids
//!   PARTITION/PAGE/ID    of the topic that has this id; those of others are left alone
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Offsets of a page.
const PAGE: u64 = 1 << 16;

/// The offsets that have been sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Which topic the offsets are of, where that is told.
    topic: Option<String>,
    pages: BTreeMap<(usize, u64), BTreeSet<u64>>,
    changed: BTreeSet<(usize, u64)>,
}

impl Sent {
    /// As marks say whose keys begin with `prefix`, of the topic that has this id; or the key of one that
    /// cannot be read.
    pub fn of(
        marks: &BTreeMap<String, Vec<u8>>,
        prefix: &str,
        topic: Option<String>,
    ) -> Result<Self, String> {
        let mut sent = Self {
            topic,
            ..Self::default()
        };
        for (key, text) in marks {
            let read = || {
                let (partition, page) = key.strip_prefix(prefix)?.split_once('/')?;
                let (page, id) = match page.split_once('/') {
                    Some((page, id)) => (page, Some(id)),
                    None => (page, None),
                };
                let place = (partition.parse().ok()?, page.parse().ok()?);
                Some((place, id, offsets(std::str::from_utf8(text).ok()?)?))
            };
            let (place, id, offsets) = read().ok_or_else(|| key.clone())?;
            if id.is_none() || sent.topic.is_none() || id == sent.topic.as_deref() {
                sent.pages.entry(place).or_default().extend(offsets);
            }
        }
        Ok(sent)
    }

    pub fn has(&self, partition: usize, offset: u64) -> bool {
        let page = self.pages.get(&(partition, offset / PAGE));
        page.is_some_and(|page| page.contains(&offset))
    }

    pub fn add(&mut self, partition: usize, offset: u64) {
        let place = (partition, offset / PAGE);
        self.pages.entry(place).or_default().insert(offset);
        self.changed.insert(place);
    }

    /// The pages that have changed since this was last asked: names and texts.
    pub fn changes(&mut self) -> Vec<(String, String)> {
        let changed = std::mem::take(&mut self.changed);
        let page = |place: &(usize, u64)| {
            let (partition, number) = place;
            let id = self.topic.iter().map(|id| format!("/{id}"));
            let name = format!("{partition}/{number}{}", id.collect::<String>());
            (name, text(&self.pages[place]))
        };
        changed.iter().map(page).collect()
    }
}

/// `3,7-9`: runs of offsets.
fn text(offsets: &BTreeSet<u64>) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &offset in offsets {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == offset => *last = offset,
            Some(_) | None => runs.push((offset, offset)),
        }
    }
    let mut text = String::new();
    for (first, last) in runs {
        let comma = if text.is_empty() { "" } else { "," };
        let written = if first == last {
            write!(text, "{comma}{first}")
        } else {
            write!(text, "{comma}{first}-{last}")
        };
        written.expect("a text takes all that is written");
    }
    text
}

fn offsets(text: &str) -> Option<BTreeSet<u64>> {
    let mut offsets = BTreeSet::new();
    for run in text.split(',') {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        if last.checked_sub(first)? >= PAGE {
            return None; // No page has so many.
        }
        offsets.extend(first..=last);
    }
    Some(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_read_back_as_it_was_written() {
        let mut sent = Sent::default();
        for (partition, offset) in [(0, 3), (0, 7), (0, 8), (0, 9), (0, 65_536), (2, 1)] {
            assert!(!sent.has(partition, offset));
            sent.add(partition, offset);
        }

        let changes = sent.changes();

        let expected = [("0/0", "3,7-9"), ("0/1", "65536"), ("2/0", "1")];
        let expected = expected.map(|(page, text)| (page.to_owned(), text.to_owned()));
        assert_eq!(changes, expected);
        let marks = changes
            .into_iter()
            .map(|(page, text)| (format!("resend/{page}"), text.into_bytes()))
            .collect();
        assert_eq!(Sent::of(&marks, "resend/", None), Ok(sent));
    }

    #[test]
    fn offsets_of_a_topic_that_was_deleted_mean_nothing_in_the_one_made_anew() {
        let text = |text: &str| text.as_bytes().to_vec();
        let mut marks = BTreeMap::from([
            ("a/0/0".to_owned(), text("1")),
            ("a/0/0/old".to_owned(), text("2")),
        ]);
        let mut sent = Sent::of(&marks, "a/", Some("new".to_owned())).unwrap();
        // An older build did not say of which topic.
        assert_eq!([1, 2].map(|offset| sent.has(0, offset)), [true, false]);

        sent.add(0, 7);
        let changes = sent.changes();
        assert_eq!(changes, [("0/0/new".to_owned(), "1,7".to_owned())]);
        marks.extend(
            changes
                .into_iter()
                .map(|(page, offsets)| (format!("a/{page}"), text(&offsets))),
        );
        let again = Sent::of(&marks, "a/", Some("new".to_owned())).unwrap();
        assert_eq!(
            [1, 2, 7].map(|offset| again.has(0, offset)),
            [true, false, true]
        );
    }

    #[test]
    fn only_pages_that_changed_are_written() {
        let mut sent = Sent::default();
        sent.add(0, 1);
        sent.changes();

        sent.add(1, 5);

        assert_eq!(sent.changes(), [("1/0".to_owned(), "5".to_owned())]);
        assert_eq!(sent.changes(), []);
    }

    #[test]
    fn a_mark_that_makes_no_sense_is_named() {
        for text in ["", "7-3", "x", "0-99999999999"] {
            let marks = BTreeMap::from([("a/0/0".to_owned(), text.as_bytes().to_vec())]);

            let read = Sent::of(&marks, "a/", None);
            assert_eq!(read, Err("a/0/0".to_owned()), "{text}");
        }
    }
}
