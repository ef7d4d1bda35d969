//! The rows of a changing input, as `update` and `retract` take them.
//!
//! An epoch is applied when it is complete: first everything that is given, then everything that
//! is taken back. So a row that comes and goes in one epoch, in whatever order it arrived, is
//! there when it is taken back, and nothing needs to be consolidated first.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;

use crate::dataflow::roles::counts;

/// What is done with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// They are there from now on.
    Give,
    /// They are no more.
    TakeBack,
}

/// How many rows go through at once, where counts say that rows repeat.
const PART: usize = 1 << 16;

/// The rows of a batch that a step is for, each as often as its count says. The batch is of a
/// node with `width` columns.
pub(super) fn rows_for(
    step: Step,
    batch: &RecordBatch,
    width: usize,
) -> Result<Vec<RecordBatch>, ArrowError> {
    let Some(counts) = counts(batch, width) else {
        return Ok(match step {
            Step::Give => vec![batch.clone()],
            Step::TakeBack => Vec::new(),
        });
    };
    if step == Step::Give && counts.values().iter().all(|&count| count == 1) {
        return Ok(vec![batch.clone()]);
    }
    let times = |count: i64| match step {
        Step::Give => usize::try_from(count).unwrap_or(0),
        Step::TakeBack => usize::try_from(count.saturating_neg()).unwrap_or(0),
    };
    let mut parts = Vec::new();
    let mut picked: Vec<u32> = Vec::new();
    let mut part = |picked: &mut Vec<u32>| -> Result<(), ArrowError> {
        let rows = UInt32Array::from(std::mem::take(picked));
        parts.push(take_record_batch(batch, &rows)?);
        Ok(())
    };
    for (row, &count) in (0u32..).zip(counts.values()) {
        let mut left = times(count);
        while left > 0 {
            let now = left.min(PART - picked.len());
            picked.extend(std::iter::repeat_n(row, now));
            left -= now;
            if picked.len() == PART {
                part(&mut picked)?;
            }
        }
    }
    if !picked.is_empty() {
        part(&mut picked)?;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::dataflow::roles::with_counts;

    fn values(parts: &[RecordBatch]) -> Vec<i64> {
        let columns = parts
            .iter()
            .map(|part| part.column(0).as_primitive::<Int64Type>());
        columns
            .flat_map(|column| column.values().to_vec())
            .collect()
    }

    #[test]
    fn a_count_says_how_often_a_row_comes_or_goes() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 9]));
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let rows = with_counts(&rows, &Int64Array::from(vec![2, -1, 0]));

        assert_eq!(values(&rows_for(Step::Give, &rows, 1).unwrap()), [7, 7]);
        assert_eq!(values(&rows_for(Step::TakeBack, &rows, 1).unwrap()), [8]);
    }

    #[test]
    fn many_of_a_row_come_in_parts() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let rows = with_counts(&rows, &Int64Array::from(vec![1, 200_000]));

        let parts = rows_for(Step::Give, &rows, 1).unwrap();

        assert_eq!(parts.len(), 4);
        assert!(parts.iter().all(|part| part.num_rows() <= PART));
        assert_eq!(values(&parts).len(), 200_001);
    }

    #[test]
    fn rows_without_counts_are_there_once() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();

        assert_eq!(values(&rows_for(Step::Give, &rows, 1).unwrap()), [7]);
        assert!(rows_for(Step::TakeBack, &rows, 1).unwrap().is_empty());
    }
}
