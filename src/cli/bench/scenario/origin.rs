//! Where and when something was measured: a figure without that cannot be held against another.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::types::Clock;

/// Where a measurement comes from.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Origin {
    /// Of this program.
    pub version: &'static str,
    /// Of the folder that it was built in, as it is now, with `-dirty` where files have changed since;
    /// empty where that is gone.
    pub commit: String,
    /// Built without optimisation.
    pub debug: bool,
    /// When it began, in UTC.
    pub date: String,
    /// What the processor calls itself.
    pub processor: String,
    /// How many cores this process may use.
    pub cores: usize,
    /// Of the machine.
    pub memory_bytes: u64,
}

impl Origin {
    /// Of what is measured now and here.
    pub fn now(clock: &Clock) -> Self {
        let date = chrono::DateTime::from_timestamp_micros(clock.wall());
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: commit(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_or_default(),
            debug: cfg!(debug_assertions),
            date: date.map_or_else(String::new, |date| {
                date.format("%Y-%m-%d %H:%M").to_string()
            }),
            processor: said_in("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            memory_bytes: said_in("/proc/meminfo", "MemTotal")
                .and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok())
                .map_or(0, |kilobytes| kilobytes * 1024),
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        let commit = match self.commit.as_str() {
            "" => "unknown",
            commit => commit,
        };
        let build = if self.debug { ", a debug build" } else { "" };
        format!(
            "tidemark {}, commit {commit}{build}; {} UTC; {}, {} cores, {} GiB",
            self.version,
            self.date,
            self.processor,
            self.cores,
            (self.memory_bytes + (1 << 29)) >> 30
        )
    }
}

/// What git says of a folder.
fn commit(folder: &Path) -> Option<String> {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder);
    git.args(["describe", "--always", "--dirty", "--exclude=*"]);
    let said = git.output().ok().filter(|said| said.status.success())?;
    Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// The value of the first line `name: value`.
fn said_in(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}
