//! A typed expression over a batch: DataFusion's evaluation, with the text it was written as.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_physical_expr::PhysicalExpr;

/// An expression over the columns of its node's input.
#[derive(Clone, Debug)]
pub struct Expression {
    /// What is evaluated; columns are positions in the input.
    pub physical: Arc<dyn PhysicalExpr>,
    /// How it reads, for `explain`, errors and the plan's fingerprint. Two expressions over the
    /// same input with the same text are the same expression.
    pub text: String,
    /// The type it yields.
    pub data_type: DataType,
    /// Whether it may yield NULL.
    pub nullable: bool,
}

impl Expression {
    /// One value per row of `batch`.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        self.physical.evaluate(batch)?.into_array(batch.num_rows())
    }

    /// The input column this is, if it is nothing but a column.
    #[must_use]
    pub fn as_column(&self) -> Option<usize> {
        self.physical
            .downcast_ref::<datafusion_physical_expr::expressions::Column>()
            .map(|column| column.index())
    }
}
