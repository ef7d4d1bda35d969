//! Where and when something was measured: a figure without that cannot be held against another.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::types::Clock;

/// Where a measurement comes from.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Origin {
    /// Of this program.
    pub version: &'static str,
    /// Of the folder that it was built in, with `-dirty` where files differ from it, and `older than ` where
    /// that folder came to it after the program was built; empty where it is gone.
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
        let built = std::env::current_exe();
        let built = built.ok().and_then(|program| changed(&program));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: commit(Path::new(env!("CARGO_MANIFEST_DIR")), built).unwrap_or_default(),
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

/// The commit of a program that was built in `folder` at `built`.
fn commit(folder: &Path, built: Option<i64>) -> Option<String> {
    let now = git(folder, &["describe", "--always", "--dirty", "--exclude=*"])?;
    let moves = git(folder, &["rev-parse", "--git-path", "logs/HEAD"]);
    let moved = moves.and_then(|path| changed(&folder.join(path)));
    let is_older = moved.is_some_and(|moved| built.is_some_and(|built| built < moved));
    Some(if is_older {
        format!("older than {now}")
    } else {
        now
    })
}

/// What git says of a folder.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(arguments);
    let said = git.output().ok().filter(|said| said.status.success())?;
    Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// When a file was written, in seconds.
fn changed(file: &Path) -> Option<i64> {
    Some(std::fs::metadata(file).ok()?.mtime())
}

/// The value of the first line `name: value`.
fn said_in(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_built_before_its_folder_came_to_a_commit_is_not_said_to_be_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let own = ["-c", "user.name=a", "-c", "user.email=a@b"];
        let commits = ["commit", "--quiet", "--allow-empty", "--message=a"];
        git(path, &["init", "--quiet"]).unwrap();
        git(path, &[&own[..], &commits].concat()).unwrap();
        let head = git(path, &["rev-parse", "--short", "HEAD"]).unwrap();
        let moved = changed(&path.join(".git/logs/HEAD")).unwrap();

        assert_eq!(commit(path, Some(moved + 1)), Some(head.clone()));
        let older = format!("older than {head}");
        assert_eq!(commit(path, Some(moved - 1)), Some(older));
    }
}
