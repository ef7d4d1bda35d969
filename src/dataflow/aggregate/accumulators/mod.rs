//! Accumulators: one value in the making per group, as flat vectors by group number.
//!
//! Each is a function of the multiset of values that it was given: not of their order, nor of how
//! they were cut into batches or partial states. Results are read in place, as often as wanted.

mod cardinality;
mod collected;
mod count;
mod distinct;
mod exact;
mod floats;
mod fold;
mod lists;
mod moments;
mod quantiles;
mod ranked;
mod replayed;
mod whole;
mod wide;

use std::ops::Range;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

pub use cardinality::Cardinalities;
pub use collected::{Collected, Keep};
pub use count::Counts;
pub use distinct::Distinct;
pub use floats::FloatSums;
pub use fold::{Bits, Side, bits, extremes};
pub use moments::{Moment, Moments};
pub use quantiles::Quantiles;
pub use ranked::Ranked;
pub use replayed::{Read, Replayed};
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
    /// One of the variance family.
    Moment(Moment),
    /// Texts, joined by this.
    Joined(String),
    /// Interpolated at a fraction of the way through the values.
    Continuous(f64),
    /// A value at a fraction of the way.
    Discrete(f64),
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

    /// Takes back what `merge` took, as if it had never been.
    fn unmerge(&mut self, _state: &[ArrayRef], _groups: &[u32]) -> Result<(), ArrowError> {
        Err(ArrowError::NotYetImplemented(
            "this aggregate cannot take rows back".to_owned(),
        ))
    }

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

/// Whether values come or go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
}

/// The rows that count: those without a NULL among `values` and not filtered out. `None` is all.
fn counted(values: &[ArrayRef], filter: Option<&BooleanArray>) -> Option<NullBuffer> {
    let filter = filter.map(|filter| {
        let passes = match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        };
        NullBuffer::new(passes)
    });
    let nulls = values.iter().map(|values| values.logical_nulls());
    let rows = nulls.fold(filter, |rows, nulls| {
        NullBuffer::union(rows.as_ref(), nulls.as_ref())
    });
    rows.filter(|rows| rows.null_count() > 0)
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

#[cfg(test)]
mod tests;
