//! Accumulators: one value in the making per group, as flat vectors by group number.
//!
//! Each is a function of the multiset of values that it was given: not of their order, nor of how
//! they were cut into batches or partial states. Results are read in place, as often as wanted.

mod count;
mod exact;
mod extreme;
mod floats;
mod whole;
mod wide;

use std::ops::Range;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

pub use count::Counts;
pub use extreme::{Side, extremes};
pub use floats::FloatSums;
pub use whole::whole_sums;

/// What is read from an accumulator. Several calls may read one: `sum(x)` and `avg(x)` do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// How many values.
    Count,
    /// Their sum, of this type.
    Sum(DataType),
    /// Their average, of this type.
    Average(DataType),
    /// The only thing that the accumulator yields.
    Value,
}

/// State of one or several aggregates for many groups.
///
/// Groups are numbered from zero without gaps; `resize` comes before their first use.
pub trait Accumulator: Send {
    /// Makes room for groups below `groups`. Never shrinks.
    fn resize(&mut self, groups: usize);

    /// Takes one row per element of `groups`. A row counts if `filter` is absent or true for it.
    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError>;

    /// Takes rows back that were given before, as if they had never been.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "aggregates of changing streams will take rows back"
        )
    )]
    fn retract(
        &mut self,
        _arguments: &[ArrayRef],
        _groups: &[u32],
        _filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        Err(ArrowError::NotYetImplemented(
            "this aggregate cannot take rows back".to_owned(),
        ))
    }

    /// Takes what another accumulator of the same kind has: row `i` of `state` into `groups[i]`.
    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError>;

    /// The results of `groups`, in their order. Changes nothing.
    fn peek(&self, output: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError>;

    /// The state of `groups`, one row each: what `merge` takes. Changes nothing.
    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError>;

    /// The types of the columns of `state`.
    fn state_types(&self) -> Vec<DataType>;

    /// Forgets all groups and keeps the memory.
    fn clear(&mut self);

    /// Memory held, in bytes.
    fn bytes(&self) -> usize;
}

/// The rows that count: those neither null nor filtered out. `None` is all of them.
fn counted(values: Option<&dyn Array>, filter: Option<&BooleanArray>) -> Option<NullBuffer> {
    let filter = filter.map(|filter| {
        let passes = match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        };
        NullBuffer::new(passes)
    });
    let values = values.and_then(Array::logical_nulls);
    NullBuffer::union(values.as_ref(), filter.as_ref()).filter(|rows| rows.null_count() > 0)
}

/// Calls `each(row, group)` for every row that counts.
#[inline]
fn for_each(rows: Option<&NullBuffer>, groups: &[u32], mut each: impl FnMut(usize, usize)) {
    match rows {
        None => {
            for (row, &group) in groups.iter().enumerate() {
                each(row, group as usize);
            }
        }
        Some(rows) => {
            for row in rows.valid_indices() {
                each(row, groups[row] as usize);
            }
        }
    }
}
