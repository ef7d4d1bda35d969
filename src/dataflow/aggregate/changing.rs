//! The rows of an input with counts, as `update` and `retract` take them.
//!
//! An epoch of a changing input is applied when it is complete: first everything that is given,
//! then everything that is taken back. So a row that comes and goes in one epoch, in whatever
//! order it arrived, is there when it is taken back, and nothing needs to be consolidated first.
//!
//! A join of a key with many rows yields equal rows a great many times, so a count may be far
//! larger than memory: such rows are not written out. Their counts are read as binary numbers,
//! from the highest digit down: all that was gathered so far is doubled, by merging it into
//! itself, and then the rows that have the digit are given. Accumulators merge exactly, so that
//! is what giving each row so often would come to, in as many steps as the count has digits.

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::error::ArrowError;

use super::error::AggregateError;
use super::plan::{Input, Plan};
use super::table::Tracking;
use super::tables::Tables;
use crate::dataflow::roles::counts;

/// What is done with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// They are there from now on.
    Give,
    /// They are no more.
    TakeBack,
}

/// The rows of a batch that a step is for.
#[derive(Debug)]
pub(super) enum Counted {
    /// There are none.
    None,
    /// These, each once.
    Each(RecordBatch),
    /// These, each so often: too many to write them out.
    Times(RecordBatch, Vec<u64>),
}

/// How many rows may be written out; few in tests, so that they get beyond it.
const PART: u64 = if cfg!(test) { 64 } else { 1 << 16 };

/// The rows of a batch that a step is for, each as often as its count says.
pub(super) fn rows_for(
    input: Input,
    batch: &RecordBatch,
    step: Step,
) -> Result<Counted, ArrowError> {
    let Some(counts) = input.width().and_then(|width| counts(batch, width)) else {
        return Ok(match step {
            Step::Give => Counted::Each(batch.clone()),
            Step::TakeBack => Counted::None,
        });
    };
    if step == Step::Give && counts.values().iter().all(|&count| count == 1) {
        return Ok(Counted::Each(batch.clone()));
    }
    let times = counts.values().iter().map(|&count| match step {
        Step::Give => u64::try_from(count).unwrap_or(0),
        Step::TakeBack => u64::try_from(count.saturating_neg()).unwrap_or(0),
    });
    let times: Vec<u64> = times.collect();
    let total = times.iter().fold(0u64, |all, &one| all.saturating_add(one));
    if total == 0 {
        return Ok(Counted::None);
    }
    if total > PART.max(2 * batch.num_rows() as u64) {
        return Ok(Counted::Times(batch.clone(), times));
    }
    let repeated = (0u32..).zip(&times).flat_map(|(row, &times)| {
        let times = usize::try_from(times).expect("checked just now");
        std::iter::repeat_n(row, times)
    });
    let repeated = UInt32Array::from_iter_values(repeated);
    Ok(Counted::Each(take_record_batch(batch, &repeated)?))
}

/// What rows come to that are each given so often.
pub(super) fn many_times(
    plan: &Plan,
    rows: &RecordBatch,
    times: &[u64],
) -> Result<Tables, AggregateError> {
    let mut many = Tables::new(Tracking::Off);
    let digits = u64::BITS - times.iter().fold(0, |all, one| all | one).leading_zeros();
    for digit in (0..digits).rev() {
        for table in many.by_bucket.values_mut() {
            table.double(plan)?;
        }
        let has_it = times.iter().map(|times| Some(times >> digit & 1 == 1));
        let with_it = filter_record_batch(rows, &has_it.collect::<BooleanArray>())?;
        many.update(plan, &with_it, Step::Give)?;
    }
    Ok(many)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::dataflow::roles::with_counts;

    fn rows(values: &[i64]) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    fn counted(values: &[i64], counts: &[i64]) -> RecordBatch {
        with_counts(&rows(values), &Int64Array::from(counts.to_vec()))
    }

    fn written_out(step: Step, rows: &RecordBatch) -> Vec<i64> {
        match rows_for(Input::Changing { width: 1 }, rows, step).unwrap() {
            Counted::None => Vec::new(),
            Counted::Each(rows) => rows.column(0).as_primitive::<Int64Type>().values().to_vec(),
            Counted::Times(..) => panic!("too many to write them out"),
        }
    }

    #[test]
    fn a_count_says_how_often_a_row_comes_or_goes() {
        let rows = counted(&[7, 8, 9], &[2, -1, 0]);

        assert_eq!(written_out(Step::Give, &rows), [7, 7]);
        assert_eq!(written_out(Step::TakeBack, &rows), [8]);
    }

    #[test]
    fn a_row_that_is_there_a_great_many_times_is_not_written_out() {
        let rows = counted(&[7, 8], &[i64::MAX, -200_000]);

        for (step, expected) in [
            (Step::Give, [i64::MAX.unsigned_abs(), 0]),
            (Step::TakeBack, [0, 200_000]),
        ] {
            let said = rows_for(Input::Final { width: 1 }, &rows, step).unwrap();
            let Counted::Times(_, times) = said else {
                panic!("{said:?}")
            };
            assert_eq!(times, expected);
        }
    }

    #[test]
    fn rows_without_counts_are_there_once() {
        let rows = rows(&[7]);

        assert_eq!(written_out(Step::Give, &rows), [7]);
        assert!(written_out(Step::TakeBack, &rows).is_empty());
    }
}
