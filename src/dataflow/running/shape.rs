//! `Running` as the shell and the door of state see it.

use arrow::array::RecordBatch;

use super::Running;
use crate::dataflow::group::{Changes, GroupError, Groups};
use crate::dataflow::outcome::Failure;
use crate::dataflow::state::{StateError, Stateful};
use crate::types::Watermark;

impl Stateful for Running {
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

impl Groups for Running {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        self.update(rows)
    }

    fn merge(&mut self, _: &RecordBatch) -> Result<(), GroupError> {
        Err("rows of functions over partitions are sent as they are".into())
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
