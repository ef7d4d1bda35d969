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
use crate::engine::{says_objects, spawn_named};
use crate::plan::{Pipeline, TableId};
use crate::types::Clock;

/// How often the bars move.
const BARS: Duration = Duration::from_millis(200);
/// How often a line is logged while records come,
const LINES: Duration = Duration::from_secs(1);
/// and while none do.
const QUIET_LINES: Duration = Duration::from_secs(60);

/// Whose records are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Those of this process, which runs alone: as they are read.
    Alone,
    /// Those of all processes: as epochs are complete. How much of its own share this one has read
    /// says nothing of the others.
    OneOfSeveral,
}

impl Who {
    fn rows(self, progress: &SourceProgress) -> u64 {
        match self {
            Self::Alone => progress.records,
            Self::OneOfSeveral => progress.read_by_all,
        }
    }
}

/// A thread that shows progress until it is ended.
pub struct Watch {
    end: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Starts showing.
    #[must_use]
    pub fn start(pipeline: &Pipeline, shared: &Arc<Shared>, who: Who) -> Self {
        let (end, ended) = sync_channel(1);
        let shared = Arc::clone(shared);
        let names: BTreeMap<TableId, String> = pipeline
            .sources()
            .map(|(table, _)| (table, pipeline.tables[table].name.clone()))
            .collect();
        let thread = spawn_named("progress", move || {
            if std::io::stderr().is_terminal() && !says_objects() {
                show_bars(&names, (&shared, who), &ended);
            } else {
                log_lines(&names, (&shared, who), &ended);
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

fn show_bars(
    names: &BTreeMap<TableId, String>,
    (shared, who): (&Shared, Who),
    ended: &Receiver<()>,
) {
    let all = MultiProgress::new();
    let mut bars: BTreeMap<TableId, ProgressBar> = BTreeMap::new();
    while ended.recv_timeout(BARS) == Err(RecvTimeoutError::Timeout) {
        for (table, progress) in shared.progress() {
            let Some(name) = names.get(&table) else {
                continue;
            };
            let bar = bars
                .entry(table)
                .or_insert_with(|| all.add(bar(name, &progress)));
            if progress
                .length
                .is_some_and(|length| progress.distance > length)
            {
                // The files are read, and the topic that follows has no end.
                bar.unset_length();
                bar.set_style(style(None));
            }
            bar.set_position(progress.distance);
            bar.set_message(status(&progress, who));
        }
    }
    for bar in bars.values() {
        bar.finish_and_clear();
    }
}

fn bar(name: &str, progress: &SourceProgress) -> ProgressBar {
    let bar = match progress.length {
        Some(length) => ProgressBar::new(length),
        None => ProgressBar::no_length(),
    };
    let bar = bar
        .with_style(style(progress.length))
        .with_prefix(name.to_owned())
        .with_position(progress.distance);
    // What was read before this run says nothing of how fast it is.
    bar.reset_eta();
    bar
}

fn style(length: Option<u64>) -> ProgressStyle {
    let template = match length {
        Some(_) => "{prefix:>16} [{wide_bar:.cyan/blue}] {percent:>3} % {eta:>4} left  {msg}",
        None => "{prefix:>16} {spinner} {elapsed}  {msg}",
    };
    let style = ProgressStyle::with_template(template).expect("the template is right");
    style.progress_chars("━╸ ")
}

/// How much of a source is read, in percent, and how long the rest will take if it goes on as it did
/// since `then`: a distance and how long ago that was.
fn to_go(progress: &SourceProgress, then: (u64, Duration)) -> Option<(u64, Duration)> {
    let length = progress
        .length
        .filter(|&length| length >= progress.distance)?;
    let percent = (progress.distance * 100).checked_div(length)?;
    let covered = u32::try_from((progress.distance - then.0) >> 10).ok()?;
    let rest = u32::try_from((length - progress.distance) >> 10).ok()?;
    let left = then.1.checked_mul(rest)?.checked_div(covered)?;
    Some((percent, Duration::from_secs(left.as_secs())))
}

fn status(progress: &SourceProgress, who: Who) -> String {
    let rows = grouped(who.rows(progress));
    match progress.watermark {
        None => format!("{rows} rows"),
        Some(watermark) => format!("{rows} rows, watermark {watermark}"),
    }
}

fn log_lines(
    names: &BTreeMap<TableId, String>,
    (shared, who): (&Shared, Who),
    ended: &Receiver<()>,
) {
    let clock = Clock::machine();
    let mut before: BTreeMap<TableId, (u64, Duration)> = BTreeMap::new();
    let mut said: BTreeMap<TableId, Duration> = BTreeMap::new();
    let mut first: BTreeMap<TableId, (u64, Duration)> = BTreeMap::new();
    while ended.recv_timeout(LINES) == Err(RecvTimeoutError::Timeout) {
        for (table, progress) in shared.progress() {
            let Some(name) = names.get(&table) else {
                continue;
            };
            let (now, read) = (clock.elapsed(), who.rows(&progress));
            let (rows, then) = before.insert(table, (read, now)).unwrap_or_default();
            let last = said.get(&table).copied();
            if rows == read && last.is_some_and(|last| now < last + QUIET_LINES) {
                continue;
            }
            said.insert(table, now);
            let passed = u64::try_from((now - then).as_millis())
                .unwrap_or(u64::MAX)
                .max(1);
            // A run that began again counts from its own start.
            let rows_per_second = read.saturating_sub(rows) * 1000 / passed;
            let watermark = progress.watermark.map(|watermark| watermark.to_string());
            let (begun_at, begun) = *first.entry(table).or_insert((progress.distance, now));
            let to_go = to_go(&progress, (begun_at, now - begun)).filter(|_| who == Who::Alone);
            let percent = to_go.map(|(percent, _)| percent);
            let left = to_go.map(|(_, left)| crate::engine::length(left));
            info!(
                source = name,
                rows = read,
                rows_per_second,
                watermark,
                late = progress.late,
                rejected = progress.rejected,
                percent,
                left,
                "reading"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_processes_counts_the_records_of_all() {
        let shared = Shared::default();
        let fates = |accepted, late| crate::types::Fates {
            accepted,
            late,
            ..crate::types::Fates::default()
        };
        shared.read(0, 3, 30);

        shared.heard(0, &BTreeMap::from([(0, fates(9, 0)), (1, fates(5, 4))]));
        // Another destination is behind.
        shared.heard(0, &BTreeMap::from([(0, fates(6, 0)), (1, fates(5, 1))]));

        let progress = shared.progress()[&0];
        assert_eq!(Who::Alone.rows(&progress), 3);
        assert_eq!(Who::OneOfSeveral.rows(&progress), 9);
        assert_eq!((progress.late, progress.rejected), (4, 0));
    }

    #[test]
    fn what_is_left_takes_as_long_as_what_was_read_in_this_run() {
        let progress = |distance| SourceProgress {
            distance,
            length: Some(100 << 20),
            ..SourceProgress::default()
        };
        let since = |megabytes: u64, seconds| (megabytes << 20, Duration::from_secs(seconds));

        let left = to_go(&progress(60 << 20), since(40, 10));
        assert_eq!(left, Some((60, Duration::from_secs(20))));
        assert_eq!(to_go(&progress(60 << 20), since(60, 10)), None);
        assert_eq!(to_go(&progress(101 << 20), since(40, 10)), None);
    }
}
