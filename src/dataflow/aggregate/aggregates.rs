//! The state of an aggregate on the worker that owns its keys.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{cast, concat};

use super::buckets::{Bucket, is_closed, open_windows, windows};
use super::changing::Step;
use super::error::AggregateError;
use super::forgetting::Ages;
use super::keys::{NO_KEY, hash};
use super::partials::together_again;
use super::plan::{Input, Plan};
use super::table::{Table, Tracking};
use super::tables::{Tables, each_partial};
use crate::dataflow::parts::{Most, together};
use crate::dataflow::state::{OpenWindows, owner};
use crate::dataflow::withheld::row_text;
use crate::plan::{AggregateWindow, Assign, Emit};
use crate::types::Watermark;

/// Groups and their aggregates, by bucket.
///
/// Epochs are applied one after the other: all `update` and `merge` of an epoch, then `changes`,
/// then `close` with the epoch's watermark.
pub struct Aggregates {
    pub(super) plan: Arc<Plan>,
    /// By window; by pane where windows are put together when they close.
    pub(super) tables: Tables,
    /// With `Emit::Changes`, what this epoch brought to each pane, until `changes`; where groups
    /// are forgotten, what waits for its turn.
    pub(super) news: Tables,
    /// Of a changing input, what this epoch brought, until `changes`.
    pending: Vec<RecordBatch>,
    /// Whether there is a row over no input at all, and it is this worker's.
    of_nothing: bool,
    /// When groups were given records, if they are forgotten for that.
    pub(super) ages: Option<Ages>,
}

impl Aggregates {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let tracking = match plan.emit {
            Emit::Changes => Tracking::On,
            Emit::OnClose => Tracking::Off,
        };
        let ages = plan.turns.map(Ages::new);
        Self {
            plan,
            tables: Tables::new(tracking),
            news: Tables::new(Tracking::Off),
            pending: Vec::new(),
            of_nothing: false,
            ages,
        }
    }

    /// The same on worker `worker` of `peers`: where groups have no key, one of them shows a row
    /// before there is any input.
    #[must_use]
    pub fn on_worker(mut self, worker: usize, peers: usize) -> Self {
        self.of_nothing = self.plan.is_whole() && owner(hash(NO_KEY), peers) == worker;
        self
    }

    /// Takes rows of the input.
    pub fn update(&mut self, input: &RecordBatch) -> Result<(), AggregateError> {
        if let Input::Changing { .. } = self.plan.input {
            self.pending.push(input.clone());
            return Ok(());
        }
        if self.ages.is_some() {
            return self.update_by_turn(input);
        }
        let (plan, tables) = self.incoming();
        tables.apply(plan, input, Step::Give)
    }

    /// Takes what `Partials::drain` yielded, of the same plan.
    pub fn merge(&mut self, partials: &RecordBatch) -> Result<(), AggregateError> {
        if self.ages.is_some() {
            return self.merge_by_turn(partials);
        }
        let (plan, tables) = self.incoming();
        tables.merge(plan, partials)
    }

    /// The epoch is complete: what changed in it, with -1 for a row that is no more and +1 for
    /// one that is new; nothing with `Emit::OnClose`.
    pub fn changes(&mut self) -> Result<Vec<(RecordBatch, Int64Array)>, AggregateError> {
        if self.plan.emit == Emit::OnClose {
            return Ok(Vec::new());
        }
        if self.of_nothing && self.tables.groups() == 0 {
            self.tables.at(&self.plan, Bucket::ALL).begin(&self.plan)?;
        }
        self.apply_pending()?;
        self.spread_news()?;
        self.touch_given();
        let (mut batches, mut diffs) = (Vec::new(), Vec::new());
        for (window, table) in &mut self.tables.by_bucket {
            for changes in table.changes(&self.plan)? {
                let rows = changes.diffs.len();
                batches.push(self.plan.output_batch(changes.columns, *window, rows)?);
                diffs.push(changes.diffs);
            }
        }
        let mut diffs = diffs.iter();
        let together = together(&self.plan.output, &batches, Most::FLOWING)?;
        let together = together.into_iter().map(|(parts, rows)| {
            let parts = diffs.by_ref().take(parts);
            let parts: Vec<&dyn Array> = parts.map(|diffs| diffs as &dyn Array).collect();
            Ok((rows, concat(&parts)?.as_primitive().clone()))
        });
        together.collect()
    }

    /// Event time has reached `watermark`: windows that are complete are freed. With
    /// `Emit::OnClose` their rows are returned, by end of the window and then by key.
    pub fn close(&mut self, watermark: Watermark) -> Result<Vec<RecordBatch>, AggregateError> {
        let Some(window) = self.plan.window else {
            return Ok(Vec::new());
        };
        assert!(self.news.groups() == 0, "`changes` comes before `close`");
        let rows = match self.plan.emit {
            Emit::OnClose => self.complete(window, watermark)?,
            Emit::Changes => Vec::new(),
        };
        self.free(window, watermark)?;
        let together = together(&self.plan.output, &rows, Most::FLOWING)?;
        Ok(together.into_iter().map(|(_, rows)| rows).collect())
    }

    /// A row that is not shown because a result is beyond its type, why, and how many there are.
    pub fn left_over(&self) -> Result<Option<(String, String, usize)>, AggregateError> {
        let mut found = None;
        let mut count = 0;
        for (window, table) in &self.tables.by_bucket {
            let Some(failing) = table.failing(&self.plan)? else {
                continue;
            };
            count += failing.groups;
            if found.is_none() {
                let row = self.plan.key_text(&failing.key, *window);
                found = Some((row, failing.why.to_owned()));
            }
        }
        Ok(found.map(|(row, why)| (row, why, count)))
    }

    /// The whole state between two epochs, in batches of at most 8 K groups. The first column is
    /// the hash that decides which worker owns a row.
    pub fn state(&self) -> impl Iterator<Item = Result<RecordBatch, AggregateError>> + '_ {
        let forgets = self.ages.is_some();
        let applied = (self.news.groups() == 0 || forgets) && self.pending.is_empty();
        assert!(applied, "`changes` comes before `state`");
        let by_turn = forgets.then(|| self.state_by_turn());
        let by_bucket = (!forgets).then(|| self.tables.states(&self.plan));
        by_turn
            .into_iter()
            .flatten()
            .chain(by_bucket.into_iter().flatten())
    }

    /// Takes a batch of `state` as something that has been there before, and was shown.
    pub fn load(&mut self, state: &RecordBatch) -> Result<(), AggregateError> {
        if self.ages.is_some() {
            return self.load_by_turn(state);
        }
        let (plan, tables) = (&self.plan, &mut self.tables);
        each_partial(plan, state, |bucket, states| {
            let table = tables.at(plan, bucket);
            table.merge(plan, states)?;
            match plan.emit {
                Emit::Changes => table.was_shown(plan),
                Emit::OnClose => Ok(()),
            }
        })
    }

    /// `state` with the small batches of small windows put together.
    pub fn saved(&self) -> Result<Vec<RecordBatch>, AggregateError> {
        let batches = self.state().collect::<Result<Vec<_>, _>>()?;
        together_again(&self.plan, &batches)
    }

    /// How many groups are held, over all windows or panes.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.tables.groups() + self.news.groups()
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let pending = self.pending.iter().map(RecordBatch::get_array_memory_size);
        let ages = self.ages.as_ref().map_or(0, Ages::bytes);
        self.tables.bytes() + self.news.bytes() + pending.sum::<usize>() + ages
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

    /// The epoch of a changing input is complete: applies it.
    fn apply_pending(&mut self) -> Result<(), AggregateError> {
        let pending = std::mem::take(&mut self.pending);
        for step in [Step::Give, Step::TakeBack] {
            for batch in &pending {
                self.tables.apply(&self.plan, batch, step)?;
            }
        }
        Ok(())
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
        let mut batches = Vec::new();
        for (end, start) in complete {
            let complete = Bucket { start, end };
            for (rows, columns) in self.window_rows(window, complete)? {
                batches.push(self.plan.output_batch(columns, complete, rows)?);
            }
        }
        Ok(batches)
    }

    fn window_rows(
        &self,
        window: AggregateWindow,
        complete: Bucket,
    ) -> Result<Vec<(usize, Vec<ArrayRef>)>, AggregateError> {
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
                // What is held is a window, not a pane: it is in no other. What its groups show
                // now is what they showed last: a row that fails is final.
                if let Some(failing) = table.failing(&self.plan)? {
                    return Err(AggregateError::Row(failing.why.to_owned()));
                }
                self.tables.recycle(table);
                continue;
            }
            let mut ends = windows(window, bucket);
            let open = ends.find(|open| !is_closed(window, open.end, watermark));
            let Some(open) = open else {
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
    /// How the row of a group reads: its key, and its window.
    fn key_text(&self, key: &[ArrayRef], window: Bucket) -> String {
        let fields = self.output.fields();
        let named = fields.iter().zip(key);
        let mut columns: Vec<(&String, ArrayRef)> = named
            .map(|(field, column)| (field.name(), Arc::clone(column)))
            .collect();
        if self.window.is_some() {
            let name = fields[fields.len() - 2].name();
            let start = TimestampMicrosecondArray::from_value(window.start, 1);
            columns.push((name, Arc::new(start)));
        }
        RecordBatch::try_from_iter(columns)
            .map_or_else(|error| error.to_string(), |rows| row_text(&rows, 0))
    }

    /// Adds the window's columns, and gives every column its type in the output.
    pub(super) fn output_batch(
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
