//! A stateless operator behind state, on one batch.
//!
//! What fails there is nobody's record, so it is no reject. A row of a closed window is final:
//! one that fails ends the run. A row of a changing stream is left out for as long as it is
//! there (see `withheld`).

use std::cell::RefCell;
use std::rc::Rc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Int64Type, SchemaRef};

use super::assign::Passed;
use super::outcome::Failure;
use super::roles::{counts, with_counts};
use super::step::{Action, Piece, Turned, plain};
use super::withheld::{Withheld, left_over, row_text};
use crate::types::Epoch;

/// A step and the rows that it cannot compute now.
pub struct Compute {
    action: Action,
    width: usize,
    schema: SchemaRef,
    withheld: Option<Rc<RefCell<Withheld>>>,
}

impl Compute {
    /// Runs `action` on rows of `width` columns, which may carry a count each. `withheld` is
    /// for the rows of a changing stream.
    #[must_use]
    pub fn new(
        action: Action,
        width: usize,
        schema: SchemaRef,
        withheld: Option<Rc<RefCell<Withheld>>>,
    ) -> Self {
        Self {
            action,
            width,
            schema,
            withheld,
        }
    }

    /// What came of a batch of an epoch.
    pub fn run(&mut self, epoch: Epoch, batch: &RecordBatch) -> Result<RecordBatch, Failure> {
        let rows_fail = |why: String| Failure::new("cannot compute rows").because(why);
        let columns: Vec<usize> = (0..self.width).collect();
        let rows = batch.project(&columns);
        let rows = rows.map_err(|error| rows_fail(error.to_string()))?;
        let mut turned = Vec::new();
        let piece = Piece::whole(rows);
        let out = self
            .action
            .run(&piece, &self.schema, &Passed::nothing(), &mut turned)
            .map_err(|error| rows_fail(plain(&error)))?;
        let counts = counts(batch, self.width);
        for one in turned {
            let Turned::Failed { row, message } = one else {
                continue;
            };
            let (Some(withheld), Some(counts)) = (&self.withheld, counts) else {
                return Err(left_over(&row_text(&piece.rows, row as usize), &message, 1));
            };
            let row = row as usize;
            let text = row_text(&piece.rows, row);
            withheld
                .borrow_mut()
                .change(epoch, text, counts.value(row), message);
        }
        let Some(counts) = counts else {
            return Ok(out.rows);
        };
        let Some(origin) = &out.origin else {
            return Ok(with_counts(&out.rows, counts));
        };
        let origin = UInt32Array::from(origin.to_vec());
        let counts = take(counts, &origin, None);
        let counts = counts.map_err(|error| rows_fail(error.to_string()))?;
        Ok(with_counts(&out.rows, counts.as_primitive::<Int64Type>()))
    }

    /// What to say if the input ends now.
    #[must_use]
    pub fn left_over(&self) -> Option<Failure> {
        let withheld = self.withheld.as_ref()?;
        withheld.borrow().failure()
    }
}
