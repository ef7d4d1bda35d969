//! What can go wrong while aggregating.

use arrow::error::ArrowError;
use datafusion_common::DataFusionError;

/// Why an aggregation cannot be planned or could not go on. It names the aggregate as written.
#[derive(Debug, thiserror::Error)]
pub enum AggregateError {
    /// The call is not one that can be computed; found before the first row.
    #[error("cannot compute `{text}`: {reason}")]
    Unsupported {
        /// The call.
        text: String,
        /// Why not, and what to write.
        reason: String,
    },
    /// A result does not fit its type, or a state could not be read.
    #[error("could not compute `{text}`")]
    Compute {
        /// The call.
        text: String,
        /// What happened.
        #[source]
        cause: ArrowError,
    },
    /// An expression failed on a batch.
    #[error("could not evaluate `{text}`")]
    Expression {
        /// The expression.
        text: String,
        /// What happened.
        #[source]
        cause: DataFusionError,
    },
    /// Columns could not be put together.
    #[error("could not group rows")]
    Columns(#[from] ArrowError),
    /// A row that is final and has a result beyond its type.
    #[error("{0}")]
    Row(String),
}

impl AggregateError {
    /// It and what led to it.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text += &format!(": {cause}");
            next = cause.source();
        }
        text
    }
}
