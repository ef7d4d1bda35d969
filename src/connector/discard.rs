//! `connector = 'discard'`: counts rows and drops them. For benchmarks and for trying a query.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::catalog::{Connector, Guarantee, SinkEntry};
use super::open::OpenSink;
use super::{ConnectorError, Destination, Finding, TableChanges};
use crate::types::Mark;

/// Counts and drops.
pub(super) const CONNECTOR: Connector = Connector {
    name: "discard",
    help: "counts rows and drops them",
    options: &[],
    source: None,
    sink: Some(SinkEntry {
        guarantee: Guarantee::AtLeastOnce,
        keyed: true,
        takes_format: false,
        refused: None,
        letters: None,
        own_formats: &[],
        open: OpenSink {
            database: |table, _| format!("discard {}", table.name),
            open: |_| Ok(Box::new(Discard::default())),
        },
    }),
};

/// Keeps nothing but a count, so a run always starts from the beginning of its input.
#[derive(Debug, Default)]
pub struct Discard {
    rows: Arc<AtomicU64>,
}

impl Discard {
    /// How many rows were dropped so far: upserts and deletes together.
    #[must_use]
    pub fn rows(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.rows)
    }
}

impl Destination for Discard {
    fn take_over(&mut self, _incarnation: u64) -> Result<Option<Mark>, ConnectorError> {
        Ok(None)
    }

    fn publish(&mut self, _mark: &Mark, changes: &[TableChanges]) -> Result<(), ConnectorError> {
        let rows: usize = changes
            .iter()
            .flat_map(|change| [&change.upserts, &change.deletes])
            .flatten()
            .map(arrow::array::RecordBatch::num_rows)
            .sum();
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        Ok(())
    }

    fn empty(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn inspect(&self) -> Result<Vec<Finding>, ConnectorError> {
        Ok(Vec::new())
    }
}
