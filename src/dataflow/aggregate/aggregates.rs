//! The state of an aggregate on the worker that owns its keys.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{cast, concat, concat_batches};

use super::buckets::{Bucket, is_closed, open_windows, windows};
use super::error::AggregateError;
use super::plan::Plan;
use super::table::{Table, Tracking};
use super::tables::Tables;
use crate::dataflow::state::OpenWindows;
use crate::plan::{AggregateWindow, Assign, Emit};
use crate::types::Watermark;

/// Groups and their aggregates, by bucket.
///
/// Epochs are applied one after the other: all `update` and `merge` of an epoch, then `changes`,
/// then `close` with the epoch's watermark.
pub struct Aggregates {
    plan: Arc<Plan>,
    /// By window; by pane where windows are put together when they close.
    tables: Tables,
    /// With `Emit::Changes`, what this epoch brought to each pane, until `changes`.
    news: Tables,
}

impl Aggregates {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let tracking = match plan.emit {
            Emit::Changes => Tracking::On,
            Emit::OnClose => Tracking::Off,
        };
        Self {
            plan,
            tables: Tables::new(tracking),
            news: Tables::new(Tracking::Off),
        }
    }

    /// Takes rows of the input.
    pub fn update(&mut self, input: &RecordBatch) -> Result<(), AggregateError> {
        let (plan, tables) = self.incoming();
        tables.update(plan, input)
    }

    /// Takes what `Partials::drain` yielded, of the same plan.
    pub fn merge(&mut self, partials: &RecordBatch) -> Result<(), AggregateError> {
        let (plan, tables) = self.incoming();
        tables.merge(plan, partials)
    }

    /// The epoch is complete: what changed in it, with -1 for a row that is no more and +1 for
    /// one that is new. `None` if nothing did, and always with `Emit::OnClose`.
    pub fn changes(&mut self) -> Result<Option<(RecordBatch, Int64Array)>, AggregateError> {
        if self.plan.emit == Emit::OnClose {
            return Ok(None);
        }
        self.spread_news()?;
        let (mut batches, mut diffs) = (Vec::new(), Vec::new());
        for (window, table) in &mut self.tables.by_bucket {
            if let Some(changes) = table.changes(&self.plan)? {
                batches.push(self.plan.output_batch(
                    changes.columns,
                    *window,
                    changes.diffs.len(),
                )?);
                diffs.push(changes.diffs);
            }
        }
        if batches.is_empty() {
            return Ok(None);
        }
        let diffs: Vec<&dyn arrow::array::Array> = diffs.iter().map(|diffs| diffs as _).collect();
        let diffs = concat(&diffs)?;
        let diffs = arrow::array::AsArray::as_primitive(&diffs).clone();
        Ok(Some((concat_batches(&self.plan.output, &batches)?, diffs)))
    }

    /// Event time has reached `watermark`: windows that are complete are freed. With
    /// `Emit::OnClose` their rows are returned, by end of the window and then by key.
    pub fn close(&mut self, watermark: Watermark) -> Result<Option<RecordBatch>, AggregateError> {
        let Some(window) = self.plan.window else {
            return Ok(None);
        };
        assert!(self.news.groups() == 0, "`changes` comes before `close`");
        let rows = match self.plan.emit {
            Emit::OnClose => self.complete(window, watermark)?,
            Emit::Changes => Vec::new(),
        };
        self.free(window, watermark)?;
        match rows.is_empty() {
            true => Ok(None),
            false => Ok(Some(concat_batches(&self.plan.output, &rows)?)),
        }
    }

    /// The whole state between two epochs, in batches of at most 8 K groups. The first column is
    /// the hash that decides which worker owns a row.
    pub fn state(&self) -> impl Iterator<Item = Result<RecordBatch, AggregateError>> + '_ {
        assert!(self.news.groups() == 0, "`changes` comes before `state`");
        self.tables.states(&self.plan)
    }

    /// Takes a batch of `state` as something that has been there before, and was shown.
    pub fn load(&mut self, state: &RecordBatch) -> Result<(), AggregateError> {
        self.tables.merge(&self.plan, state)?;
        self.tables
            .by_bucket
            .values_mut()
            .for_each(Table::forget_changes);
        Ok(())
    }

    /// How many groups are held, over all windows or panes.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.tables.groups() + self.news.groups()
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tables.bytes() + self.news.bytes()
    }

    /// The windows that are held.
    #[must_use]
    pub fn open_windows(&self) -> Option<OpenWindows> {
        open_windows(self.plan.window?, self.tables.by_bucket.keys().copied())
    }

    /// Where rows go first.
    fn incoming(&mut self) -> (&Plan, &mut Tables) {
        let by_pane = self
            .plan
            .window
            .is_some_and(|window| window.assign == Assign::Panes);
        match (self.plan.emit, by_pane) {
            (Emit::Changes, true) => (&self.plan, &mut self.news),
            (Emit::Changes, false) | (Emit::OnClose, _) => (&self.plan, &mut self.tables),
        }
    }

    /// Merges what came to panes into the windows they are part of.
    fn spread_news(&mut self) -> Result<(), AggregateError> {
        let Some(window) = self.plan.window else {
            return Ok(());
        };
        while let Some((pane, news)) = self.news.by_bucket.pop_first() {
            for bucket in windows(window, pane) {
                self.tables
                    .at(&self.plan, bucket)
                    .merge_table(&self.plan, &news)?;
            }
            self.news.recycle(news);
        }
        Ok(())
    }

    /// The rows of windows that are complete at `watermark`.
    fn complete(
        &self,
        window: AggregateWindow,
        watermark: Watermark,
    ) -> Result<Vec<RecordBatch>, AggregateError> {
        let complete = self.tables.by_bucket.keys().flat_map(|bucket| {
            let ends = windows(window, *bucket);
            ends.take_while(|complete| is_closed(window, complete.end, watermark))
        });
        let complete: BTreeSet<(i64, i64)> = complete
            .map(|complete| (complete.end, complete.start))
            .collect();
        let rows = complete.into_iter().map(|(end, start)| {
            let complete = Bucket { start, end };
            let columns = self.window_rows(window, complete)?;
            let rows = columns.first().map_or(1, |column| column.len());
            self.plan.output_batch(columns, complete, rows)
        });
        rows.collect()
    }

    fn window_rows(
        &self,
        window: AggregateWindow,
        complete: Bucket,
    ) -> Result<Vec<ArrayRef>, AggregateError> {
        if window.assign == Assign::Windows {
            return self.tables.by_bucket[&complete].rows(&self.plan);
        }
        let first = Bucket {
            start: complete.start,
            end: i64::MIN,
        };
        let past = Bucket {
            start: complete.end,
            end: i64::MIN,
        };
        let panes = self.tables.by_bucket.range(first..past);
        let mut panes = panes
            .filter(|(pane, _)| pane.end <= complete.end)
            .map(|(_, table)| table);
        let only = panes
            .next()
            .expect("a window is complete because a pane has it");
        let Some(second) = panes.next() else {
            return only.rows(&self.plan);
        };
        let mut whole = Table::new(&self.plan, Tracking::Off);
        for table in [only, second].into_iter().chain(panes) {
            whole.merge_table(&self.plan, table)?;
        }
        whole.rows(&self.plan)
    }

    /// Drops buckets whose last window is closed. The others are in fewer windows from now on:
    /// their first is the first that is still open, so that none is emitted twice.
    fn free(
        &mut self,
        window: AggregateWindow,
        watermark: Watermark,
    ) -> Result<(), AggregateError> {
        let touched = self.tables.by_bucket.keys().copied();
        let touched = touched.filter(|bucket| is_closed(window, bucket.end, watermark));
        for bucket in touched.collect::<Vec<_>>() {
            let table = self
                .tables
                .by_bucket
                .remove(&bucket)
                .expect("it was listed just now");
            if self.plan.emit == Emit::Changes {
                // What is held is a window, not a pane: it is in no other.
                continue;
            }
            let mut ends = windows(window, bucket);
            let open = ends.find(|open| !is_closed(window, open.end, watermark));
            // With `Emit::Changes` a bucket is one window, also where rows come by pane.
            let Some(open) = open.filter(|_| self.plan.emit == Emit::OnClose) else {
                self.tables.recycle(table);
                continue;
            };
            let rest = Bucket {
                start: bucket.start,
                end: open.end,
            };
            match self.tables.by_bucket.get_mut(&rest) {
                Some(other) => {
                    other.merge_table(&self.plan, &table)?;
                    self.tables.recycle(table);
                }
                None => {
                    self.tables.by_bucket.insert(rest, table);
                }
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Adds the window's columns, and gives every column its type in the output.
    fn output_batch(
        &self,
        mut columns: Vec<ArrayRef>,
        window: Bucket,
        rows: usize,
    ) -> Result<RecordBatch, AggregateError> {
        if self.window.is_some() {
            for time in [window.start, window.end] {
                columns.push(Arc::new(TimestampMicrosecondArray::from_value(time, rows)));
            }
        }
        let fields = self.output.fields().iter();
        let columns = fields.zip(&columns).map(|(field, column)| {
            match column.data_type() == field.data_type() {
                true => Ok(Arc::clone(column)),
                false => cast(column, field.data_type()),
            }
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }
}
