//! Topics that are deleted and made anew under their names: the offsets of a mark mean other
//! records there, however many of them there are.

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

use crate::support::{Ended, Exit, tidemark};
use crate::topics::{Topic, run, seen};

/// A pipeline that has read ten records of a topic.
fn ten_read(folder: &Path) -> Option<Topic> {
    let topic = Topic::new(folder, 1, &[])?;
    topic.send(0, 0..10);
    run(folder, "1");
    Some(topic)
}

fn rows(folder: &Path) -> usize {
    seen(&Connection::open(folder.join("out.db")).unwrap()).len()
}

fn start(folder: &Path, command: &str, options: &[&str]) -> Ended {
    tidemark(folder, &[&[command, "pipeline.sql"], options].concat(), &[])
}

/// Has the source say one more option.
fn say(folder: &Path, option: &str) {
    let file = folder.join("pipeline.sql");
    let sql = std::fs::read_to_string(&file).unwrap();
    let sql = sql.replacen("format = 'json'", &format!("format = 'json', {option}"), 1);
    std::fs::write(file, sql).unwrap();
}

/// The mark's word for which topic it was.
fn identity(folder: &Path) -> Value {
    mark(folder)["sources"]["clicks"]["identity"].clone()
}

fn mark(folder: &Path) -> Value {
    let database = Connection::open(folder.join("out.db")).unwrap();
    let mark = database.query_row("select mark from tidemark_marks", [], |row| {
        row.get::<_, String>(0)
    });
    serde_json::from_str(&mark.unwrap()).unwrap()
}

fn forget_identity(folder: &Path) {
    let mut mark = mark(folder);
    let source = mark["sources"]["clicks"].as_object_mut().unwrap();
    assert!(source.remove("identity").is_some());
    let database = Connection::open(folder.join("out.db")).unwrap();
    let change = "update tidemark_marks set mark = ?";
    database.execute(change, [mark.to_string()]).unwrap();
}

fn assert_refused(ended: &Ended, topic: &Topic) {
    let message = format!("topic `{}` was deleted and made anew", topic.name);
    assert_ne!(ended.how, Exit::Code(0), "{}", ended.stderr);
    assert!(ended.stderr.contains(&message), "{}", ended.stderr);
    assert!(ended.stderr.contains("--fresh"), "{}", ended.stderr);
}

#[test]
fn a_topic_made_anew_is_refused_by_its_name_whatever_is_in_it() {
    for (records, option) in [(25, ""), (25, "'offset.lost' = 'skip'"), (3, "")] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let Some(topic) = ten_read(folder) else {
            return;
        };
        if !option.is_empty() {
            say(folder, option);
        }

        topic.make_anew(1);
        topic.send(0, 100..100 + records);

        for command in ["check", "run"] {
            let options = ["--until-caught-up"];
            let options = options.iter().filter(|_| command == "run");
            let ended = start(folder, command, &options.copied().collect::<Vec<_>>());
            assert_refused(&ended, &topic);
        }
        assert_eq!(rows(folder), 10);
        let ended = start(folder, "run", &["--until-caught-up", "--fresh", "--yes"]);
        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        assert_eq!(rows(folder), usize::try_from(records).unwrap());
    }
}

/// A topic that was mirrored, or brought back from a backup, has another id and the same records.
#[test]
fn a_topic_that_is_said_to_have_the_same_records_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(topic) = ten_read(folder) else {
        return;
    };
    topic.make_anew(1);
    topic.send(0, 0..25);
    let ended = start(folder, "check", &[]);
    assert_refused(&ended, &topic);
    let id = ended.stderr.split("'topic.id' = '").nth(1).unwrap();
    let id = id.split('\'').next().unwrap();

    say(folder, &format!("'topic.id' = '{id}'"));
    run(folder, "1");
    assert_eq!(rows(folder), 25);
    assert_eq!(identity(folder), id);

    topic.make_anew(1);
    topic.send(0, 0..40);
    let ended = start(folder, "run", &["--until-caught-up"]);
    let message = format!("and 'topic.id' names {id}");
    assert!(ended.stderr.contains(&message), "{}", ended.stderr);
    assert_eq!(rows(folder), 25);
}

#[test]
fn a_mark_that_does_not_say_which_topic_it_was_takes_the_one_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(topic) = ten_read(folder) else {
        return;
    };
    let first = identity(folder);
    assert!(first.is_string(), "{first}");
    forget_identity(folder);

    topic.send(0, 10..12);
    run(folder, "1");

    assert_eq!(rows(folder), 12);
    assert_eq!(identity(folder), first);
}
