//! What every destination knows of its tables, and small things they share.

use arrow::datatypes::SchemaRef;

use super::ConnectorError;

/// One table of a destination.
#[derive(Clone, Debug)]
pub struct SinkTable {
    /// Its name in the pipeline file, for messages.
    pub name: String,
    /// Its name where it is kept.
    pub target: String,
    /// All columns, in the order of the rows.
    pub schema: SchemaRef,
    /// Positions of the PRIMARY KEY, in key order; empty for an append table.
    pub key: Vec<usize>,
}

impl SinkTable {
    /// The names of the key columns, in key order.
    pub(super) fn key_names(&self) -> Vec<&str> {
        self.key
            .iter()
            .map(|&column| self.schema.field(column).name().as_str())
            .collect()
    }
}

/// What a look at the outside found wrong with one table, nothing having been changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Position in the list of tables that the destination was opened with.
    pub table: usize,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Why a table that is there cannot be used, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) hint: String,
}

impl Refusal {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub(super) fn into_finding(self, table: usize) -> Finding {
        Finding {
            table,
            message: self.message,
            hint: Some(self.hint),
        }
    }

    pub(super) fn into_error(self) -> ConnectorError {
        ConnectorError::hinted(self.message, self.hint)
    }
}

impl ConnectorError {
    /// It will not work however often it is tried.
    pub(crate) fn permanent(message: impl Into<String>) -> Self {
        Self::Permanent {
            message: message.into(),
            hint: None,
        }
    }

    /// As `permanent`, with what to do.
    pub(crate) fn hinted(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Permanent {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}
