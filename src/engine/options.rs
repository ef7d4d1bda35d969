//! How a pipeline is run: what is typed on the command line, and what tests ask for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::history::Replay;
use crate::dataflow::source::{AtEnd, Pace};
use crate::types::Offset;

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Worker threads; by default as many as partitions or cores, whichever is fewer.
    pub threads: Option<usize>,
    /// What relative paths in the file are relative to.
    pub base: PathBuf,
    /// When epochs close, if not by `commit.interval`.
    pub pace: Option<Pace>,
    /// Ends the process at this commit: for tests of what survives.
    pub crash_at: Option<u64>,
    /// Whether what the sources hold now is all that is read.
    pub until_caught_up: bool,
    /// What that is, if an earlier start of this run has found out.
    pub ends: Option<Ends>,
    /// What the end of the input means.
    pub at_end: AtEnd,
    /// Where snapshots are kept, if not in `.tidemark`.
    pub state: Option<PathBuf>,
    /// Whether this run is on several machines: a folder of one of them is no place for snapshots.
    pub several_machines: bool,
    /// Empties this pipeline's tables and marks first.
    pub fresh: bool,
    /// What is read from files in the place of topics, or before them.
    pub replay: Replay,
}

/// To the end of the input, and from where the last run got to.
impl Default for RunOptions {
    fn default() -> Self {
        Self {
            threads: None,
            base: PathBuf::new(),
            pace: None,
            crash_at: None,
            until_caught_up: false,
            ends: None,
            at_end: AtEnd::Close,
            state: None,
            several_machines: false,
            fresh: false,
            replay: Replay::default(),
        }
    }
}

impl RunOptions {
    /// The options that all processes of a run must have alike, as they are typed.
    #[must_use]
    pub fn alike(&self) -> String {
        let mut alike = format!("--threads {}", self.threads.unwrap_or(1));
        if self.until_caught_up {
            alike += " --until-caught-up";
        }
        if self.until_caught_up && self.at_end == AtEnd::Close {
            alike += " --close-windows";
        }
        alike + &self.replay.typed()
    }
}

/// Where sources that go on end for a run, by name and partition.
pub type Ends = BTreeMap<String, Vec<Offset>>;
