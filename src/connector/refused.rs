//! Values that a sink cannot hold.
//!
//! A value that passes through from a source to a sink is looked at where it is read, so that its
//! record can be rejected there. The same value, computed, can only stop the run.

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::Field;

use super::catalog::connector;

/// The rows of one column that a sink cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedValues {
    /// Set for each of them; there is at least one.
    pub rows: BooleanBuffer,
    /// What is wrong with these values, as in "it is ..".
    pub reason: &'static str,
}

/// Which rows of `column` a sink with this connector cannot hold; `None` if it holds them all.
/// `field` says what the sink's table declares for it.
#[must_use]
pub fn refused_values(name: &str, field: &Field, column: &ArrayRef) -> Option<RefusedValues> {
    let sink = connector(name)?.sink.as_ref()?;
    (sink.refused?)(field, column)
}

/// Whether there are values that a sink with this connector cannot hold.
#[must_use]
pub fn refuses_values(name: &str) -> bool {
    let sink = connector(name).and_then(|connector| connector.sink.as_ref());
    sink.is_some_and(|sink| sink.refused.is_some())
}
