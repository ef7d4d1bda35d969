//! What tests of operators share: a vault in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;

use super::state::{Part, StateError, Vault};

/// Keeps parts in memory.
#[derive(Default)]
pub struct Memory {
    before: BTreeMap<String, Arc<Vec<RecordBatch>>>,
    saved: Mutex<Vec<Part>>,
}

impl Vault for Memory {
    fn saved(&self, operator: &str) -> Result<Arc<Vec<RecordBatch>>, StateError> {
        Ok(self.before.get(operator).cloned().unwrap_or_default())
    }

    fn save(&self, part: Part) {
        self.saved.lock().unwrap().push(part);
    }
}

impl Memory {
    /// A vault for a run that begins with what was saved in this one.
    pub fn after(&self) -> Self {
        let mut before: BTreeMap<String, Vec<RecordBatch>> = BTreeMap::new();
        for part in self.saved.lock().unwrap().iter() {
            let batches = before.entry(part.operator.clone()).or_default();
            batches.extend(part.batches.iter().cloned());
        }
        let before = before.into_iter().map(|(name, all)| (name, Arc::new(all)));
        Self {
            before: before.collect(),
            saved: Mutex::default(),
        }
    }

    /// How many rows were saved.
    pub fn rows(&self) -> usize {
        let saved = self.saved.lock().unwrap();
        let batches = saved.iter().flat_map(|part| &part.batches);
        batches.map(RecordBatch::num_rows).sum()
    }
}
