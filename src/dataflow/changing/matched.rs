//! The rows of a join at a key, and how many partners each had and has.

use std::collections::BTreeMap;

use arrow::array::AsArray;

use crate::dataflow::step::Evaluated;

/// A row of a round, by its place among the rows of its side.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Which.
    pub row: u32,
    /// How often it was there.
    pub old: i64,
    /// How often it is.
    pub now: i64,
}

/// Which partners a row must have to be there without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partners {
    /// At least one.
    Some,
    /// None.
    None,
}

/// What the further condition says of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does match.
    Holds,
    /// It does not.
    DoesNot,
    /// It cannot be computed.
    Fails,
}

/// What it says of pairs.
pub struct Verdicts {
    /// How many rows the right side has.
    width: usize,
    held: Vec<bool>,
    /// Why it cannot be computed, for pairs where that is so.
    pub failed: BTreeMap<usize, String>,
}

impl Verdicts {
    /// Of pairs, the right side fastest, which has `width` rows.
    pub fn new(Evaluated { values, failed }: Evaluated, pairs: usize, width: usize) -> Self {
        let failed: BTreeMap<usize, String> = failed.into_iter().collect();
        let mut values = values[0].as_boolean().iter();
        // What fails has no value.
        let held = (0..pairs).map(|at| {
            let fails = !failed.is_empty() && failed.contains_key(&at);
            !fails && values.next().flatten() == Some(true)
        });
        Self {
            width,
            held: held.collect(),
            failed,
        }
    }

    /// What it says of a pair.
    pub fn of(&self, left: usize, right: usize) -> Verdict {
        let at = left * self.width + right;
        match self.held[at] {
            true => Verdict::Holds,
            false if self.failed.contains_key(&at) => Verdict::Fails,
            false => Verdict::DoesNot,
        }
    }
}

/// How many partners a row had, and has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Matched {
    old: Counted,
    now: Counted,
}

/// The partners at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    matched: i64,
    /// Nobody knows whether they match.
    unknown: i64,
}

impl Counted {
    fn add(&mut self, count: i64, verdict: Verdict) {
        match verdict {
            Verdict::Holds => self.matched += count,
            Verdict::Fails => self.unknown += count,
            Verdict::DoesNot => {}
        }
    }

    /// Whether they are as a row must have them; not if nobody knows.
    fn are(self, wanted: Partners) -> bool {
        match wanted {
            Partners::Some => self.matched > 0,
            Partners::None => self.matched <= 0 && self.unknown <= 0,
        }
    }
}

impl Matched {
    /// Of these.
    pub fn of<'a>(partners: impl Iterator<Item = (&'a Known, Verdict)>) -> Self {
        let mut all = Self::default();
        partners.for_each(|(partner, verdict)| all.add(partner, verdict));
        all
    }

    /// One more row may be a partner.
    pub fn add(&mut self, partner: &Known, verdict: Verdict) {
        self.old.add(partner.old, verdict);
        self.now.add(partner.now, verdict);
    }
}

impl Known {
    /// The difference in how often the row stands alone.
    pub fn alone(&self, matched: Matched, wanted: Partners) -> i64 {
        let there = |partners: Counted| i64::from(partners.are(wanted));
        there(matched.now) * self.now - there(matched.old) * self.old
    }
}

/// The right side at a key, for each row of the left.
pub struct Others<'a> {
    /// All.
    pub rows: &'a [Known],
    /// Which are there more or less often than before.
    pub changed: Vec<usize>,
    /// How many they are, where no condition tells them apart.
    pub matched: Matched,
}

impl<'a> Others<'a> {
    /// Of these rows.
    pub fn of(rows: &'a [Known]) -> Self {
        let changed = (0..rows.len()).filter(|&at| rows[at].old != rows[at].now);
        Self {
            changed: changed.collect(),
            matched: Matched::of(rows.iter().map(|row| (row, Verdict::Holds))),
            rows,
        }
    }
}
