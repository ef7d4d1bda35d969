//! One table per bucket, and how rows and states find theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::UInt64Type;

use super::buckets::{Bucket, of_partials, of_rows};
use super::changing::{Counted, Step, many_times, rows_for};
use super::error::AggregateError;
use super::plan::Plan;
use super::table::{Given, Rows, States, Table, Tracking, chunks, pick};

/// Tables by bucket.
pub(super) struct Tables {
    pub by_bucket: BTreeMap<Bucket, Table>,
    tracking: Tracking,
    rows: Rows,
    /// Emptied tables, for their memory.
    spare: Vec<Table>,
}

/// Takes apart a batch of rows by bucket.
pub(super) fn each_given(
    plan: &Plan,
    input: &RecordBatch,
    mut take: impl FnMut(Bucket, Given<'_>) -> Result<(), AggregateError>,
) -> Result<(), AggregateError> {
    let selections = of_rows(plan, input);
    if selections.is_empty() {
        return Ok(());
    }
    let evaluated = plan.evaluate(input)?;
    for (bucket, rows) in selections {
        let given = Given {
            keys: &evaluated.keys,
            hashes: &evaluated.hashes,
            rows: rows.as_deref(),
            columns: &plan.aggregated(&evaluated.columns, rows.as_deref())?,
        };
        take(bucket, given)?;
    }
    Ok(())
}

/// Takes apart a batch of partial states by bucket.
pub(super) fn each_partial(
    plan: &Plan,
    partials: &RecordBatch,
    mut take: impl FnMut(Bucket, States<'_>) -> Result<(), AggregateError>,
) -> Result<(), AggregateError> {
    assert_eq!(
        partials.schema(),
        plan.partial,
        "partial states are of the same plan"
    );
    let by_bucket = plan.has_buckets();
    let selections = match by_bucket {
        true => of_partials(partials.column(1), partials.column(2)),
        false => vec![(Bucket::ALL, None)],
    };
    let mut columns = partials.columns().to_vec();
    columns.drain(if by_bucket { 1..3 } else { 1..1 });
    for (bucket, rows) in selections {
        let picked = rows.map(|rows| pick(&columns, &rows)).transpose()?;
        let [hashes, keys, states @ ..] = picked.as_deref().unwrap_or(&columns) else {
            unreachable!("a partial state has a hash and a key");
        };
        let states = States {
            keys: keys.as_binary(),
            hashes: hashes.as_primitive::<UInt64Type>().values(),
            columns: states,
        };
        take(bucket, states)?;
    }
    Ok(())
}

/// How many emptied tables are kept: windows mostly follow each other with as many groups.
const SPARE: usize = 2;

impl Tables {
    /// None yet; those that come track changes or do not.
    pub fn new(tracking: Tracking) -> Self {
        Self {
            by_bucket: BTreeMap::new(),
            tracking,
            rows: Rows::Grouped,
            spare: Vec::new(),
        }
    }

    /// From now on, what becomes of rows that have one key. There are no tables.
    pub fn hold(&mut self, rows: Rows) {
        assert!(self.by_bucket.is_empty(), "a table holds rows in one way");
        self.rows = rows;
    }

    /// The table of a bucket, which is made if it is new.
    pub fn at(&mut self, plan: &Plan, bucket: Bucket) -> &mut Table {
        let Self {
            by_bucket,
            tracking,
            rows,
            spare,
        } = self;
        let made = || {
            let table = spare.pop();
            let table = table.unwrap_or_else(|| Table::new(plan, *tracking));
            table.of(*rows)
        };
        by_bucket.entry(bucket).or_insert_with(made)
    }

    /// Sorts rows into tables.
    pub fn update(
        &mut self,
        plan: &Plan,
        input: &RecordBatch,
        step: Step,
    ) -> Result<(), AggregateError> {
        each_given(plan, input, |bucket, given| {
            self.at(plan, bucket).take(plan, step, given)
        })
    }

    /// Sorts rows into tables, each as often as its count says.
    pub fn apply(
        &mut self,
        plan: &Plan,
        input: &RecordBatch,
        step: Step,
    ) -> Result<(), AggregateError> {
        match rows_for(plan.input, input, step)? {
            Counted::None => Ok(()),
            Counted::Each(rows) => self.update(plan, &rows, step),
            Counted::Times(rows, times) => {
                let many = many_times(plan, &rows, &times)?;
                many.by_bucket.iter().try_for_each(|(bucket, table)| {
                    self.at(plan, *bucket).apply_table(plan, step, table)
                })
            }
        }
    }

    /// Sorts states into tables.
    pub fn merge(&mut self, plan: &Plan, partials: &RecordBatch) -> Result<(), AggregateError> {
        each_partial(plan, partials, |bucket, states| {
            self.at(plan, bucket).merge(plan, states)
        })
    }

    /// The states of all tables, a batch per chunk of groups.
    pub fn states(&self, plan: &Plan) -> impl Iterator<Item = Result<RecordBatch, AggregateError>> {
        let pieces = self.by_bucket.iter().flat_map(|(bucket, table)| {
            chunks(table.len()).map(move |groups| (bucket, table, groups))
        });
        pieces.map(|(bucket, table, groups)| {
            let (routes, keys, states) = table.partial(plan, groups)?;
            let rows = routes.len();
            let mut columns: Vec<ArrayRef> = vec![Arc::new(routes)];
            if plan.has_buckets() {
                columns.push(Arc::new(Int64Array::from_value(bucket.start, rows)));
                columns.push(Arc::new(Int64Array::from_value(bucket.end, rows)));
            }
            columns.push(Arc::new(keys));
            columns.extend(states);
            Ok(RecordBatch::try_new(Arc::clone(&plan.partial), columns)?)
        })
    }

    /// Empties a table that is no longer needed.
    pub fn recycle(&mut self, mut table: Table) {
        if self.spare.len() < SPARE {
            table.clear();
            self.spare.push(table);
        }
    }

    /// Forgets all groups.
    pub fn clear(&mut self) {
        while let Some((_, table)) = self.by_bucket.pop_first() {
            self.recycle(table);
        }
    }

    pub fn groups(&self) -> usize {
        self.by_bucket.values().map(Table::living).sum()
    }

    pub fn bytes(&self) -> usize {
        self.by_bucket
            .values()
            .chain(&self.spare)
            .map(Table::bytes)
            .sum()
    }
}
