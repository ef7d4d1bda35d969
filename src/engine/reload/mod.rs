//! Tables that are read again: what is different from before is a record like any other.
//!
//! ```text
//!   table ──read every interval──▶ compare with what is known ──▶ log ──▶ source ──▶ a changing stream
//!                                    (`contents`)          (durable first)  (offset: how many differences)
//! ```
//!
//! The table keeps no history, so its contents at a moment are an observation: it is made durable
//! before anyone hears of it (`durability/log`). From there on it is a source of one partition whose
//! offsets count differences, so marks name what an epoch was computed with, and a replay reads the
//! log and not the table. `begin` decides whether a log fits what the destinations hold.
//!
//! The reasons are in docs/decisions/0012. Partition 0 belongs to the first worker, so process 0 reads the table, as it is the one that
//! decides. A table that cannot be read now is as it was.

mod begin;
mod contents;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use tracing::{info, warn};

pub use self::begin::Logs;
use self::contents::Contents;
use super::committer::CrashPoint;
use super::open::beginning;
use super::reference;
use crate::connector::{
    ConnectorError, Consumer, Fetched, Live, Partition, Reader, Reads, Source, reload_interval,
};
use crate::dataflow::outcome::{Failure, Shared};
use crate::durability::{Entry, Log, LogError, Store, sealed, unsealed};
use crate::format::{Block, Decoded, Decoder};
use crate::plan::Table;
use crate::types::{Clock, Offset, SourceMark, Span};

/// Nobody finds a second partition: how often to look for one.
const DISCOVERY: Duration = Duration::from_secs(3600);

/// A table that is read again.
pub struct Reload {
    partitions: [Partition; 1],
    table: Arc<Reloaded>,
}

/// What its readers share.
struct Reloaded {
    table: Table,
    /// Positions of the columns that the pipeline reads.
    columns: Vec<usize>,
    base: PathBuf,
    clock: Clock,
    interval: Duration,
    known: Mutex<Option<Known>>,
    committed: Mutex<Committed>,
    /// Where people see that it cannot be read.
    shared: OnceLock<Arc<Shared>>,
}

/// What is known of the table.
struct Known {
    log: Log,
    /// What the log comes to.
    contents: Contents,
    /// What it was read from last, in this run.
    seen: Option<SourceMark>,
    crash: Arc<CrashPoint>,
}

/// Where it stood in the snapshots of this run.
#[derive(Default)]
struct Committed {
    /// The last.
    last: Offset,
    /// The one before: no run begins earlier any more.
    kept: Offset,
}

/// Why a reading came to nothing.
enum Trouble {
    /// The next may go well.
    Now(Failure),
    /// Another process writes this log.
    Taken(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Now(failure)
    }
}

impl Reload {
    /// The table, of which these columns are read. Nothing is read yet.
    pub fn new(table: &Table, columns: &[usize], base: &Path, clock: &Clock) -> Self {
        Self {
            partitions: [Partition {
                name: "0".to_owned(),
                identity: None,
                length: None,
            }],
            table: Arc::new(Reloaded {
                interval: reload_interval(table).expect("only asked of tables that have one"),
                table: table.clone(),
                columns: columns.to_vec(),
                base: base.to_owned(),
                clock: clock.clone(),
                known: Mutex::default(),
                committed: Mutex::default(),
                shared: OnceLock::new(),
            }),
        }
    }

    /// People see there when it cannot be read.
    pub fn shows_on(&self, shared: &Arc<Shared>) {
        // A feed is made once in a run.
        let _ = self.table.shared.set(Arc::clone(shared));
    }

    /// Reads the table now, and says how many differences there are then.
    pub fn read_again(&self) -> Result<Offset, Failure> {
        let mut known = self.table.known();
        let known = known.as_mut().expect(OPENED);
        match self.table.read_again(known) {
            Ok(()) => Ok(Offset(known.log.end())),
            Err(Trouble::Now(failure) | Trouble::Taken(failure)) => Err(failure),
        }
    }

    /// Whether a later run finds what this one observed.
    pub fn is_durable(&self) -> bool {
        let known = self.table.known();
        known.as_ref().is_some_and(|known| known.log.is_durable())
    }
}

const OPENED: &str = "the log is opened before anything is read";

impl Reloaded {
    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn committed(&self) -> MutexGuard<'_, Committed> {
        self.committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows people whether it can be read, and if not since when and why.
    fn is_read(&self, away: Option<(Duration, &str)>) {
        let (name, board) = (
            &self.table.name,
            self.shared.get().map(|shared| &shared.board),
        );
        match (board, away) {
            (Some(board), Some(away)) => board.is_away(name, away, &self.clock),
            (Some(board), None) => board.is_back(name),
            (None, _) => {}
        }
    }

    /// Opens the log; what it comes to is what is known of the table.
    fn open(
        &self,
        store: Option<Store>,
        life: u64,
        crash: &Arc<CrashPoint>,
    ) -> Result<(), Failure> {
        let name = &self.table.name;
        let broken = || Failure::new(format!("cannot read what `{name}` was"));
        let hint = "start over with --fresh, which empties the pipeline's tables";
        let log =
            Log::open(store, name, life).map_err(|error| broken().because(error).hint(hint))?;
        let contents = self
            .contents_of(log.entries())
            .map_err(|error| broken().because(error).hint(hint))?;
        *self.known() = Some(Known {
            log,
            contents,
            seen: None,
            crash: Arc::clone(crash),
        });
        Ok(())
    }

    fn contents_of(&self, entries: &[Entry]) -> Result<Contents, String> {
        let key = self.table.primary_key.clone();
        let differences = entries.iter().map(|entry| &entry.rows);
        Contents::after(self.table.schema(), key, differences).map_err(|error| error.to_string())
    }

    /// Reads the table; what is different is durable afterwards.
    fn read_again(&self, known: &mut Known) -> Result<(), Trouble> {
        let (table, open) = (&self.table, || {
            reference::open(&self.table, &self.base, &self.clock)
        });
        let source = open()?;
        let seen = beginning(&*source);
        // Size and checksum of its files, where it has them: the same is not read again.
        let says_what_it_is = seen.partitions.values().all(|mark| mark.identity.is_some());
        if says_what_it_is && known.seen.as_ref() == Some(&seen) {
            return Ok(());
        }
        let rows = reference::rows(table, &*source)?;
        if says_what_it_is && beginning(&*open()?) != seen {
            return Err(changing(table).into());
        }
        if let Some(difference) = self.different(known, &rows)? {
            let rows = difference.num_rows();
            let mut appended = Ok(());
            let log = &mut known.log;
            known.crash.pass(|| appended = log.append(difference));
            appended.map_err(|error| self.unwritten(error))?;
            let (table, number) = (&table.name, log.end());
            info!(table, rows, number, "was read again, and is different");
        }
        let now = self.found(known, &rows)?;
        known.contents.become_found(now);
        known.seen = Some(seen);
        Ok(())
    }

    fn found(&self, known: &Known, rows: &RecordBatch) -> Result<contents::Found, Failure> {
        let found = known.contents.found(rows);
        found
            .map_err(|error| reference::unreadable(&self.table).because(error))?
            .map_err(|twins| {
                reference::duplicate(&self.table, rows, &self.table.primary_key, &twins)
            })
    }

    fn different(&self, known: &Known, rows: &RecordBatch) -> Result<Option<RecordBatch>, Failure> {
        let difference = known.contents.difference(&self.found(known, rows)?);
        difference.map_err(|error| reference::unreadable(&self.table).because(error))
    }

    fn unwritten(&self, error: LogError) -> Trouble {
        let message = format!("could not keep what is different in `{}`", self.table.name);
        let failure = Failure::new(message).because(&error);
        match error {
            // The other one may be fenced and not know it yet: the next start reads what it wrote.
            LogError::Taken { .. } => Trouble::Taken(
                failure
                    .hint("two processes run this pipeline; stop one of them")
                    .again(),
            ),
            LogError::Store(_) | LogError::Broken { .. } | LogError::Gap { .. } => {
                Trouble::Now(failure)
            }
        }
    }

    /// Puts one entry in the place of all up to `until`, if they have grown to be as much as the
    /// first: what is written over and over is then no more than what was read.
    fn merge(&self, known: &mut Known, until: u64) -> Result<(), LogError> {
        let Known { log, crash, .. } = known;
        let below = log.entries().iter().filter(|entry| entry.until <= until);
        let below: Vec<Entry> = below.cloned().collect();
        let [first, others @ ..] = below.as_slice() else {
            return Ok(());
        };
        let rows: usize = others.iter().map(|entry| entry.rows.num_rows()).sum();
        if others.is_empty() || rows < first.rows.num_rows() || !log.is_durable() {
            return Ok(());
        }
        let whole = self.contents_of(&below);
        let whole = whole.and_then(|contents| contents.whole().map_err(|error| error.to_string()));
        let whole = whole.expect("it came to the contents when it was opened");
        let until = below.last().map_or(0, |entry| entry.until);
        let mut merged = Ok(());
        crash.pass(|| merged = log.merge(until, whole));
        merged?;
        log.sweep(|step| crash.pass(step))
    }

    /// What comes at a position.
    fn next(&self, position: Offset) -> Option<Block> {
        let mut known = self.known();
        let log = &mut known.as_mut().expect(OPENED).log;
        log.forget(position.0);
        let entry = log.next(position.0)?;
        assert!(
            entry.from >= position.0 || position == Offset(0),
            "`{}` is read from difference {position} on, and those up to {} are merged",
            self.table.name,
            entry.until
        );
        Some(Block {
            columns: None,
            bytes: Arc::new(sealed(&entry.rows)),
            start: Offset(entry.from),
            end: Offset(entry.until),
            line: 0,
            header: None,
            records: None,
        })
    }
}

fn changing(table: &Table) -> Failure {
    reference::unreadable(table)
        .because("it changed while it was read")
        .again()
}

impl Source for Reload {
    fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn open(&self, _: usize, _: Offset) -> Result<Box<dyn Reader>, ConnectorError> {
        Err(self.only_differences())
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        let mut columns = self.table.columns.clone();
        // Behind the table's own: the counts.
        columns.push(self.table.table.columns.len());
        Box::new(Differences(columns))
    }

    fn live(&self) -> Option<&dyn Live> {
        Some(self)
    }
}

impl Reload {
    fn only_differences(&self) -> ConnectorError {
        let name = &self.table.table.name;
        ConnectorError::Permanent {
            message: format!("`{name}` is one partition of differences, read by a consumer"),
            hint: None,
        }
    }
}

impl Live for Reload {
    fn beginning(&self) -> Result<Vec<Offset>, ConnectorError> {
        Ok(vec![Offset(0)])
    }

    fn ends(&self) -> Result<Vec<Offset>, ConnectorError> {
        Ok(vec![self.read_again().map_err(as_connector)?])
    }

    fn consumer(
        &self,
        from: &[(usize, Offset)],
        _: Reads,
    ) -> Result<Box<dyn Consumer>, ConnectorError> {
        Ok(Box::new(Readings {
            table: Arc::clone(&self.table),
            position: from.first().map(|&(_, offset)| offset),
            paused: false,
            told: false,
            due: Duration::ZERO,
            away: None,
        }))
    }

    fn discovery(&self) -> Duration {
        DISCOVERY
    }

    fn count_partitions(&self) -> Result<usize, ConnectorError> {
        Ok(1)
    }

    fn show_progress(&self, committed: &[(usize, Offset)]) {
        if let Some(&(_, offset)) = committed.first() {
            let mut known = self.table.committed();
            known.kept = std::mem::replace(&mut known.last, offset);
        }
    }
}

/// A failure, as a connector says it.
fn as_connector(failure: Failure) -> ConnectorError {
    let message = std::iter::once(failure.message).chain(failure.causes);
    let message = message.collect::<Vec<_>>().join(": ");
    match failure.again {
        true => ConnectorError::Transient(message),
        false => ConnectorError::Permanent {
            message,
            hint: failure.hint,
        },
    }
}

/// Reads the table when it is due, and hands on what the log has.
struct Readings {
    table: Arc<Reloaded>,
    /// Where it stands, if the partition is this thread's.
    position: Option<Offset>,
    paused: bool,
    /// That nothing is beyond.
    told: bool,
    due: Duration,
    /// Since when it cannot be read.
    away: Option<Duration>,
}

impl Readings {
    fn read(&mut self) -> Result<(), ConnectorError> {
        let table = &self.table;
        let now = table.clock.elapsed();
        let mut known = table.known();
        let known = known.as_mut().expect(OPENED);
        let name = &table.table.name;
        match table.read_again(known) {
            Ok(()) => {
                self.away = None;
                table.is_read(None);
            }
            Err(Trouble::Taken(failure)) => return Err(as_connector(failure)),
            Err(Trouble::Now(failure)) if known.log.end() == 0 && known.seen.is_none() => {
                return Err(as_connector(failure));
            }
            Err(Trouble::Now(failure)) => {
                let cause = as_connector(failure).to_string();
                warn!(table = name, cause, "cannot be read now: stays as it was");
                table.is_read(Some((*self.away.get_or_insert(now), &cause)));
            }
        }
        let kept = table.committed().kept;
        if let Err(error) = table.merge(known, kept.0) {
            warn!(table = name, %error, "could not merge what was different");
        }
        // Not from when it began: a table that takes long leaves its database as long in peace.
        self.due = table.clock.elapsed() + table.interval;
        Ok(())
    }
}

impl Consumer for Readings {
    fn poll(&mut self, wait: Duration) -> Result<Vec<(usize, Fetched)>, ConnectorError> {
        let now = self.table.clock.elapsed();
        let Some(position) = self.position.filter(|_| !self.paused) else {
            self.table.clock.wait_until(now + wait);
            return Ok(Vec::new());
        };
        if let Some(block) = self.table.next(position) {
            (self.position, self.told) = (Some(block.end), false);
            return Ok(vec![(0, Fetched::Block(block))]);
        }
        if !std::mem::replace(&mut self.told, true) {
            return Ok(vec![(0, Fetched::CaughtUp(position))]);
        }
        if now < self.due {
            self.table.clock.wait_until(self.due.min(now + wait));
        } else {
            self.read()?;
        }
        Ok(Vec::new())
    }

    fn pause(&mut self, _: usize) -> Result<(), ConnectorError> {
        self.paused = true;
        Ok(())
    }

    fn resume(&mut self, _: usize) -> Result<(), ConnectorError> {
        self.paused = false;
        Ok(())
    }

    fn add(&mut self, _: usize, from: Offset) -> Result<(), ConnectorError> {
        self.position = Some(from);
        Ok(())
    }
}

/// Rows out of the bytes of one entry: the columns at these positions, the counts among them.
struct Differences(Vec<usize>);

impl Decoder for Differences {
    fn decode(&mut self, block: &Block) -> Decoded {
        let rows = unsealed(&block.bytes).expect("they were sealed in this process");
        let rows = rows.project(&self.0).expect("the columns are the table's");
        // A difference is one thing: all its rows stand where it does, and are cut nowhere.
        let span = Span { start: 0, len: 0 };
        Decoded {
            spans: vec![span; rows.num_rows()],
            rejects: Vec::new(),
            rows,
        }
    }
}

#[cfg(test)]
mod tests;
