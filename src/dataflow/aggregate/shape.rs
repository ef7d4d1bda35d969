//! The aggregates as the shell knows them.

use arrow::array::RecordBatch;

use super::{Aggregates, Input, Partials, SessionPartials, Sessions};
use crate::dataflow::group::{Changes, GroupError, Groups, PreGroups};
use crate::dataflow::outcome::Failure;
use crate::dataflow::state::{OpenWindows, StateError, Stateful};
use crate::dataflow::withheld::left_over;
use crate::dataflow::zones::Zone;
use crate::plan::{NodeId, Pipeline};
use crate::types::Watermark;

impl Input {
    /// What reads the rows of a node reads this.
    #[must_use]
    pub fn of(pipeline: &Pipeline, zones: &[Zone], node: NodeId) -> Self {
        let rows = &pipeline.nodes[node];
        let width = rows.schema.fields().len();
        match (rows.changing, zones[node].at_source) {
            (true, _) => Self::Changing { width },
            (false, true) => Self::Records,
            (false, false) => Self::Final { width },
        }
    }
}

impl Stateful for Aggregates {
    fn rows(&self) -> usize {
        self.groups()
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }

    fn windows(&self) -> Option<OpenWindows> {
        self.open_windows()
    }

    fn save(&self) -> Result<Vec<RecordBatch>, StateError> {
        Ok(self.saved()?)
    }

    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError> {
        Ok(self.load(saved)?)
    }
}

impl Groups for Aggregates {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        Ok(self.update(rows)?)
    }

    fn merge(&mut self, states: &RecordBatch) -> Result<(), GroupError> {
        Ok(self.merge(states)?)
    }

    fn changes(&mut self) -> Result<Vec<Changes>, GroupError> {
        let changes = self.changes()?.into_iter();
        Ok(changes
            .map(|(rows, counts)| Changes { rows, counts })
            .collect())
    }

    fn close(&mut self, watermark: Watermark) -> Result<Vec<RecordBatch>, GroupError> {
        Ok(self.close(watermark)?)
    }

    fn forget(&mut self, reached: Watermark) -> Result<Vec<RecordBatch>, GroupError> {
        Ok(self.forget(reached)?)
    }

    fn left_over(&self) -> Result<Option<Failure>, GroupError> {
        let left = self.left_over()?;
        Ok(left.map(|(row, message, rows)| left_over(&row, &message, rows)))
    }
}

impl PreGroups for Partials {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        Ok(self.update(rows)?)
    }

    fn groups(&self) -> usize {
        self.groups()
    }

    fn drain(&mut self) -> Result<Vec<RecordBatch>, GroupError> {
        Ok(self.drain()?)
    }
}

impl Stateful for Sessions {
    fn rows(&self) -> usize {
        self.groups()
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }

    fn windows(&self) -> Option<OpenWindows> {
        self.open_windows()
    }

    fn save(&self) -> Result<Vec<RecordBatch>, StateError> {
        Ok(self.state()?)
    }

    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError> {
        Ok(self.load(saved)?)
    }
}

impl Groups for Sessions {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        Ok(self.update(rows)?)
    }

    fn merge(&mut self, states: &RecordBatch) -> Result<(), GroupError> {
        Ok(self.merge(states)?)
    }

    fn changes(&mut self) -> Result<Vec<Changes>, GroupError> {
        let changes = self.changes()?.into_iter();
        Ok(changes
            .map(|(rows, counts)| Changes { rows, counts })
            .collect())
    }

    fn close(&mut self, watermark: Watermark) -> Result<Vec<RecordBatch>, GroupError> {
        Ok(self.close(watermark)?)
    }

    fn left_over(&self) -> Result<Option<Failure>, GroupError> {
        let left = self.left_over()?;
        Ok(left.map(|(row, message, rows)| left_over(&row, &message, rows)))
    }
}

impl PreGroups for SessionPartials {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        Ok(self.update(rows)?)
    }

    fn groups(&self) -> usize {
        self.groups()
    }

    fn drain(&mut self) -> Result<Vec<RecordBatch>, GroupError> {
        Ok(self.drain()?)
    }
}
