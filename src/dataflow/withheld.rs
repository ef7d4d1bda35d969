//! Rows of a changing stream that cannot be computed, for as long as they are there.
//!
//! ```text
//!   +row  an expression fails on it ──▶ not in the table, remembered here
//!   -row  the same row, taken back  ──▶ forgotten
//!   end of the input ──▶ what is still here ends the run with an error
//! ```
//!
//! Rows of a running aggregate come and go, and which of them are seen at all depends on where
//! epochs were cut. So a row that fails for a moment must leave no trace; what counts are the
//! rows that are there when the input ends, which is a function of the input. A snapshot does not
//! hold them: of an epoch that ends with any, none is published (see `Shared::has_left_out`).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use timely::dataflow::operators::Capability;
use tracing::warn;

use super::faults::hint;
use super::outcome::{Failure, Shared};
use crate::types::Epoch;

/// The rows that one operator cannot compute now.
#[derive(Debug)]
pub struct Withheld {
    operator: String,
    shared: Arc<Shared>,
    rows: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    count: i64,
    message: String,
}

impl Withheld {
    /// None yet.
    #[must_use]
    pub fn new(operator: &str, shared: Arc<Shared>) -> Self {
        Self {
            operator: operator.to_owned(),
            shared,
            rows: BTreeMap::new(),
        }
    }

    /// A row that fails came (`count` 1) or went (-1) in `epoch`.
    pub fn change(&mut self, epoch: Epoch, row: String, count: i64, message: String) {
        if self.rows.is_empty() && count > 0 {
            warn!(
                operator = self.operator,
                query = self.shared.called(&self.operator),
                row,
                message,
                "a row is left out while it cannot be computed"
            );
        }
        let entry = self.rows.entry(row.clone());
        let entry = entry.or_insert(Entry { count: 0, message });
        entry.count += count;
        if entry.count == 0 {
            self.rows.remove(&row);
        }
        self.shared.leaves_out(epoch, count);
    }

    /// What to say of them when the input ends.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        // One that only went came before the snapshot that this run began with.
        let mut there = self.rows.iter().filter(|(_, entry)| entry.count > 0);
        let (row, Entry { message, .. }) = there.next()?;
        let failure = left_over(row, message, 1 + there.count());
        Some(self.shared.cannot_compute_row(&self.operator, failure))
    }
}

/// The input ended with `rows` rows that cannot be computed, such as this one.
#[must_use]
pub fn left_over(row: &str, message: &str, rows: usize) -> Failure {
    let others = match rows {
        1 => String::new(),
        2 => ", nor another one".to_owned(),
        more => format!(", nor {} others", more - 1),
    };
    Failure::new(format!("cannot compute the row {row}{others}"))
        .because(message)
        .hint(hint(message))
}

/// How row `row` of `rows` reads: `k = a, count(*) = 3`.
#[must_use]
pub fn row_text(rows: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::new().with_null("NULL");
    let fields = rows.schema_ref().fields().iter();
    let columns = fields.zip(rows.columns()).map(|(field, column)| {
        let value = ArrayFormatter::try_new(column, &options)
            .and_then(|formatter| formatter.value(row).try_to_string())
            .unwrap_or_else(|error| error.to_string());
        format!("{} = {value}", field.name())
    });
    columns.collect::<Vec<_>>().join(", ")
}

/// Keeps an operator from being over before it has said what it withholds. It holds the epoch
/// that the frontier stands at, and so nothing that is complete.
#[derive(Default)]
pub struct Guard(Option<Capability<u64>>);

impl Guard {
    /// From now on the operator holds something back.
    pub fn set(&mut self, hold: impl FnOnce() -> Capability<u64>) {
        self.0.get_or_insert_with(hold);
    }

    /// Whether something was held back when last looked.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// The frontier is here. If that is the end, what is left over ends the run, unless the input goes
    /// on another time: then it is for that run to say.
    pub fn advance(&mut self, frontier: Option<Epoch>, left: Option<Failure>, shared: &Shared) {
        match (&mut self.0, frontier, left) {
            (Some(capability), Some(frontier), Some(_)) => {
                if *capability.time() < frontier.0 {
                    capability.downgrade(&frontier.0);
                }
                return;
            }
            (_, None, Some(failure)) if shared.goes_on() => warn!(
                why = failure.causes.join(": "),
                "{}: it is left out until its input goes on", failure.message
            ),
            (_, None, Some(failure)) => shared.fail(failure),
            (None, _, _) | (Some(_), None, _) | (Some(_), Some(_), None) => {}
        }
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_came_and_went_leaves_nothing() {
        let mut withheld = Withheld::new("compute 3", Arc::default());
        let change = |withheld: &mut Withheld, count| {
            withheld.change(
                Epoch(1),
                "n = 1".to_owned(),
                count,
                "division by zero".to_owned(),
            );
        };

        change(&mut withheld, 1);
        assert!(withheld.failure().is_some());
        change(&mut withheld, -1);
        assert!(withheld.failure().is_none());
        change(&mut withheld, -1);
        change(&mut withheld, 1);
        assert!(withheld.failure().is_none());
    }

    /// Operators and threads do not keep step: what is asked is how one epoch ended.
    #[test]
    fn an_epoch_that_ended_with_a_row_left_out_is_known_when_the_row_is_well_again() {
        let shared = Arc::new(Shared::default());
        let mut withheld = Withheld::new("compute 3", Arc::clone(&shared));
        let mut change = |epoch, count| {
            withheld.change(Epoch(epoch), "n = 1".to_owned(), count, String::new());
        };

        change(7, -1);
        change(5, 1);

        let left_out = [4, 5, 6, 7, 8].map(|epoch| shared.has_left_out(Epoch(epoch)));
        assert_eq!(left_out, [false, true, true, false, false]);
    }

    #[test]
    fn what_is_left_over_is_named() {
        let mut withheld = Withheld::new("compute 3", Arc::default());
        withheld.change(
            Epoch(1),
            "k = b".to_owned(),
            1,
            "division by zero".to_owned(),
        );
        withheld.change(
            Epoch(1),
            "k = a".to_owned(),
            1,
            "division by zero".to_owned(),
        );

        let failure = withheld.failure().unwrap();

        assert_eq!(
            failure.message,
            "cannot compute the row k = a, nor another one"
        );
        assert_eq!(failure.causes, ["division by zero"]);
    }
}
