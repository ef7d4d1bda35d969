//! The search for a pattern from one row on: a program of few steps, and what was preferred last
//! is tried next where a row does not fit.
//!
//! ```text
//!   A B*? (C | D)      take A; split 4, 2; take B; jump 1; split 5, 7; take C; jump 8; take D; done
//! ```
//!
//! The first match in the order of preference is the match. So where a row that has not come yet
//! would be asked, the search is open: what is preferred less cannot be the answer before that is
//! known. Hence a match does not depend on how many rows were there when it was looked for.

use crate::plan::{AfterMatch, Pattern};

/// A pattern, ready to be searched for.
#[derive(Debug)]
pub struct Program(Vec<Step>);

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A row, as a variable.
    Take(usize),
    /// Goes on at the first place; at the second one if that fails.
    Split(usize, usize),
    Jump(usize),
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
}

impl Program {
    /// Of a pattern.
    pub fn new(pattern: &Pattern) -> Self {
        let mut program = Self(Vec::new());
        program.add(pattern);
        program.0.push(Step::Done);
        program
    }

    fn add(&mut self, pattern: &Pattern) {
        match pattern {
            Pattern::Row(variable) => self.0.push(Step::Take(*variable)),
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
                        self.0.push(Step::Jump(split));
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
            jumps.push(self.0.len());
            self.0.push(Step::Jump(0));
            self.0[split] = Step::Split(split + 1, self.0.len());
        }
        self.add(last);
        for jump in jumps {
            self.0[jump] = Step::Jump(self.0.len());
        }
    }

    fn split(&mut self) -> usize {
        self.0.push(Step::Split(0, 0));
        self.0.len() - 1
    }

    /// A split goes on right after it, or here.
    fn resolve(&mut self, split: usize, greedy: bool) {
        let (into, past) = (split + 1, self.0.len());
        self.0[split] = match greedy {
            true => Step::Split(into, past),
            false => Step::Split(past, into),
        };
    }

    /// Searches for a match that begins with row `start`.
    pub fn search<C: Conditions>(
        &self,
        start: usize,
        rows: Rows<'_>,
        conditions: &mut C,
    ) -> Result<Found, C::Error> {
        let mut path = Path {
            start,
            labels: Vec::new(),
        };
        let is_local = conditions.are_local();
        let mut failed = Failed::new(self.0.len(), is_local);
        let (mut open, mut tries) = (vec![(0, 0)], 0);
        while let Some((mut step, taken)) = open.pop() {
            path.labels.truncate(taken);
            loop {
                match self.0[step] {
                    Step::Done => return Ok(Found::Match(path)),
                    Step::Jump(to) => step = to,
                    Step::Split(first, second) => {
                        open.push((second, path.labels.len()));
                        step = first;
                    }
                    Step::Take(variable) => {
                        let taken = path.labels.len();
                        if failed.was_tried(step, taken) || rows.is_beyond(start, start + taken) {
                            break;
                        }
                        if start + taken == rows.times.len() {
                            return Ok(Found::Open);
                        }
                        // Else no step is tried twice at a row.
                        tries += usize::from(!is_local);
                        if tries > TRIES_MAX {
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
    use super::*;

    /// Takes any row as the first variable, and none as another one.
    struct Any;

    impl Conditions for Any {
        type Error = std::convert::Infallible;

        fn holds(&mut self, path: &Path) -> Result<bool, Self::Error> {
            Ok(path.labels.last() == Some(&0))
        }

        fn are_local(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_search_gives_up_where_a_pattern_has_too_many_ways() {
        let more = |inner| Pattern::Repeat {
            inner: Box::new(inner),
            least: 1,
            most: None,
            greedy: true,
        };
        let nested = Pattern::Then(vec![more(more(Pattern::Row(0))), Pattern::Row(1)]);
        let times: Vec<i64> = (0..40).collect();
        let rows = Rows {
            times: &times,
            horizon: None,
            within_us: None,
        };

        let found = Program::new(&nested).search(0, rows, &mut Any);

        assert_eq!(found, Ok(Found::TooManyWays));
    }
}
