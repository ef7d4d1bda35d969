//! How far a partition has been searched, and what that cost.

use super::search::{Conditions, Found, Path, Program, Rows, Search};
use super::too_many_ways;
use crate::dataflow::group::GroupError;
use crate::plan::AfterMatch;

/// What is known of a partition besides its rows.
#[derive(Debug, Default)]
pub struct Progress {
    /// Where a match may begin; the rows before are only looked back at.
    start: usize,
    /// How often rows were tried by the searches that are over, where that is counted. It is saved
    /// with the rows: whether it was too often must not hang on where a run began again.
    spent: Vec<u32>,
    /// The search that waits for more rows. It is not saved, but made again.
    search: Option<Search>,
}

impl Progress {
    /// Where a match may begin.
    pub fn start(&self) -> usize {
        self.start
    }

    /// How often a row was tried by searches that are over.
    pub fn spent(&self, row: usize) -> u32 {
        self.spent.get(row).copied().unwrap_or(0)
    }

    /// One more row that was saved, and whether it is only looked back at.
    pub fn restore(&mut self, is_behind: bool, spent: u32) {
        self.start += usize::from(is_behind);
        self.spent.push(spent);
    }

    /// Finds the matches that are decided.
    pub fn search<C: Conditions<Error = GroupError>>(
        &mut self,
        program: &Program,
        rows: Rows<'_>,
        conditions: &mut C,
        after: AfterMatch,
    ) -> Result<Vec<Path>, GroupError> {
        let is_local = conditions.are_local();
        let ahead = is_local.then(|| program.ahead(self.start, rows, conditions));
        let ahead = ahead.flatten();
        let mut paths = Vec::new();
        while self.start < rows.times.len() {
            let found = match &ahead {
                Some(ahead) => program.follow(ahead, self.start, rows, conditions)?,
                None => {
                    let mut search = self.search.take().unwrap_or_default();
                    let from = (self.start, &mut search);
                    let found = program.search(from, rows, &self.spent, conditions)?;
                    // Where steps are never tried twice at a row, it is not known here which were.
                    self.search = (!is_local).then_some(search);
                    found
                }
            };
            match found {
                Found::Open => break,
                Found::Nothing => self.go_on(self.start + 1),
                Found::TooManyWays => return Err(too_many_ways().into()),
                Found::Match(path) => {
                    self.go_on(path.next(after));
                    paths.push(path);
                }
            }
        }
        Ok(paths)
    }

    /// The search is over; the next one begins at a later row.
    fn go_on(&mut self, next: usize) {
        if let Some(search) = self.search.take() {
            let by_row = search.by_row();
            let end = self.start + by_row.len();
            self.spent.resize(self.spent.len().max(end), 0);
            for (spent, tries) in self.spent[self.start..].iter_mut().zip(by_row) {
                *spent = spent.saturating_add(*tries);
            }
        }
        self.start = next;
    }

    /// Forgets the rows before those that are looked back at; says how many these are.
    pub fn forget(&mut self, looks_back: usize) -> usize {
        let dropped = self.start.saturating_sub(looks_back);
        self.spent.drain(..dropped.min(self.spent.len()));
        self.start -= dropped;
        dropped
    }
}
