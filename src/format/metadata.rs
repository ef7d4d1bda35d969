//! Columns that come with a record and not out of its bytes: `METADATA FROM 'key'` and the like.

use arrow::datatypes::Field;

/// Metadata key of a column that comes with the record; its value says what it is.
pub const METADATA: &str = "tidemark.metadata";

/// What comes with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// The name of the topic.
    Topic,
    /// The number of the partition.
    Partition,
    /// The position in the partition.
    Offset,
    /// When it was written.
    Timestamp,
    /// The key's bytes.
    Key,
    /// The headers, as a JSON object.
    Headers,
    /// Whether it has no value. Records of a table that asks for this are rows without one too.
    Tombstone,
}

/// What a column holds, if it comes with the record.
#[must_use]
pub fn metadata_of(field: &Field) -> Option<Metadata> {
    Some(match field.metadata().get(METADATA)?.as_str() {
        "topic" => Metadata::Topic,
        "partition" => Metadata::Partition,
        "offset" => Metadata::Offset,
        "timestamp" => Metadata::Timestamp,
        "key" => Metadata::Key,
        "headers" => Metadata::Headers,
        "tombstone" => Metadata::Tombstone,
        _ => return None,
    })
}
