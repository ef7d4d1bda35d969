//! Sessions on the source's worker, before the exchange.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::Sessions;
use super::changes::Shown;
use crate::dataflow::aggregate::error::AggregateError;
use crate::dataflow::aggregate::plan::Plan;

/// Parts of sessions: of the rows since the last `drain`.
pub struct SessionPartials(Sessions);

impl SessionPartials {
    pub(in crate::dataflow::aggregate) fn new(plan: &Arc<Plan>) -> Option<Self> {
        let sessions = Sessions::new(plan)?;
        Some(Self(Sessions {
            shown: None::<Shown>,
            ..sessions
        }))
    }

    /// Takes rows of the input.
    pub fn update(&mut self, input: &RecordBatch) -> Result<(), AggregateError> {
        self.0.update(input)
    }

    /// How many groups it holds.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.0.groups()
    }

    /// All of them; then it is empty.
    pub fn drain(&mut self) -> Result<Vec<RecordBatch>, AggregateError> {
        let drained = self.0.state()?;
        self.0.intervals.clear();
        self.0.slots.clear();
        (self.0.given, self.0.live) = (0, 0);
        Ok(drained)
    }
}
