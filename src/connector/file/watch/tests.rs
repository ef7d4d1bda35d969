//! A folder whose files become more, on a clock that the test moves.

use std::fs;

use arrow::datatypes::DataType;
use tempfile::TempDir;

use super::*;
use crate::connector::fixtures::table;
use crate::connector::{Reads, SharedSource, open_source};
use crate::plan::Role;
use crate::types::Clock;

/// A source and its clock.
struct Opened(SharedSource, Clock);

impl Opened {
    fn live(&self) -> &dyn Live {
        self.0.live().unwrap()
    }

    /// Looks as often as it takes for what is there to be taken.
    fn look(&self) -> Result<usize, ConnectorError> {
        self.live().count_partitions()?;
        self.look_later(LOOK)
    }

    fn look_later(&self, wait: Duration) -> Result<usize, ConnectorError> {
        self.1.wait_until(self.1.elapsed() + wait);
        self.live().count_partitions()
    }
}

fn open(folder: &TempDir) -> Result<Opened, ConnectorError> {
    let options = [
        ("connector", "file"),
        ("path", "in"),
        ("format", "csv"),
        ("watch", "true"),
    ];
    let table = table(Role::Source, &[("n", DataType::Int64)], &options);
    let clock = Clock::manual();
    let source = open_source(&table, &[0], folder.path(), &clock)?;
    Ok(Opened(source, clock))
}

fn folder(files: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    files.iter().for_each(|file| put(&folder, file, "n\n1\n"));
    folder
}

fn put(folder: &TempDir, file: &str, content: &str) {
    fs::write(folder.path().join("in").join(file), content).unwrap();
}

fn names(live: &dyn Live) -> Vec<String> {
    let taken = (0..).map_while(|number| live.taken(number));
    taken.map(|file| file.name).collect()
}

fn refusal(outcome: Result<usize, ConnectorError>) -> String {
    outcome.expect_err("it is refused").to_string()
}

#[test]
fn a_file_keeps_the_number_that_it_was_found_with() {
    let folder = folder(&["b.csv"]);
    let source = open(&folder).unwrap();
    let live = source.live();
    assert_eq!(
        live.beginning().unwrap().len(),
        2,
        "the folder itself is one"
    );

    put(&folder, "a.csv", "n\n2\n");
    put(&folder, ".hidden.csv", "n\n");
    put(&folder, "later.csv.part", "not whole");
    assert_eq!(source.look().unwrap(), 3);
    assert_eq!(names(live), ["in", "in/b.csv", "in/a.csv"]);

    put(&folder, "0.csv", "n\n3\n");
    let known: BTreeMap<usize, TakenFile> = (0..3)
        .map(|number| (number, live.taken(number).unwrap()))
        .collect();
    let source = open(&folder).unwrap();
    let live = source.live();
    live.recall(&known).unwrap();
    assert_eq!(names(live), ["in", "in/b.csv", "in/a.csv", "in/0.csv"]);
}

#[test]
fn a_file_that_changes_or_goes_away_is_named() {
    let folder = folder(&["a.csv", "b.csv"]);
    let source = open(&folder).unwrap();

    put(&folder, "a.csv", "n\n1\n2\n");
    let Err(ConnectorError::Permanent { message, hint }) = source.look() else {
        panic!("it is refused")
    };
    assert_eq!(message, "`in/a.csv` has changed since it was taken");
    assert!(hint.is_some_and(|hint| hint.contains("truncate -s 4")));
    fs::remove_file(folder.path().join("in/a.csv")).unwrap();
    let said = refusal(source.look());
    assert_eq!(said, "`in/a.csv` was taken before and is gone");
}

#[test]
fn a_file_ends_and_the_folder_has_no_records() {
    let folder = folder(&["a.csv"]);
    let source = open(&folder).unwrap();
    let live = source.live();
    let mut consumer = live
        .consumer(&[(0, Offset(0)), (1, Offset(0))], Reads::ToItsEnd)
        .unwrap();

    let mut fetched = Vec::new();
    while fetched.len() < 3 {
        fetched.extend(consumer.poll(Duration::ZERO).unwrap());
    }

    assert!(matches!(fetched[0], (0, Fetched::End)));
    assert!(matches!(fetched[1], (1, Fetched::Block(_))));
    assert!(matches!(fetched[2], (1, Fetched::End)));
}

#[test]
fn a_single_file_is_not_watched() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("in"), "n\n1\n").unwrap();

    let Err(error) = open(&folder) else {
        panic!("opened")
    };

    assert_eq!(
        error.to_string(),
        "`in` is a file, and only a folder's files become more"
    );
}

#[test]
fn a_file_that_is_written_again_with_the_same_bytes_has_not_changed() {
    let folder = folder(&["a.csv"]);
    let source = open(&folder).unwrap();

    put(&folder, "a.csv", "n\n1\n");

    assert_eq!(source.look().unwrap(), 2);
}

#[test]
fn a_file_is_taken_when_it_has_not_changed_for_a_second() {
    let folder = folder(&[]);
    let source = open(&folder).unwrap();

    put(&folder, "a.csv", "n\n");
    assert_eq!(source.look_later(Duration::ZERO).unwrap(), 1);
    put(&folder, "a.csv", "n\n1\n");
    assert_eq!(source.look_later(LOOK).unwrap(), 1, "it has grown");
    assert_eq!(source.look_later(LOOK / 2).unwrap(), 1);
    assert_eq!(source.look_later(LOOK / 2).unwrap(), 2);
}

#[test]
fn a_packed_file_is_waited_for_until_it_is_whole_and_a_broken_one_is_named() {
    let folder = folder(&[]);
    let source = open(&folder).unwrap();
    let mut packed = Vec::new();
    let mut writer = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
    std::io::Write::write_all(&mut writer, b"n\n1\n2\n").unwrap();
    writer.finish().unwrap();
    let path = folder.path().join("in/a.csv.gz");

    fs::write(&path, &packed[..packed.len() / 2]).unwrap();
    assert_eq!(source.look_later(Duration::ZERO).unwrap(), 1);
    let half = refusal(source.look_later(LOOK));
    fs::write(&path, &packed).unwrap();
    assert_eq!(source.look_later(LOOK).unwrap(), 1);
    assert_eq!(source.look_later(LOOK).unwrap(), 2);

    assert!(half.starts_with("cannot read `in/a.csv.gz`"), "{half}");
}
