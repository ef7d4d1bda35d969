//! Where a search gets to from each row and step, known before it is made: for conditions that
//! look at a row and its neighbours alone.
//!
//! ```text
//!   rows      1   2   3   4 |     the last first: what a step comes to at a row follows from
//!   take A   <── <── <── <──      what the steps after it come to at the next one
//! ```
//!
//! What happens from a step on at a row is the same whichever row the match began with, but for
//! how far it may reach (WITHIN). So it is told by one number: the least such reach with which
//! anything happens. Then a search never turns back: where it may go on in two ways it takes the
//! preferred one if something happens there within its reach. All searches of a partition
//! together take as long as its rows, their matches and the pattern are, where each by itself
//! would walk over all rows that may still be part of a match.

use super::search::{Conditions, Found, Path, Program, Rows, Step};

/// What a condition that looks at a row and its neighbours says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// The row may be taken.
    Holds,
    /// It may not.
    DoesNot,
    /// That cannot be computed: an error if it is asked for.
    Fails,
}

/// By row and step: up to which row, it not included, a search must reach at least for something
/// to happen: a match, a condition that fails, or that a row is asked for which has not come.
#[derive(Debug)]
pub struct Ahead {
    /// The first row that is known.
    first: usize,
    steps: usize,
    least: Vec<u32>,
}

/// Nothing happens, however far a search reaches.
const NEVER: u32 = u32::MAX;

/// How much may be known ahead: a pattern of very many steps is searched for row by row.
const KNOWN_MAX: usize = 1 << 25;

impl Ahead {
    fn at(&self, step: usize, row: usize) -> u32 {
        self.least[(row - self.first) * self.steps + step]
    }
}

impl Program {
    /// Looks ahead from row `first` on, if that is not too much.
    pub fn ahead(
        &self,
        first: usize,
        rows: Rows<'_>,
        conditions: &impl Conditions,
    ) -> Option<Ahead> {
        let (steps, count) = (self.steps().len(), rows.times.len());
        let known = steps.checked_mul(count + 1 - first)?;
        if known > KNOWN_MAX {
            return None;
        }
        let number = |row: usize| u32::try_from(row).expect("rows of a batch");
        let mut least = vec![NEVER; known];
        for row in (first..=count).rev() {
            let (here, next) = least[(row - first) * steps..].split_at_mut(steps);
            for &step in self.order() {
                here[step] = match self.steps()[step] {
                    Step::Done => number(row),
                    Step::Jump(to) => here[to],
                    Step::Split(first, second) => here[first].min(here[second]),
                    Step::Take(_) if row == count => number(row + 1),
                    Step::Take(variable) => match conditions.local(variable, row) {
                        Local::Holds => next[step + 1],
                        Local::Fails => number(row + 1),
                        Local::DoesNot => NEVER,
                    },
                };
            }
        }
        Some(Ahead {
            first,
            steps,
            least,
        })
    }

    /// Searches for a match that begins with row `start`, knowing where everything leads.
    pub fn follow<C: Conditions>(
        &self,
        ahead: &Ahead,
        start: usize,
        rows: Rows<'_>,
        conditions: &mut C,
    ) -> Result<Found, C::Error> {
        let reach = rows.reach(start);
        let happens = |step: usize, row: usize| ahead.at(step, row) as usize <= reach;
        if !happens(0, start) {
            return Ok(Found::Nothing);
        }
        let mut path = Path {
            start,
            labels: Vec::new(),
        };
        let mut step = 0;
        loop {
            let row = start + path.labels.len();
            match self.steps()[step] {
                Step::Done => return Ok(Found::Match(path)),
                Step::Jump(to) => step = to,
                Step::Split(first, second) => {
                    step = if happens(first, row) { first } else { second };
                }
                Step::Take(_) if row == rows.times.len() => return Ok(Found::Open),
                Step::Take(variable) => {
                    path.labels.push(variable);
                    let holds = conditions.holds(&path)?;
                    assert!(holds, "something happens from step {step} on at row {row}");
                    step += 1;
                }
            }
        }
    }
}
