//! Where a record stands in its partition.

use serde::{Deserialize, Serialize};

/// A position in a partition: a Kafka offset, a byte of a (decompressed) file, a row of a
/// generator. Only its order and equality mean something to the engine.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// The position `distance` further on.
    #[must_use]
    pub fn plus(self, distance: u32) -> Self {
        Self(self.0 + u64::from(distance))
    }
}

impl std::fmt::Display for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Which bytes of a block one record is. Its offset is the block's plus `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Distance from the start of the block.
    pub start: u32,
    /// Bytes of the record, without its line end. Zero where records have no bytes (generator).
    pub len: u32,
}
