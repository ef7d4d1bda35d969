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

    /// The distance covered, as soon as it is known.
    fn distance(self, progress: &SourceProgress) -> Option<u64> {
        match self {
            Self::Alone => Some(progress.distance),
            Self::OneOfSeveral => progress.distance_of_all,
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
            let Some(distance) = who.distance(&progress) else {
                continue;
            };
            let bar = bars
                .entry(table)
                .or_insert_with(|| all.add(bar(name, distance, progress.length)));
            if bar.length() != progress.length {
                match progress.length {
                    Some(length) => bar.set_length(length),
                    None => bar.unset_length(),
                }
                bar.set_style(style(progress.length));
            }
            bar.set_position(distance);
            bar.set_message(status(&progress, who));
        }
    }
    for bar in bars.values() {
        bar.finish_and_clear();
    }
}

fn bar(name: &str, distance: u64, length: Option<u64>) -> ProgressBar {
    let bar = match length {
        Some(length) => ProgressBar::new(length),
        None => ProgressBar::no_length(),
    };
    let bar = bar
        .with_style(style(length))
        .with_prefix(name.to_owned())
        .with_position(distance);
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

/// How much of `length` is read, in percent, and how long the rest will take if it goes on as it did
/// since `then`: a distance and how long ago that was.
fn to_go(distance: u64, length: u64, then: (u64, Duration)) -> Option<(u64, Duration)> {
    let rest = length.checked_sub(distance)?;
    let percent = (distance * 100).checked_div(length)?;
    let covered = u32::try_from(distance.checked_sub(then.0)? >> 10).ok()?;
    let rest = u32::try_from(rest >> 10).ok()?;
    let left = then.1.checked_mul(rest)?.checked_div(covered)?;
    Some((percent, Duration::from_secs(left.as_secs())))
}

/// What a source with files and a topic behind them is read from.
fn reads(progress: &SourceProgress) -> Option<&'static str> {
    progress.follow_from?;
    Some(if progress.follows { "topic" } else { "files" })
}

fn status(progress: &SourceProgress, who: Who) -> String {
    let mut status = format!("{} rows", grouped(who.rows(progress)));
    if let Some(reads) = reads(progress) {
        status += &format!(", reads the {reads}");
    }
    if let Some(watermark) = progress.watermark {
        status += &format!(", watermark {watermark}");
    }
    status
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
            let to_go = who.distance(&progress).and_then(|distance| {
                let (begun_at, begun) = *first.entry(table).or_insert((distance, now));
                to_go(distance, progress.length?, (begun_at, now - begun))
            });
            let percent = to_go.map(|(percent, _)| percent);
            let left = to_go.map(|(_, left)| crate::engine::length(left));
            info!(
                source = name,
                rows = read,
                rows_per_second,
                watermark,
                late = progress.late,
                rejected = progress.rejected,
                reads = reads(&progress),
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
    use crate::types::{EventTime, Watermark};

    #[test]
    fn one_of_several_processes_counts_the_records_of_all() {
        let shared = Shared::default();
        let fates = |accepted, late| crate::types::Fates {
            accepted,
            late,
            ..crate::types::Fates::default()
        };
        shared.read(0, 3, 30);

        assert_eq!(Who::OneOfSeveral.distance(&shared.progress()[&0]), None);

        let more = BTreeMap::from([(0, fates(9, 0)), (1, fates(5, 4))]);
        shared.heard(0, &more, 90);
        // Another destination is behind.
        let fewer = BTreeMap::from([(0, fates(6, 0)), (1, fates(5, 1))]);
        shared.heard(0, &fewer, 60);

        let progress = shared.progress()[&0];
        assert_eq!(Who::Alone.rows(&progress), 3);
        assert_eq!(Who::OneOfSeveral.rows(&progress), 9);
        assert_eq!((progress.late, progress.rejected), (4, 0));
        assert_eq!(Who::Alone.distance(&progress), Some(30));
        assert_eq!(Who::OneOfSeveral.distance(&progress), Some(90));
    }

    #[test]
    fn what_has_no_end_is_shown_without_one_as_soon_as_the_files_before_it_are_read() {
        let shared = Shared::default();
        let at = |time| Watermark::behind(EventTime(time), 0);
        shared.has_length(0, Some(100), Some(EventTime(50)));
        assert_eq!(shared.reached(0, at(49)), None);
        assert_eq!(shared.progress()[&0].length, Some(100));
        assert_eq!(reads(&shared.progress()[&0]), Some("files"));

        assert_eq!(shared.reached(0, at(50)), Some(EventTime(50)));
        assert_eq!(shared.reached(0, at(60)), None, "that is said once");

        assert_eq!(shared.progress()[&0].length, None);
        assert_eq!(reads(&shared.progress()[&0]), Some("topic"));
    }

    #[test]
    fn what_is_left_takes_as_long_as_what_was_read_in_this_run() {
        let since = |megabytes: u64, seconds| (megabytes << 20, Duration::from_secs(seconds));
        let to_go = |distance: u64, then| to_go(distance << 20, 100 << 20, then);

        let left = to_go(60, since(40, 10));
        assert_eq!(left, Some((60, Duration::from_secs(20))));
        assert_eq!(to_go(60, since(60, 10)), None);
        assert_eq!(to_go(101, since(40, 10)), None);
        assert_eq!(to_go(30, since(40, 10)), None, "it began again");
    }
}
