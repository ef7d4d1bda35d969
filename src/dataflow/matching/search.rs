//! The search for a pattern from one row on: a program of few steps, and what was preferred last
//! is tried next where a row does not fit.
//!
//! ```text
//!   A B*? (C | D)      take A; split 4, 2; take B; jump 1; split 5, 7; take C; jump 8; take D; done
//! ```
//!
//! Where conditions look at a row and its neighbours alone, all of this is known before it is
//! tried (see `ahead`). Else a row is tried again for every first row of a match and every way to
//! get to it, which is bounded: by search, and by row over all of them.
//!
//! The first match in the order of preference is the match. So where a row that has not come yet
//! would be asked, the search is open: what is preferred less cannot be the answer before that is
//! known. Hence a match does not depend on how many rows were there when it was looked for.

use super::ahead::Local;
use crate::plan::{AfterMatch, Pattern};

/// A pattern, ready to be searched for.
#[derive(Debug)]
pub struct Program {
    steps: Vec<Step>,
    /// The steps, each after those that it goes on to at the same row.
    order: Vec<usize>,
    /// How often a row may be tried, over all searches.
    row_tries_max: u32,
}

/// A step of a search.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Takes a row, as a variable.
    Take(usize),
    /// Goes on at the first place; at the second one if that fails.
    Split(usize, usize),
    /// Goes on there.
    Jump(usize),
    /// This is a match.
    Done,
}

/// Rows that were taken: from which one on, and as which variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The first row.
    pub start: usize,
    /// The variable of each row.
    pub labels: Vec<usize>,
}

impl Path {
    /// The rows of a variable, or all.
    pub fn rows(&self, variable: Option<usize>) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let labels = self.labels.iter().enumerate();
        labels
            .filter(move |(_, label)| variable.is_none_or(|variable| **label == variable))
            .map(|(at, _)| self.start + at)
    }

    /// The row at which the search goes on after it.
    pub fn next(&self, after: AfterMatch) -> usize {
        let next = match after {
            AfterMatch::PastLastRow => Some(self.start + self.labels.len()),
            AfterMatch::ToNextRow => None,
            AfterMatch::ToFirst(variable) => self.rows(Some(variable)).next(),
            AfterMatch::ToLast(variable) => self.rows(Some(variable)).next_back(),
        };
        next.unwrap_or(0).max(self.start + 1)
    }
}

/// What a search came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A match.
    Match(Path),
    /// None begins here.
    Nothing,
    /// Rows that may still come decide it.
    Open,
    /// There are too many ways to go on. They are tried in one order, whatever rows are there yet,
    /// so that it hangs on the rows alone whether there are.
    TooManyWays,
}

/// How many rows a search may try to take. Nested repetitions may have exponentially many ways to
/// take the same rows; where conditions look at more than the row, each is another one.
pub const TRIES_MAX: usize = 1 << 20;

/// How often a row may be tried, over all searches that come by it. That hangs on the rows alone,
/// and is asked for no longer than the row is held.
pub const ROW_TRIES_MAX: u32 = 1 << 13;

/// A search as far as it has come: it goes on when more rows are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Where it may go on: the step, and how many rows are taken there.
    open: Vec<(usize, usize)>,
    labels: Vec<usize>,
    tries: usize,
    /// How often each row was tried, from the first of the match on.
    by_row: Vec<u32>,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            open: vec![(0, 0)],
            labels: Vec::new(),
            tries: 0,
            by_row: Vec::new(),
        }
    }
}

impl Search {
    /// How often it tried each row, from the first of the match on.
    pub fn by_row(&self) -> &[u32] {
        &self.by_row
    }

    /// Tries one more row, of which earlier searches tried each so often. Whether it may.
    fn may_try(&mut self, at: usize, spent: u32, most: u32) -> bool {
        self.by_row.resize(self.by_row.len().max(at + 1), 0);
        self.tries += 1;
        self.by_row[at] += 1;
        self.tries <= TRIES_MAX && spent.saturating_add(self.by_row[at]) <= most
    }
}

/// The rows of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Their times, in their order.
    pub times: &'a [i64],
    /// No row comes that is before it; `None`: no row comes.
    pub horizon: Option<i64>,
    /// How far the last row of a match may be from the first, and not as far.
    pub within_us: Option<i64>,
}

impl Rows<'_> {
    /// The first row that no match which begins with `start` reaches; one past the next row to come
    /// if that may be in reach.
    pub fn reach(&self, start: usize) -> usize {
        let (first, count) = (self.times[start], self.times.len());
        let Some(within) = self.within_us else {
            return count + usize::from(self.horizon.is_some());
        };
        let is_near = |time: &i64| time.saturating_sub(first) < within;
        let near = self.times[start + 1..].partition_point(is_near);
        let end = start + 1 + near;
        match self.horizon {
            Some(horizon) if end == count && is_near(&horizon) => count + 1,
            Some(_) | None => end,
        }
    }

    /// Whether a row, or one that is still to come, is too far from the first.
    fn is_beyond(&self, start: usize, at: usize) -> bool {
        let time = match (self.times.get(at), self.horizon) {
            (Some(time), _) => *time,
            (None, Some(horizon)) => horizon,
            (None, None) => return true,
        };
        let apart = time.saturating_sub(self.times[start]);
        at > start && self.within_us.is_some_and(|within| apart >= within)
    }
}

/// Whether rows may be taken.
pub trait Conditions {
    /// What goes wrong.
    type Error;

    /// Whether the last row of the path may be taken as it is.
    fn holds(&mut self, path: &Path) -> Result<bool, Self::Error>;

    /// Whether that depends on the row and its neighbours alone, whatever was taken before it.
    fn are_local(&self) -> bool;

    /// Whether a row may be taken as a variable, where that depends on nothing else.
    fn local(&self, variable: usize, row: usize) -> Local;
}

impl Program {
    /// Of a pattern.
    pub fn new(pattern: &Pattern) -> Self {
        let mut program = Self {
            steps: Vec::new(),
            order: Vec::new(),
            row_tries_max: ROW_TRIES_MAX,
        };
        program.add(pattern);
        program.steps.push(Step::Done);
        program.put_in_order();
        program
    }

    /// A row may be tried only so often.
    #[cfg(test)]
    pub fn with_row_tries_max(self, row_tries_max: u32) -> Self {
        Self {
            row_tries_max,
            ..self
        }
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The steps, each after those that it goes on to at the same row.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    fn put_in_order(&mut self) {
        let mut seen = vec![false; self.steps.len()];
        let mut open: Vec<(usize, bool)> =
            (0..self.steps.len()).map(|step| (step, false)).collect();
        while let Some((step, are_done)) = open.pop() {
            if are_done {
                self.order.push(step);
            } else if !std::mem::replace(&mut seen[step], true) {
                open.push((step, true));
                match self.steps[step] {
                    Step::Jump(to) => open.push((to, false)),
                    Step::Split(first, second) => open.extend([(first, false), (second, false)]),
                    Step::Take(_) | Step::Done => {}
                }
            }
        }
    }

    fn add(&mut self, pattern: &Pattern) {
        match pattern {
            Pattern::Row(variable) => self.steps.push(Step::Take(*variable)),
            Pattern::Then(parts) => parts.iter().for_each(|part| self.add(part)),
            Pattern::Either(parts) => self.add_either(parts),
            Pattern::Repeat {
                inner,
                least,
                most,
                greedy,
            } => {
                for _ in 0..*least {
                    self.add(inner);
                }
                match most {
                    None => {
                        let split = self.split();
                        self.add(inner);
                        self.steps.push(Step::Jump(split));
                        self.resolve(split, *greedy);
                    }
                    Some(most) => {
                        let splits: Vec<usize> = (*least..*most)
                            .map(|_| {
                                let split = self.split();
                                self.add(inner);
                                split
                            })
                            .collect();
                        for split in splits {
                            self.resolve(split, *greedy);
                        }
                    }
                }
            }
        }
    }

    fn add_either(&mut self, parts: &[Pattern]) {
        let Some((last, others)) = parts.split_last() else {
            return;
        };
        let mut jumps = Vec::new();
        for part in others {
            let split = self.split();
            self.add(part);
            jumps.push(self.steps.len());
            self.steps.push(Step::Jump(0));
            self.steps[split] = Step::Split(split + 1, self.steps.len());
        }
        self.add(last);
        for jump in jumps {
            self.steps[jump] = Step::Jump(self.steps.len());
        }
    }

    fn split(&mut self) -> usize {
        self.steps.push(Step::Split(0, 0));
        self.steps.len() - 1
    }

    /// A split goes on right after it, or here.
    fn resolve(&mut self, split: usize, greedy: bool) {
        let (into, past) = (split + 1, self.steps.len());
        self.steps[split] = match greedy {
            true => Step::Split(into, past),
            false => Step::Split(past, into),
        };
    }

    /// Searches for a match that begins with row `start`, from where `search` came to. Rows were
    /// tried by other searches as often as `spent` says.
    pub fn search<C: Conditions>(
        &self,
        (start, search): (usize, &mut Search),
        rows: Rows<'_>,
        spent: &[u32],
        conditions: &mut C,
    ) -> Result<Found, C::Error> {
        let mut path = Path {
            start,
            labels: std::mem::take(&mut search.labels),
        };
        let is_local = conditions.are_local();
        let mut failed = Failed::new(self.steps.len(), is_local);
        while let Some((mut step, taken)) = search.open.pop() {
            path.labels.truncate(taken);
            loop {
                match self.steps[step] {
                    Step::Done => return Ok(Found::Match(path)),
                    Step::Jump(to) => step = to,
                    Step::Split(first, second) => {
                        search.open.push((second, path.labels.len()));
                        step = first;
                    }
                    Step::Take(variable) => {
                        let taken = path.labels.len();
                        let row = start + taken;
                        if failed.was_tried(step, taken) || rows.is_beyond(start, row) {
                            break;
                        }
                        if row == rows.times.len() {
                            search.open.push((step, taken));
                            search.labels = path.labels;
                            return Ok(Found::Open);
                        }
                        // Else no step is tried twice at a row.
                        let spent = spent.get(row).copied().unwrap_or(0);
                        if !is_local && !search.may_try(taken, spent, self.row_tries_max) {
                            return Ok(Found::TooManyWays);
                        }
                        path.labels.push(variable);
                        if !conditions.holds(&path)? {
                            break;
                        }
                        step += 1;
                    }
                }
            }
        }
        Ok(Found::Nothing)
    }
}

/// Steps that were tried at a row: where conditions look at nothing else, they fail again.
struct Failed {
    steps: usize,
    tried: Option<Vec<bool>>,
}

impl Failed {
    fn new(steps: usize, is_kept: bool) -> Self {
        Self {
            steps,
            tried: is_kept.then(Vec::new),
        }
    }

    fn was_tried(&mut self, step: usize, taken: usize) -> bool {
        let Some(tried) = &mut self.tried else {
            return false;
        };
        let at = taken * self.steps + step;
        if at >= tried.len() {
            tried.resize((taken + 1) * self.steps, false);
        }
        std::mem::replace(&mut tried[at], true)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Takes any row as the first variable, and none as another one; counts how often it is asked.
    #[derive(Default)]
    struct Any {
        is_local: bool,
        asked: Cell<usize>,
    }

    impl Conditions for Any {
        type Error = std::convert::Infallible;

        fn holds(&mut self, path: &Path) -> Result<bool, Self::Error> {
            self.asked.set(self.asked.get() + 1);
            Ok(path.labels.last() == Some(&0))
        }

        fn are_local(&self) -> bool {
            self.is_local
        }

        fn local(&self, variable: usize, _: usize) -> Local {
            self.asked.set(self.asked.get() + 1);
            match variable {
                0 => Local::Holds,
                _ => Local::DoesNot,
            }
        }
    }

    fn more(inner: Pattern) -> Pattern {
        Pattern::Repeat {
            inner: Box::new(inner),
            least: 1,
            most: None,
            greedy: true,
        }
    }

    fn rows(times: &[i64], within_us: Option<i64>) -> Rows<'_> {
        Rows {
            times,
            horizon: None,
            within_us,
        }
    }

    #[test]
    fn a_search_gives_up_where_a_pattern_has_too_many_ways() {
        let nested = Pattern::Then(vec![more(more(Pattern::Row(0))), Pattern::Row(1)]);
        let times: Vec<i64> = (0..40).collect();
        let program = Program::new(&nested).with_row_tries_max(u32::MAX);
        let start = (0, &mut Search::default());

        let found = program.search(start, rows(&times, None), &[], &mut Any::default());

        assert_eq!(found, Ok(Found::TooManyWays));
    }

    #[test]
    fn a_row_is_tried_only_so_often_by_all_searches_together() {
        let pattern = Pattern::Then(vec![more(Pattern::Row(0)), Pattern::Row(1)]);
        let times: Vec<i64> = (0..100).collect();
        let program = Program::new(&pattern).with_row_tries_max(60);
        let search = |spent: &[u32]| {
            let start = (0, &mut Search::default());
            program.search(start, rows(&times, None), spent, &mut Any::default())
        };

        // Each row is tried as both variables.
        assert_eq!(search(&[58; 100]), Ok(Found::Nothing));
        let mut spent = [0; 100];
        spent[70] = 59;
        assert_eq!(search(&spent), Ok(Found::TooManyWays));
    }

    #[test]
    fn what_matches_nowhere_is_found_out_by_looking_at_each_row_once() {
        let pattern = Pattern::Then(vec![more(Pattern::Row(0)), Pattern::Row(1)]);
        let times: Vec<i64> = (0..10_000).collect();
        let program = Program::new(&pattern);
        let mut any = Any {
            is_local: true,
            ..Any::default()
        };
        for within in [None, Some(5_000)] {
            any.asked.set(0);
            let ahead = program.ahead(0, rows(&times, within), &any).unwrap();

            for start in 0..times.len() {
                let found = program.follow(&ahead, start, rows(&times, within), &mut any);
                assert_eq!(found, Ok(Found::Nothing));
            }

            let takes = 3;
            assert_eq!(any.asked.get(), takes * times.len());
        }
    }

    #[test]
    fn a_search_goes_on_where_it_stopped() {
        let pattern = Pattern::Then(vec![more(Pattern::Row(0)), Pattern::Row(1)]);
        let times: Vec<i64> = (0..50).collect();
        let program = Program::new(&pattern);
        let (mut any, mut search) = (Any::default(), Search::default());
        for count in 1..=times.len() {
            let rows = Rows {
                horizon: Some(100),
                ..rows(&times[..count], None)
            };
            let found = program.search((0, &mut search), rows, &[], &mut any);
            assert_eq!(found, Ok(Found::Open));
        }

        assert_eq!(any.asked.get(), times.len());
    }
}
