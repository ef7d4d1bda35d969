//! Batches put together, and lists cut, into parts that are neither small nor too large: small
//! batches cost more than large ones, and an array of texts holds 2 GiB at most.

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

/// How much is put together at most; what is more by itself stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Rows.
    pub rows: usize,
    /// Bytes of those rows.
    pub bytes: usize,
}

impl Most {
    /// Of a batch that goes on through the dataflow: as many rows as aggregates yield at once, so that only
    /// what is small is copied.
    pub const FLOWING: Self = Self {
        rows: 1 << 13,
        bytes: 256 << 20,
    };
}

/// Puts batches together, with how many of them each came from.
pub fn together(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    most: Most,
) -> Result<Vec<(usize, RecordBatch)>, ArrowError> {
    let size = |batch: &RecordBatch| [batch.num_rows(), bytes(batch)];
    let parts = cut(batches, size, [most.rows, most.bytes]).into_iter();
    let parts = parts.map(|part| {
        let whole = match part {
            [one] => one.clone(),
            several => concat_batches(schema, several)?,
        };
        Ok((part.len(), whole))
    });
    parts.collect()
}

/// Cuts a list where what stands before would be more than `most`, by any measure of its size;
/// each piece has something.
pub fn cut<T, const N: usize>(
    all: &[T],
    size: impl Fn(&T) -> [usize; N],
    most: [usize; N],
) -> Vec<&[T]> {
    let (mut pieces, mut first, mut sum) = (Vec::new(), 0, [0; N]);
    for (at, one) in all.iter().enumerate() {
        let one = size(one);
        if at > first && (0..N).any(|by| sum[by] + one[by] > most[by]) {
            pieces.push(&all[first..at]);
            (first, sum) = (at, [0; N]);
        }
        (0..N).for_each(|by| sum[by] += one[by]);
    }
    if first < all.len() {
        pieces.push(&all[first..]);
    }
    pieces
}

/// Of how many bytes the rows of a batch are; it may be a slice of arrays that are larger.
pub fn bytes(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    let sizes = columns.map(|column| {
        let data = column.to_data();
        // An array that does not know is taken for all that it holds on to.
        data.get_slice_memory_size()
            .unwrap_or_else(|_| column.get_array_memory_size())
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_where_either_measure_is_full_and_one_that_is_larger_stays_whole() {
        let sizes = [[1, 10], [1, 10], [1, 1], [5, 99], [1, 1], [1, 1], [1, 1]];

        let pieces = cut(&sizes, |size| *size, [2, 21]);

        let pieces: Vec<usize> = pieces.into_iter().map(<[_]>::len).collect();
        assert_eq!(pieces, [2, 1, 1, 2, 1]);
    }
}
