//! Marks and beginnings in, what to replay out.

use super::*;
use crate::types::{EventTime, TakenFile};

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

fn recipe(fingerprint: &str) -> Recipe {
    Recipe {
        fingerprint: fingerprint.to_owned(),
        ..Recipe::default()
    }
}

fn mark(epoch: u64, offset: u64) -> Mark {
    Mark {
        generation: epoch,
        incarnation: 0,
        life: 0,
        epoch: Epoch(epoch),
        recipe: recipe("f"),
        sources: source("1", offset),
    }
}

#[test]
fn nothing_survived_means_nothing_to_replay() {
    let resume = resume(&recipe("f"), &beginning(source("1", 0)), Epoch(0), &[]).unwrap();

    assert_eq!((resume.stops, resume.highest), (vec![], Epoch(0)));
}

#[test]
fn unequal_marks_are_reached_one_after_the_other() {
    let marks = [mark(57, 90), mark(40, 70), mark(57, 90), mark(0, 0)];

    let resume = resume(&recipe("f"), &beginning(source("1", 0)), Epoch(0), &marks).unwrap();

    let epochs: Vec<_> = resume.stops.iter().map(|mark| mark.epoch.0).collect();
    assert_eq!(epochs, [40, 57]);
    assert_eq!(resume.highest, Epoch(57));
    assert_eq!(resume.generation, 57);
}

#[test]
fn marks_of_two_lives_are_refused() {
    let reborn = Mark {
        life: 7,
        ..mark(57, 90)
    };

    let marks = [mark(40, 70), reborn.clone()];
    let now = beginning(source("1", 0));
    let refusal = resume(&recipe("f"), &now, Epoch(0), &marks).unwrap_err();

    assert_eq!(refusal, Refusal::OtherLife);
    assert_eq!(one_life(&[reborn.clone(), reborn]), Ok(()));
}

#[test]
fn another_plan_is_refused() {
    let refusal = resume(
        &recipe("g"),
        &beginning(source("1", 0)),
        Epoch(0),
        &[mark(3, 4)],
    )
    .unwrap_err();

    assert!(matches!(refusal, Refusal::OtherRecipe(_)));
}

#[test]
fn a_file_that_changed_or_came_or_went_is_refused() {
    let changed = resume(
        &recipe("f"),
        &beginning(source("2", 0)),
        Epoch(0),
        &[mark(3, 4)],
    )
    .unwrap_err();
    assert!(matches!(changed, Refusal::PartitionChanged { .. }));

    let nothing = BTreeMap::from([("clicks".to_owned(), SourceMark::default())]);
    let gone = resume(
        &recipe("f"),
        &beginning(nothing.clone()),
        Epoch(0),
        &[mark(3, 4)],
    )
    .unwrap_err();
    assert!(matches!(gone, Refusal::PartitionGone { .. }));

    let known_nothing = Mark {
        sources: nothing,
        ..mark(3, 4)
    };
    let new = resume(
        &recipe("f"),
        &beginning(source("1", 0)),
        Epoch(0),
        &[known_nothing],
    )
    .unwrap_err();
    assert!(matches!(new, Refusal::PartitionNew { .. }));
}

#[test]
fn a_source_that_goes_on_begins_where_its_first_run_did_and_may_grow() {
    let mut later = mark(3, 40);
    let known = later.sources.get_mut("clicks").unwrap();
    let partition = known.partitions.get_mut("a.csv").unwrap();
    (partition.first, partition.identity) = (Offset(17), None);

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
    assert!(resume(&recipe("f"), &now, Epoch(0), &[later]).is_ok());
}

/// Whoever read on from there would else read 3 from its beginning and count it twice.
#[test]
fn a_partition_found_out_of_turn_goes_on_where_it_was_and_those_before_it_begin() {
    let mut found = mark(3, 40);
    let at = |offset| PartitionMark {
        first: Offset(0),
        ..PartitionMark::beginning(Offset(offset))
    };
    let partitions = [("0", at(40)), ("3", at(120))].map(|(name, at)| (name.to_owned(), at));
    let topic = found.sources.get_mut("clicks").unwrap();
    topic.partitions = BTreeMap::from(partitions);

    let first = first_positions("clicks", std::slice::from_ref(&found)).unwrap();

    let names: Vec<&str> = first.partitions.keys().map(String::as_str).collect();
    assert_eq!(names, ["0", "1", "2", "3"]);
    assert_eq!(first.partitions["1"], PartitionMark::beginning(Offset(0)));
    let now = Beginning {
        sources: BTreeMap::from([("clicks".to_owned(), first)]),
        growing: BTreeSet::from(["clicks".to_owned()]),
    };
    assert!(resume(&recipe("f"), &now, Epoch(0), &[found]).is_ok());
}

#[test]
fn files_found_out_of_turn_leave_numbers_that_no_file_has() {
    let mut found = mark(3, 40);
    let file = PartitionMark {
        file: Some(TakenFile {
            name: "b.csv".to_owned(),
            identity: "1 byte".to_owned(),
        }),
        ..PartitionMark::beginning(Offset(0))
    };
    let folder = found.sources.get_mut("clicks").unwrap();
    folder.partitions = BTreeMap::from([("1".to_owned(), file)]);

    let first = first_positions("clicks", &[found]).unwrap();

    assert_eq!(first.partitions["0"], PartitionMark::nothing());
}

/// A file, read or not, and the first partition of the topic that follows it at `from`.
fn history(ended: bool, from: Option<i64>) -> BTreeMap<String, SourceMark> {
    let mut sources = source("1", 70);
    let partitions = &mut sources.get_mut("clicks").unwrap().partitions;
    let file = partitions.get_mut("a.csv").unwrap();
    file.ended = ended;
    if let Some(from) = from {
        file.side = Some(Side::Before(EventTime(from)));
        let topic = PartitionMark {
            since: Some(Offset(7)),
            ..PartitionMark::following(Offset(3), EventTime(from))
        };
        partitions.insert("0".to_owned(), topic);
    }
    sources
}

/// As a run finds it that reads the topic alone.
fn topic(marks: &[Mark]) -> Beginning {
    let first = first_positions("clicks", marks).unwrap();
    Beginning {
        sources: BTreeMap::from([("clicks".to_owned(), first)]),
        growing: BTreeSet::from(["clicks".to_owned()]),
    }
}

fn mark_of(sources: BTreeMap<String, SourceMark>) -> Mark {
    Mark {
        sources,
        ..mark(3, 0)
    }
}

#[test]
fn a_run_without_the_files_goes_on_once_they_are_read() {
    let read = mark_of(history(true, Some(500)));
    let now = topic(std::slice::from_ref(&read));
    assert!(resume(&recipe("f"), &now, Epoch(0), std::slice::from_ref(&read)).is_ok());
    let first = &now.sources["clicks"].partitions["0"];
    // Also what nobody misses of it.
    let expected = PartitionMark {
        since: Some(Offset(7)),
        ..PartitionMark::following(Offset(3), EventTime(500))
    };
    assert_eq!(*first, expected);

    let reading = mark_of(history(false, Some(500)));
    let refusal = resume(&recipe("f"), &now, Epoch(0), &[reading]).unwrap_err();
    assert!(matches!(refusal, Refusal::InHistory { .. }), "{refusal}");
    let ended = mark_of(history(true, None));
    let refusal = resume(&recipe("f"), &now, Epoch(0), &[ended]).unwrap_err();
    assert!(matches!(refusal, Refusal::HistoryEnded { .. }), "{refusal}");
}

#[test]
fn files_that_were_left_behind_are_not_read_again() {
    let (with, mut without) = (history(true, Some(500)), history(true, Some(500)));
    without
        .get_mut("clicks")
        .unwrap()
        .partitions
        .remove("a.csv");
    let follows = mark_of(without.clone());

    let state = [&with, &without].map(|sources| &sources["clicks"]);
    assert!(state.map(|done| is_past_files("clicks", &follows, Some(done))) == [true; 2]);
    assert!(!is_past_files("clicks", &follows, None));
    let reading = &history(false, Some(500))["clicks"];
    assert!(!is_past_files("clicks", &follows, Some(reading)));
    assert!(is_past_files("clicks", &mark_of(source("1", 0)), None));
}

#[test]
fn files_do_not_come_to_a_topic_that_was_read_nor_meet_it_elsewhere() {
    let growing = BTreeSet::from(["clicks".to_owned()]);
    let with_files = |from| Beginning {
        sources: history(false, Some(from)),
        growing: growing.clone(),
    };
    let mut alone = history(true, Some(500));
    alone.get_mut("clicks").unwrap().partitions.remove("a.csv");
    let refusal = resume(&recipe("f"), &with_files(500), Epoch(0), &[mark_of(alone)]).unwrap_err();
    assert!(matches!(refusal, Refusal::PastFiles { .. }), "{refusal}");

    let met = mark_of(history(false, Some(400)));
    let refusal = resume(&recipe("f"), &with_files(500), Epoch(0), &[met]).unwrap_err();
    assert!(matches!(refusal, Refusal::OtherSide { .. }), "{refusal}");
    let first = mark_of(history(false, Some(500)));
    assert!(resume(&recipe("f"), &with_files(500), Epoch(0), &[first]).is_ok());
}

/// What is read again of one file lies between rows of the others: all are needed, also those that were
/// read to their ends.
#[test]
fn a_run_with_some_of_the_files_is_refused_whatever_was_read_of_the_others() {
    let mut known = history(true, Some(500));
    let partitions = &mut known.get_mut("clicks").unwrap().partitions;
    partitions.insert("b.csv".to_owned(), partitions["a.csv"].clone());
    let growing = BTreeSet::from(["clicks".to_owned()]);
    let some = Beginning {
        sources: history(true, Some(500)),
        growing: growing.clone(),
    };

    let refusal = resume(&recipe("f"), &some, Epoch(0), &[mark_of(known.clone())]).unwrap_err();
    let (source_name, partition) = ("clicks".to_owned(), "b.csv".to_owned());
    let gone = Refusal::ReadFileGone {
        source_name: source_name.clone(),
        partition: partition.clone(),
    };
    assert_eq!(refusal, gone);
    let mut reads = known.clone();
    let file = reads.get_mut("clicks").unwrap().partitions.get_mut("a.csv");
    file.unwrap().ended = false;
    let refusal = resume(&recipe("f"), &some, Epoch(0), &[mark_of(reads)]).unwrap_err();
    let gone = Refusal::PartitionGone {
        source_name,
        partition,
    };
    assert_eq!(refusal, gone);

    let more = Beginning {
        sources: known.clone(),
        growing,
    };
    let refusal = resume(&recipe("f"), &more, Epoch(0), &[mark_of(some.sources)]).unwrap_err();
    assert!(matches!(refusal, Refusal::PartitionNew { .. }), "{refusal}");

    // The same files, and no topic behind them.
    let alone = beginning(history(true, None));
    let refusal = resume(&recipe("f"), &alone, Epoch(0), &[mark_of(known)]).unwrap_err();
    assert!(matches!(refusal, Refusal::OtherSide { .. }), "{refusal}");
}

#[test]
fn of_two_marks_of_an_epoch_one_may_not_say_which_source_it_was() {
    let mut marks = [mark(40, 70), mark(40, 70)];
    let known = marks[1].sources.get_mut("clicks").unwrap();
    known.identity = Some("a topic's id".to_owned());

    let now = beginning(source("1", 0));
    let resume = resume(&recipe("f"), &now, Epoch(0), &marks).unwrap();

    assert_eq!(resume.stops.len(), 1);
}

#[test]
fn what_a_snapshot_holds_is_not_replayed() {
    let marks = [mark(57, 90), mark(40, 70)];

    let resume = resume(&recipe("f"), &beginning(source("1", 0)), Epoch(40), &marks).unwrap();

    let epochs: Vec<_> = resume.stops.iter().map(|mark| mark.epoch.0).collect();
    assert_eq!((resume.done, epochs), (Epoch(40), vec![57]));
}

#[test]
fn files_that_would_be_read_by_other_options_are_refused_and_these_are_named() {
    let read_with = |options: &[(&str, &str)]| {
        let mut sources = source("1", 0);
        let options = options.iter();
        let options = options.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        sources.get_mut("clicks").unwrap().decoding = options.collect();
        sources
    };
    let known = Mark {
        sources: read_with(&[("csv.null", "-"), ("format", "csv")]),
        ..mark(1, 10)
    };
    let resume = |now: BTreeMap<String, SourceMark>, mark: &Mark| {
        resume(
            &recipe("f"),
            &beginning(now),
            Epoch(0),
            std::slice::from_ref(mark),
        )
    };

    let other = read_with(&[("csv.header", "false"), ("format", "csv")]);
    let refusal = resume(other.clone(), &known).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the files of `clicks` were read with no csv.header, csv.null=- before, and with \
         csv.header=false, no csv.null now"
    );
    assert!(resume(known.sources.clone(), &known).is_ok());
    // Older marks do not say, and a run without the files reads none.
    assert!(resume(other, &mark(1, 10)).is_ok());
    assert!(resume(read_with(&[]), &known).is_ok());
}
