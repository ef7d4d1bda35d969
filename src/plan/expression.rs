//! A typed expression over a batch: DataFusion's evaluation, with the text it was written as.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::utils::collect_columns;

/// An expression over the columns of its node's input.
#[derive(Clone)]
pub struct Expression {
    /// What is evaluated; columns are positions in the input.
    pub physical: Arc<dyn PhysicalExpr>,
    /// How it reads, for `explain`, errors and the plan's fingerprint.
    pub text: String,
    /// The type it yields.
    pub data_type: DataType,
    /// Whether it may yield NULL.
    pub nullable: bool,
}

/// The text with the places of its columns: the same for the same computation, in every process.
impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} as {}", self.text, self.physical)
    }
}

impl Expression {
    /// One value per row of `batch`.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        self.physical.evaluate(batch)?.into_array(batch.num_rows())
    }

    /// Whether this is the same computation as `other` over the same input. The text does not
    /// tell: two columns may have one name.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.physical.as_ref() == other.physical.as_ref()
    }

    /// The input column this is, if it is nothing but a column.
    #[must_use]
    pub fn as_column(&self) -> Option<usize> {
        self.physical
            .downcast_ref::<Column>()
            .map(|column| column.index())
    }

    /// The input columns it reads.
    #[must_use]
    pub fn columns(&self) -> std::collections::BTreeSet<usize> {
        collect_columns(&self.physical)
            .iter()
            .map(Column::index)
            .collect()
    }

    /// The same expression over an input whose columns stand elsewhere: what was column `i` is
    /// column `place(i)`.
    #[must_use]
    pub fn moved(&self, place: impl Fn(usize) -> usize) -> Self {
        let moved = Arc::clone(&self.physical).transform(|node| {
            let Some(column) = node.downcast_ref::<Column>() else {
                return Ok(Transformed::no(node));
            };
            let column = Column::new(column.name(), place(column.index()));
            Ok(Transformed::yes(Arc::new(column) as Arc<dyn PhysicalExpr>))
        });
        let physical = moved.expect("replacing columns does not fail").data;
        Self {
            physical,
            ..self.clone()
        }
    }
}
