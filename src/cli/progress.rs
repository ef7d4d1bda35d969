//! How far a run is, while it runs: a bar per source on a terminal, a line per second elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing::info;

use super::say::grouped;
use crate::dataflow::outcome::{Shared, SourceProgress};
use crate::engine::spawn_named;
use crate::plan::{Pipeline, TableId};
use crate::types::Clock;

/// How often the bars move.
const BARS: Duration = Duration::from_millis(200);
/// How often a line is logged while records come,
const LINES: Duration = Duration::from_secs(1);
/// and while none do.
const QUIET_LINES: Duration = Duration::from_secs(60);

/// A thread that shows progress until it is ended.
pub struct Watch {
    end: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Starts showing.
    #[must_use]
    pub fn start(pipeline: &Pipeline, shared: &Arc<Shared>) -> Self {
        let (end, ended) = sync_channel(1);
        let shared = Arc::clone(shared);
        let names: BTreeMap<TableId, String> = pipeline
            .sources()
            .map(|(table, _)| (table, pipeline.tables[table].name.clone()))
            .collect();
        let thread = spawn_named("progress", move || {
            if std::io::stderr().is_terminal() {
                show_bars(&names, &shared, &ended);
            } else {
                log_lines(&names, &shared, &ended);
            }
        });
        Self { end, thread }
    }

    /// Stops showing, and leaves a clean line behind.
    pub fn end(self) {
        drop(self.end);
        if self.thread.join().is_err() {
            tracing::warn!("the progress display panicked");
        }
    }
}

fn show_bars(names: &BTreeMap<TableId, String>, shared: &Shared, ended: &Receiver<()>) {
    let all = MultiProgress::new();
    let mut bars: BTreeMap<TableId, ProgressBar> = BTreeMap::new();
    while ended.recv_timeout(BARS) == Err(RecvTimeoutError::Timeout) {
        for (table, progress) in shared.progress() {
            let Some(name) = names.get(&table) else {
                continue;
            };
            let bar = bars
                .entry(table)
                .or_insert_with(|| all.add(bar(name, progress.length)));
            bar.set_position(progress.distance);
            bar.set_message(status(&progress));
        }
    }
    for bar in bars.values() {
        bar.finish_and_clear();
    }
}

fn bar(name: &str, length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{prefix:>16} [{wide_bar:.cyan/blue}] {percent:>3} % {eta:>4} left  {msg}",
        ),
        None => (
            ProgressBar::no_length(),
            "{prefix:>16} {spinner} {elapsed}  {msg}",
        ),
    };
    let style = ProgressStyle::with_template(template).expect("the template is right");
    bar.with_style(style.progress_chars("━╸ "))
        .with_prefix(name.to_owned())
}

fn status(progress: &SourceProgress) -> String {
    let rows = grouped(progress.records);
    match progress.watermark {
        None => format!("{rows} rows"),
        Some(watermark) => format!("{rows} rows, watermark {watermark}"),
    }
}

fn log_lines(names: &BTreeMap<TableId, String>, shared: &Shared, ended: &Receiver<()>) {
    let clock = Clock::machine();
    let mut before: BTreeMap<TableId, (u64, Duration)> = BTreeMap::new();
    let mut said: BTreeMap<TableId, Duration> = BTreeMap::new();
    while ended.recv_timeout(LINES) == Err(RecvTimeoutError::Timeout) {
        let fates = shared.fates();
        for (table, progress) in shared.progress() {
            let Some(name) = names.get(&table) else {
                continue;
            };
            let now = clock.elapsed();
            let (rows, then) = before
                .insert(table, (progress.records, now))
                .unwrap_or_default();
            let last = said.get(&table).copied();
            if rows == progress.records && last.is_some_and(|last| now < last + QUIET_LINES) {
                continue;
            }
            said.insert(table, now);
            let passed = u64::try_from((now - then).as_millis())
                .unwrap_or(u64::MAX)
                .max(1);
            let rows_per_second = (progress.records - rows) * 1000 / passed;
            let of = fates.iter().filter(|((_, source), _)| *source == table);
            let (late, rejected) = of.fold((0, 0), |(late, rejected), (_, fates)| {
                (late.max(fates.late), rejected.max(fates.rejected))
            });
            let watermark = progress.watermark.map(|watermark| watermark.to_string());
            info!(
                source = name,
                rows = progress.records,
                rows_per_second,
                watermark,
                late,
                rejected,
                "reading"
            );
        }
    }
}
