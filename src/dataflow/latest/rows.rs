//! Rows by key, of each key the last.

use arrow::row::{OwnedRow, Row};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// The last row of each key.
pub(super) struct Rows {
    pub by_key: HashMap<OwnedRow, Entry, FixedState>,
    /// Memory that keys and rows take.
    pub bytes: usize,
}

/// A key's last row.
pub(super) struct Entry {
    /// What says that it is the last.
    pub order: OwnedRow,
    /// The input's columns and its two places.
    pub row: OwnedRow,
    /// The turn of the key's last record, where keys are forgotten.
    pub turn: i64,
}

impl Entry {
    fn size(&self, key: &OwnedRow) -> usize {
        self.row.as_ref().len() + self.order.as_ref().len() + key.as_ref().len()
    }
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            by_key: HashMap::with_hasher(FixedState::with_seed(0)),
            bytes: 0,
        }
    }
}

impl Rows {
    /// A row of a key comes. If it is the last one, says which was it before.
    pub fn offer(
        &mut self,
        key: &OwnedRow,
        (order, row): (Row<'_>, Row<'_>),
        turn: i64,
    ) -> Option<Option<OwnedRow>> {
        let entry = |turn: i64| Entry {
            order: order.owned(),
            row: row.owned(),
            turn,
        };
        let Some(known) = self.by_key.get_mut(key) else {
            let entry = entry(turn);
            self.bytes += entry.size(key);
            self.by_key.insert(key.clone(), entry);
            return Some(None);
        };
        known.turn = known.turn.max(turn);
        if known.order.row() >= order {
            return None;
        }
        let entry = entry(known.turn);
        self.bytes += entry.size(key);
        let old = std::mem::replace(known, entry);
        self.bytes -= old.size(key);
        Some(Some(old.row))
    }

    /// Forgets all and keeps the memory.
    pub fn clear(&mut self) {
        self.by_key.clear();
        self.bytes = 0;
    }

    /// Lets the keys go whose last record was before `first`; they and their rows go to `over`.
    /// Says the earliest turn of those that stay.
    pub fn forget(&mut self, first: i64, mut over: impl FnMut(&OwnedRow, &OwnedRow)) -> i64 {
        let mut oldest = i64::MAX;
        let bytes = &mut self.bytes;
        self.by_key.retain(|key, entry| {
            let stays = entry.turn >= first;
            if stays {
                oldest = oldest.min(entry.turn);
            } else {
                *bytes -= entry.size(key);
                over(key, &entry.row);
            }
            stays
        });
        oldest
    }
}
