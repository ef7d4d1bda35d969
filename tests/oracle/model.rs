//! What becomes of every record, decided one record after the other, as the documentation says it:
//! rejected, late, filtered or in. No engine here: no epochs, no threads, no batches.

use std::collections::{BTreeMap, BTreeSet};

use super::case::Case;
use super::data::Row;
use super::query::{Branch, Lookup, Query, Window};

/// A row that reached the result, and the windows that took it.
pub struct Accepted<'c> {
    pub row: &'c Row,
    /// One entry without windows where the query has none.
    pub windows: Vec<Option<(i64, i64)>>,
}

/// In the order in which one beats another: a record that reached several branches has its best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Filtered,
    Rejected,
    Late,
    In,
}

/// How many records had which fate.
pub type Fates = BTreeMap<Fate, u64>;

/// What the final tables are computed of, and how the records of each source are accounted for.
pub struct Judged<'c> {
    pub accepted: Vec<Accepted<'c>>,
    pub fates: BTreeMap<String, Fates>,
}

pub fn judge<'c>(case: &'c Case, query: &Query) -> Judged<'c> {
    let mut accepted = Vec::new();
    let mut fates = BTreeMap::new();
    let sources: BTreeSet<usize> = query.branches.iter().map(|branch| branch.source).collect();
    for index in sources {
        let source = &case.sources[index];
        let counts: &mut Fates = fates.entry(source.name.clone()).or_default();
        for file in &source.files {
            let mut highest: Option<i64> = None;
            for record in file {
                let Some(row) = &record.row else {
                    *counts.entry(Fate::Rejected).or_default() += 1;
                    continue;
                };
                let watermark = highest.map(|time| time - source.bound_us);
                highest = highest.max(Some(row.at));
                let fate = query
                    .branches
                    .iter()
                    .filter(|branch| branch.source == index)
                    .map(|branch| take(case, query, branch, row, watermark, &mut accepted))
                    .max()
                    .expect("the source is read by a branch");
                *counts.entry(fate).or_default() += 1;
            }
        }
    }
    if let Some(Window::Session { gap, by_p }) = query.window() {
        join_sessions(&mut accepted, gap, by_p);
    }
    Judged { accepted, fates }
}

/// Gives the rows of a session its window: each partition in the order of time, cut where nothing
/// happens for the gap.
fn join_sessions(accepted: &mut [Accepted<'_>], gap: i64, by_p: bool) {
    let p = |row: &Accepted<'_>| match (&row.row.k, by_p) {
        (Some(k), true) => k.clone(),
        (None, true) => "-".to_owned(),
        (_, false) => String::new(),
    };
    accepted.sort_by_key(|row| (p(row), row.row.at));
    let together = |a: &Accepted<'_>, b: &Accepted<'_>| p(a) == p(b) && b.row.at - a.row.at < gap;
    for session in accepted.chunk_by_mut(together) {
        let window = (session[0].row.at, session[session.len() - 1].row.at + gap);
        for row in session {
            row.windows = vec![Some(window)];
        }
    }
}

/// One row on its way through one branch.
fn take<'c>(
    case: &Case,
    query: &Query,
    branch: &Branch,
    row: &'c Row,
    watermark: Option<i64>,
    accepted: &mut Vec<Accepted<'c>>,
) -> Fate {
    if branch
        .filter
        .as_ref()
        .is_some_and(|filter| !filter.holds(row))
    {
        return Fate::Filtered;
    }
    let windows = match query.window() {
        None => vec![None],
        Some(window @ Window::Session { .. }) => {
            let late = watermark.is_some_and(|w| w > row.at + case.lateness_us);
            let alone = window.of(row.at).into_iter().filter(|_| !late);
            alone.map(Some).collect()
        }
        Some(window) => {
            let closed = |end: i64| watermark.is_some_and(|w| w >= end + case.lateness_us);
            let open = window
                .of(row.at)
                .into_iter()
                .filter(|(_, end)| !closed(*end));
            open.map(Some).collect()
        }
    };
    if windows.is_empty() {
        return Fate::Late;
    }
    let found = row
        .g
        .is_some_and(|g| case.zones.iter().any(|zone| zone.g == g));
    if query.lookup == Some(Lookup::Inner) && !found {
        return Fate::Filtered;
    }
    if query.divides() && row.g == Some(0) {
        return Fate::Rejected;
    }
    accepted.push(Accepted { row, windows });
    Fate::In
}
