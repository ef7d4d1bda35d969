//! The matches as the shell knows them.

use arrow::array::RecordBatch;

use super::Matches;
use crate::dataflow::group::{Changes, GroupError, Groups};
use crate::dataflow::outcome::Failure;
use crate::dataflow::state::{StateError, Stateful};
use crate::types::Watermark;

impl Stateful for Matches {
    fn rows(&self) -> usize {
        self.held()
    }

    fn bytes(&self) -> usize {
        self.memory()
    }

    fn save(&self) -> Result<Vec<RecordBatch>, StateError> {
        self.saved()
    }

    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError> {
        self.load(saved)
    }
}

impl Groups for Matches {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        self.update(rows)
    }

    fn merge(&mut self, _: &RecordBatch) -> Result<(), GroupError> {
        Err("rows of matches are sent as they are".into())
    }

    fn changes(&mut self) -> Result<Vec<Changes>, GroupError> {
        Ok(Vec::new())
    }

    fn close(&mut self, watermark: Watermark) -> Result<Vec<RecordBatch>, GroupError> {
        self.close(watermark)
    }

    fn left_over(&self) -> Result<Option<Failure>, GroupError> {
        Ok(None)
    }
}
