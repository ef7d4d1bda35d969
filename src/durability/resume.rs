//! Where to begin, given what survived. Reads nothing, writes nothing.
//!
//! ```text
//!   marks:   a at 40, b at 57         replay to exactly 40, then to exactly 57, then live
//!            a publishes from 41 on, b from 58 on
//! ```
//!
//! Each destination drops the epochs that it already holds. Because a result does not depend on
//! how the input was cut into epochs, the replay may cut it differently, except at the marks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::types::{
    Change, Epoch, Mark, Offset, PartitionMark, Recipe, Side, SourceMark, Watermark,
};

/// What to do before going live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The epoch that state is there for already: nothing, or a snapshot.
    pub done: Epoch,
    /// The marks to replay to, one per epoch, ascending.
    pub stops: Vec<Mark>,
    /// The highest epoch that anyone holds: live epochs come after it.
    pub highest: Epoch,
    /// The highest generation that took over.
    pub generation: u64,
}

/// Why the marks do not fit this run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The rows were computed by another plan.
    #[error("its tables were computed by {0}")]
    OtherRecipe(Change),
    /// One of the destinations is from before, or from after, another one was started over.
    #[error("some of its destinations were started over, and others hold rows of before that")]
    OtherLife,
    /// A partition of the mark is not there any more.
    #[error("`{partition}` of `{source_name}` was read before and is gone")]
    PartitionGone {
        /// The source.
        source_name: String,
        /// The partition.
        partition: String,
    },
    /// A partition is there that the mark does not know.
    #[error("`{partition}` of `{source_name}` is new since the first run")]
    PartitionNew {
        /// The source.
        source_name: String,
        /// The partition.
        partition: String,
    },
    /// Its files and its topic met at another time.
    #[error("`{source_name}` was filled from files up to another time: {then}, now {now}")]
    OtherSide {
        /// The source.
        source_name: String,
        /// Where they met, as the mark has it.
        then: String,
        /// Where they are to meet.
        now: String,
    },
    /// Its files were made rows by other options.
    #[error("the files of `{source_name}` were read with {then} before, and with {now} now")]
    OtherDecoding {
        /// The source.
        source_name: String,
        /// What differs, as the mark has it.
        then: String,
        /// The same as it is now.
        now: String,
    },
    /// It was read from its topic, and now there are files.
    #[error("`{source_name}` was read without `{partition}` before")]
    NotReplayed {
        /// The source.
        source_name: String,
        /// A file.
        partition: String,
    },
    /// Its files were read, and a run without them has gone on with the topic.
    #[error("`{source_name}` was filled from files, and `tidemark run` has gone on without them")]
    PastFiles {
        /// The source.
        source_name: String,
    },
    /// A file is not there any more, and no run needs it: all were read.
    #[error("`{partition}` of `{source_name}` is gone; all its files were read before")]
    ReadFileGone {
        /// The source.
        source_name: String,
        /// The file.
        partition: String,
    },
    /// Files that were not read to their end are not there.
    #[error(
        "`{source_name}` is being filled from files, and `{partition}` was not read to its end"
    )]
    InHistory {
        /// The source.
        source_name: String,
        /// The file.
        partition: String,
    },
    /// Event time has ended with the files: no topic follows.
    #[error("`{source_name}` was filled from files, and event time has ended with them")]
    HistoryEnded {
        /// The source.
        source_name: String,
    },
    /// A partition is not what it was.
    #[error("`{partition}` of `{source_name}` has changed since it was read")]
    PartitionChanged {
        /// The source.
        source_name: String,
        /// The partition.
        partition: String,
    },
}

/// Where the sources begin, as this run finds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// The beginnings, with the identities that partitions have now.
    pub sources: BTreeMap<String, SourceMark>,
    /// Sources whose partitions may become more.
    pub growing: BTreeSet<String>,
}

/// Where a source that goes on began, by the marks: that was decided once, at its first run. Files
/// that it follows are left out. `None` if no mark knows it.
#[must_use]
pub fn first_positions(source: &str, marks: &[Mark]) -> Option<SourceMark> {
    let known = marks.iter().filter_map(|mark| mark.sources.get(source));
    let partitions = known.flat_map(|mark| &mark.partitions);
    let first = partitions.filter(|(_, mark)| !mark.is_file());
    let first = first.map(|(name, mark)| {
        let beginning = match mark.side {
            Some(Side::From(from)) => PartitionMark::following(mark.first, from),
            Some(Side::Before(_)) | None => PartitionMark::beginning(mark.first),
        };
        let beginning = PartitionMark {
            file: mark.file.clone(),
            since: mark.since,
            ..beginning
        };
        (name.clone(), beginning)
    });
    let is_known = marks.iter().any(|mark| mark.sources.contains_key(source));
    let mut first: BTreeMap<String, PartitionMark> = first.collect();
    let missing = missing(&first);
    first.extend(missing);
    let newest = marks.iter().max_by_key(|mark| mark.epoch);
    let newest = newest.and_then(|mark| mark.sources.get(source));
    is_known.then_some(SourceMark {
        partitions: first,
        identity: newest.and_then(|known| known.identity.clone()),
        ..SourceMark::default()
    })
}

/// The numbers below the highest that no mark has. Partitions that are found at once are announced
/// each by its own worker, in any order, and a mark may be of an epoch between two of them.
fn missing(known: &BTreeMap<String, PartitionMark>) -> Vec<(String, PartitionMark)> {
    let numbers = known.keys().filter_map(|name| name.parse::<usize>().ok());
    let numbers = 0..numbers.max().unwrap_or(0);
    let names = numbers.map(|number| number.to_string());
    let names = names.filter(|name| !known.contains_key(name));
    let from = known.values().find_map(|mark| match mark.side {
        Some(Side::From(from)) => Some(from),
        Some(Side::Before(_)) | None => None,
    });
    let is_folder = known.values().any(|mark| mark.file.is_some());
    let unread = || match from {
        // Its file is found again, and taken under a number of its own.
        _ if is_folder => PartitionMark::nothing(),
        Some(from) => PartitionMark::following(Offset(0), from),
        // Nothing of it is in any table yet.
        None => PartitionMark::beginning(Offset(0)),
    };
    names.map(|name| (name, unread())).collect()
}

/// Whether a run that has none of the files of `source` may begin where it stood at `done`: they
/// had been read to their ends then, and were left behind. `follows` is a mark of a later run.
#[must_use]
pub fn is_past_files(source: &str, follows: &Mark, done: Option<&SourceMark>) -> bool {
    let follows = follows
        .sources
        .get(source)
        .is_some_and(SourceMark::follows_files);
    !follows || done.is_some_and(SourceMark::is_past_files)
}

/// Whether a run without the files that filled tables before their topics may begin where these sources
/// stand. It may not be said of a run that has left them behind.
#[must_use]
pub fn may_leave_files(sources: &BTreeMap<String, SourceMark>) -> bool {
    let followed = || sources.values().filter(|source| source.follows_files());
    let has_files = |source: &SourceMark| source.partitions.values().any(PartitionMark::is_file);
    followed().any(has_files) && followed().all(SourceMark::is_past_files)
}

/// Whether all marks are of one life: their epochs and positions count from the same beginning. They
/// are not where a backup of one destination is from before `--fresh`.
pub fn one_life(marks: &[Mark]) -> Result<(), Refusal> {
    match marks.windows(2).all(|pair| pair[0].life == pair[1].life) {
        true => Ok(()),
        false => Err(Refusal::OtherLife),
    }
}

/// Decides what to replay. `marks` are those that survived; state is there up to `done`.
pub fn resume(
    recipe: &Recipe,
    beginning: &Beginning,
    done: Epoch,
    marks: &[Mark],
) -> Result<Resume, Refusal> {
    one_life(marks)?;
    for mark in marks {
        if let Some(change) = mark.recipe.change_to(recipe) {
            return Err(Refusal::OtherRecipe(change));
        }
        for (source, now) in &beginning.sources {
            let grows = beginning.growing.contains(source);
            same_partitions(source, now, mark.sources.get(source), grows)?;
            same_decoding(source, now, mark.sources.get(source))?;
        }
    }
    let stops = marks.iter().filter(|mark| mark.epoch > done);
    let mut stops: Vec<Mark> = stops.cloned().map(positions).collect();
    stops.sort_by_key(|mark| mark.epoch);
    stops.dedup_by(|later, earlier| {
        let same = later.epoch == earlier.epoch;
        assert!(
            !same || later.sources == earlier.sources,
            "two destinations disagree about epoch {}",
            later.epoch
        );
        same
    });
    let highest = stops.last().map_or(done, |mark| mark.epoch);
    let generation = marks.iter().map(|mark| mark.generation).max().unwrap_or(1);
    Ok(Resume {
        done,
        stops,
        highest,
        generation,
    })
}

/// Where a replay stops: at positions, whatever its source was called when they were written. Of two
/// marks of one epoch the older one may not say.
fn positions(mut mark: Mark) -> Mark {
    for source in mark.sources.values_mut() {
        source.identity = None;
        source.decoding.clear();
    }
    mark
}

fn same_partitions(
    source: &str,
    now: &SourceMark,
    then: Option<&SourceMark>,
    grows: bool,
) -> Result<(), Refusal> {
    let source_name = || source.to_owned();
    let empty = SourceMark::default();
    let is_first = then.is_none_or(|then| then.partitions.is_empty());
    let then = then.unwrap_or(&empty);
    let has_files = |mark: &SourceMark| mark.partitions.values().any(PartitionMark::is_file);
    for (name, mark) in &then.partitions {
        let partition = name.clone();
        match now.partitions.get(name) {
            // All of them, or none: a run that reads some again needs the others too.
            None if grows && mark.is_file() && !has_files(now) => left_behind(source, name, mark)?,
            None if !mark.is_file() && has_files(now) && has_files(then) => {
                return Err(Refusal::OtherSide {
                    source_name: source_name(),
                    then: met(mark.side),
                    now: met(None),
                });
            }
            None if !mark.is_file() && has_files(now) => {
                return Err(Refusal::NotReplayed {
                    source_name: source_name(),
                    partition: now.partitions.keys().next().cloned().unwrap_or(partition),
                });
            }
            None => return Err(gone(source, name, then)),
            Some(now) if now.identity != mark.identity => {
                return Err(Refusal::PartitionChanged {
                    source_name: source_name(),
                    partition,
                });
            }
            Some(now) if now.side != mark.side => {
                return Err(Refusal::OtherSide {
                    source_name: source_name(),
                    then: met(mark.side),
                    now: met(now.side),
                });
            }
            Some(_) => {}
        }
    }
    let mut new = now.partitions.iter();
    let new = new.find(|(name, now)| {
        let is_new = !then.partitions.contains_key(*name);
        is_new
            && if grows {
                now.is_file() && !is_first
            } else {
                true
            }
    });
    match new {
        None => Ok(()),
        Some(_) if grows && !has_files(then) && then.follows_files() => Err(Refusal::PastFiles {
            source_name: source_name(),
        }),
        Some((name, _)) if grows && !has_files(then) => Err(Refusal::NotReplayed {
            source_name: source_name(),
            partition: name.clone(),
        }),
        Some((name, _)) => Err(Refusal::PartitionNew {
            source_name: source_name(),
            partition: name.clone(),
        }),
    }
}

/// A partition of `then` that is not there, where it would have to be.
fn gone(source: &str, partition: &str, then: &SourceMark) -> Refusal {
    let (source_name, partition) = (source.to_owned(), partition.to_owned());
    let is_file = then.partitions[&partition].is_file();
    if is_file && then.is_past_files() {
        Refusal::ReadFileGone {
            source_name,
            partition,
        }
    } else {
        Refusal::PartitionGone {
            source_name,
            partition,
        }
    }
}

/// Files that are read on are read as they were, by all of their options.
fn same_decoding(source: &str, now: &SourceMark, then: Option<&SourceMark>) -> Result<(), Refusal> {
    let Some(then) = then.filter(|then| !then.decoding.is_empty()) else {
        return Ok(());
    };
    if now.decoding.is_empty() || now.decoding == then.decoding {
        return Ok(());
    }
    let names: BTreeSet<&String> = now.decoding.keys().chain(then.decoding.keys()).collect();
    let differing = names.iter();
    let differing = differing.filter(|name| now.decoding.get(**name) != then.decoding.get(**name));
    let told = |mark: &SourceMark| -> String {
        let option = |name: &&&String| match mark.decoding.get(**name) {
            Some(value) => format!("{name}={value}"),
            None => format!("no {name}"),
        };
        let all: Vec<String> = differing.clone().map(|name| option(&name)).collect();
        all.join(", ")
    };
    Err(Refusal::OtherDecoding {
        source_name: source.to_owned(),
        then: told(then),
        now: told(now),
    })
}

/// A file that is not there any more, of a source that is a topic now.
fn left_behind(source: &str, partition: &str, mark: &PartitionMark) -> Result<(), Refusal> {
    let source_name = source.to_owned();
    match mark.side {
        Some(_) if mark.ended => Ok(()),
        None if mark.ended => Err(Refusal::HistoryEnded { source_name }),
        Some(_) | None => Err(Refusal::InHistory {
            source_name,
            partition: partition.to_owned(),
        }),
    }
}

/// Where files and topic meet, for people.
fn met(side: Option<Side>) -> String {
    match side {
        Some(Side::Before(at) | Side::From(at)) => Watermark::behind(at, 0).to_string(),
        None => "their end".to_owned(),
    }
}

#[cfg(test)]
mod tests;
