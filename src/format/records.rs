//! The records of a block, where its source tells them apart and not the format's framing.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::types::Offset;

/// The records of a block, in order.
#[derive(Clone, Debug)]
pub struct Records {
    /// Where each begins in the block's bytes, ascending, and at last where the bytes end. A line
    /// feed follows each record and is not part of it.
    pub places: Vec<u32>,
    /// The position of each in its partition, ascending, not always without gaps.
    pub offsets: Vec<u64>,
    /// When each was written, by the record itself: microseconds since 1970; negative where it
    /// does not say.
    pub timestamps: Vec<i64>,
    /// Which have no value at all (a topic's tombstones), ascending. Their bytes are empty.
    pub tombstones: Vec<u32>,
    /// One row per record: the columns that do not come out of its bytes (key, headers ..), in
    /// the order in which they are declared; no columns where none is. A key is bytes, also where
    /// the column is text.
    pub metadata: RecordBatch,
}

impl Records {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Where in the block's bytes a record is.
    #[must_use]
    pub fn bytes(&self, record: usize) -> std::ops::Range<usize> {
        // Up to the line feed, which is no part of it.
        self.places[record] as usize..self.places[record + 1] as usize - 1
    }

    /// When those at positions from `from` to before `end` were written.
    #[must_use]
    pub fn written(&self, from: Offset, end: Offset) -> &[i64] {
        let before = |position: Offset| self.offsets.partition_point(|&at| at < position.0);
        &self.timestamps[before(from)..before(end)]
    }

    /// Whether a record has no value.
    #[must_use]
    pub fn is_tombstone(&self, record: usize) -> bool {
        !self.tombstones.is_empty()
            && u32::try_from(record).is_ok_and(|r| self.tombstones.binary_search(&r).is_ok())
    }

    /// The record that begins at `place` or holds it.
    #[must_use]
    pub fn at(&self, place: u32) -> usize {
        self.places[..self.len()].partition_point(|&begin| begin <= place) - 1
    }
}

/// What the place of a record in its block says of its position in the partition.
#[derive(Clone, Debug)]
pub enum Positions {
    /// The position is the block's plus the place: offsets count bytes.
    Bytes {
        /// The block's.
        start: Offset,
    },
    /// Each record has its own.
    Records(Arc<Records>),
    /// The records are rows, whose place is their number: the position is the block's plus that.
    Rows {
        /// The block's.
        start: Offset,
        /// The rows as they came.
        rows: Arc<RecordBatch>,
    },
}

impl Positions {
    /// The position of the record that begins at `place`.
    #[must_use]
    pub fn of(&self, place: u32) -> Offset {
        match self {
            Self::Bytes { start } | Self::Rows { start, .. } => start.plus(place),
            Self::Records(records) => Offset(records.offsets[records.at(place)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;

    #[test]
    fn a_place_inside_a_record_is_that_record() {
        let records = Records {
            places: vec![0, 4, 5, 9],
            offsets: vec![7, 9, 10],
            timestamps: vec![0; 3],
            tombstones: Vec::new(),
            metadata: RecordBatch::new_empty(Arc::new(Schema::empty())),
        };

        assert_eq!(
            [0, 3, 4, 5, 8].map(|place| records.at(place)),
            [0, 0, 1, 2, 2]
        );
        assert_eq!(records.bytes(1), 4..4);
        let positions = Positions::Records(Arc::new(records));
        assert_eq!(positions.of(5), Offset(10));
    }
}
