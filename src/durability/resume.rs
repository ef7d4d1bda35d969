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

use crate::types::{Epoch, Mark, PartitionMark, SourceMark, Watermark};

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
    #[error("its tables were computed by a different pipeline file")]
    OtherPlan {
        /// The plan of the mark.
        theirs: String,
        /// The plan of this run.
        ours: String,
    },
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

/// Where a source that goes on began, by the marks: that was decided once, at its first run.
/// `None` if no mark knows it.
#[must_use]
pub fn first_positions(source: &str, marks: &[Mark]) -> Option<SourceMark> {
    let known = marks.iter().filter_map(|mark| mark.sources.get(source));
    let partitions = known.flat_map(|mark| &mark.partitions);
    let first: BTreeMap<String, PartitionMark> = partitions
        .map(|(name, mark)| (name.clone(), PartitionMark::beginning(mark.first)))
        .collect();
    let is_known = marks.iter().any(|mark| mark.sources.contains_key(source));
    is_known.then_some(SourceMark {
        partitions: first,
        watermark: Watermark::START,
    })
}

/// Decides what to replay. `marks` are those that survived; state is there up to `done`.
pub fn resume(
    fingerprint: &str,
    beginning: &Beginning,
    done: Epoch,
    marks: &[Mark],
) -> Result<Resume, Refusal> {
    for mark in marks {
        if mark.fingerprint != fingerprint {
            return Err(Refusal::OtherPlan {
                theirs: mark.fingerprint.clone(),
                ours: fingerprint.to_owned(),
            });
        }
        for (source, now) in &beginning.sources {
            let grows = beginning.growing.contains(source);
            same_partitions(source, now, mark.sources.get(source), grows)?;
        }
    }
    let mut stops: Vec<Mark> = marks
        .iter()
        .filter(|mark| mark.epoch > done)
        .cloned()
        .collect();
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

fn same_partitions(
    source: &str,
    now: &SourceMark,
    then: Option<&SourceMark>,
    grows: bool,
) -> Result<(), Refusal> {
    let source_name = || source.to_owned();
    let empty = SourceMark::default();
    let then = then.unwrap_or(&empty);
    for (name, mark) in &then.partitions {
        let partition = name.clone();
        match now.partitions.get(name) {
            None => {
                return Err(Refusal::PartitionGone {
                    source_name: source_name(),
                    partition,
                });
            }
            Some(now) if now.identity != mark.identity => {
                return Err(Refusal::PartitionChanged {
                    source_name: source_name(),
                    partition,
                });
            }
            Some(_) => {}
        }
    }
    match now
        .partitions
        .keys()
        .find(|name| !grows && !then.partitions.contains_key(*name))
    {
        None => Ok(()),
        Some(name) => Err(Refusal::PartitionNew {
            source_name: source_name(),
            partition: name.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Offset;

    fn beginning(sources: BTreeMap<String, SourceMark>) -> Beginning {
        Beginning {
            sources,
            ..Beginning::default()
        }
    }

    fn source(identity: &str, offset: u64) -> BTreeMap<String, SourceMark> {
        let partition = PartitionMark {
            first: Offset(0),
            identity: Some(identity.to_owned()),
            ..PartitionMark::beginning(Offset(offset))
        };
        let partitions = BTreeMap::from([("a.csv".to_owned(), partition)]);
        BTreeMap::from([(
            "clicks".to_owned(),
            SourceMark {
                partitions,
                ..SourceMark::default()
            },
        )])
    }

    fn mark(epoch: u64, offset: u64) -> Mark {
        Mark {
            generation: epoch,
            incarnation: 0,
            life: 0,
            epoch: Epoch(epoch),
            fingerprint: "f".to_owned(),
            sources: source("1", offset),
        }
    }

    #[test]
    fn nothing_survived_means_nothing_to_replay() {
        let resume = resume("f", &beginning(source("1", 0)), Epoch(0), &[]).unwrap();

        assert_eq!((resume.stops, resume.highest), (vec![], Epoch(0)));
    }

    #[test]
    fn unequal_marks_are_reached_one_after_the_other() {
        let marks = [mark(57, 90), mark(40, 70), mark(57, 90), mark(0, 0)];

        let resume = resume("f", &beginning(source("1", 0)), Epoch(0), &marks).unwrap();

        let epochs: Vec<_> = resume.stops.iter().map(|mark| mark.epoch.0).collect();
        assert_eq!(epochs, [40, 57]);
        assert_eq!(resume.highest, Epoch(57));
        assert_eq!(resume.generation, 57);
    }

    #[test]
    fn another_plan_is_refused() {
        let refusal = resume("g", &beginning(source("1", 0)), Epoch(0), &[mark(3, 4)]).unwrap_err();

        assert!(matches!(refusal, Refusal::OtherPlan { .. }));
    }

    #[test]
    fn a_file_that_changed_or_came_or_went_is_refused() {
        let changed = resume("f", &beginning(source("2", 0)), Epoch(0), &[mark(3, 4)]).unwrap_err();
        assert!(matches!(changed, Refusal::PartitionChanged { .. }));

        let nothing = BTreeMap::from([("clicks".to_owned(), SourceMark::default())]);
        let gone = resume("f", &beginning(nothing.clone()), Epoch(0), &[mark(3, 4)]).unwrap_err();
        assert!(matches!(gone, Refusal::PartitionGone { .. }));

        let known_nothing = Mark {
            sources: nothing,
            ..mark(3, 4)
        };
        let new = resume("f", &beginning(source("1", 0)), Epoch(0), &[known_nothing]).unwrap_err();
        assert!(matches!(new, Refusal::PartitionNew { .. }));
    }

    #[test]
    fn a_source_that_goes_on_begins_where_its_first_run_did_and_may_grow() {
        let mut later = mark(3, 40);
        let known = later.sources.get_mut("clicks").unwrap();
        known.partitions.get_mut("a.csv").unwrap().first = Offset(17);

        let first = first_positions("clicks", std::slice::from_ref(&later)).unwrap();
        assert_eq!(first.partitions["a.csv"].offset, Offset(17));
        assert_eq!(
            first_positions("orders", std::slice::from_ref(&later)),
            None
        );

        let mut grown = later.sources.clone();
        let partitions = &mut grown.get_mut("clicks").unwrap().partitions;
        partitions.insert("b.csv".to_owned(), PartitionMark::beginning(Offset(0)));
        let now = Beginning {
            sources: grown,
            growing: BTreeSet::from(["clicks".to_owned()]),
        };
        assert!(resume("f", &now, Epoch(0), &[later]).is_ok());
    }

    #[test]
    fn what_a_snapshot_holds_is_not_replayed() {
        let marks = [mark(57, 90), mark(40, 70)];

        let resume = resume("f", &beginning(source("1", 0)), Epoch(40), &marks).unwrap();

        let epochs: Vec<_> = resume.stops.iter().map(|mark| mark.epoch.0).collect();
        assert_eq!((resume.done, epochs), (Epoch(40), vec![57]));
    }
}
