//! A table in a folder, read again by a clock that nobody waits for.

use std::fs;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type};
use tempfile::TempDir;

use super::*;
use crate::plan::{Column, OptionValue, Place, Role};

const WAIT: Duration = Duration::from_millis(20);

/// A table of words in a folder, read every ten seconds.
struct Words {
    folder: TempDir,
    clock: Clock,
    life: u64,
}

impl Words {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            clock: Clock::manual(),
            life: 7,
        }
    }

    fn table() -> Table {
        let column = |(name, data_type): (&str, DataType)| Column {
            field: Arc::new(Field::new(name, data_type, false)),
            computed: None,
            place: Place::default(),
        };
        let option = |(name, text): &(&str, &str)| {
            let value = OptionValue {
                text: (*text).to_owned(),
                place: Place::default(),
            };
            ((*name).to_owned(), value)
        };
        let options = [
            ("path", "words.csv"),
            ("format", "csv"),
            ("csv.header", "false"),
            ("reload.interval", "10s"),
        ];
        let columns = [("id", DataType::Int64), ("word", DataType::Utf8)];
        Table {
            name: "words".to_owned(),
            role: Role::Source,
            takes_letters: false,
            columns: columns.map(column).into(),
            primary_key: vec![0],
            checks: Vec::new(),
            watermark: None,
            connector: "file".to_owned(),
            options: options.iter().map(option).collect(),
            place: Place::default(),
        }
    }

    fn hold(&self, words: &str) {
        fs::write(self.folder.path().join("words.csv"), words).unwrap();
    }

    fn store(&self) -> Store {
        Store::at(&self.folder.path().join("state"))
    }

    /// A run that finds the log there.
    fn start(&self) -> Reload {
        let reload = Reload::new(&Self::table(), &[0, 1], self.folder.path(), &self.clock);
        let crash = Arc::new(CrashPoint::default());
        let opened = reload.table.open(Some(self.store()), self.life, &crash);
        opened.unwrap();
        reload
    }

    /// What a consumer hands on until it waits for time to pass.
    fn read(&self, reload: &Reload, consumer: &mut dyn Consumer) -> Vec<String> {
        let mut said = Vec::new();
        let now = self.clock.elapsed();
        let mut quiet = 0;
        while self.clock.elapsed() == now && quiet < 3 {
            let fetched = consumer.poll(WAIT).unwrap();
            quiet = if fetched.is_empty() { quiet + 1 } else { 0 };
            for (_, fetched) in fetched {
                if let Fetched::Block(block) = fetched {
                    let rows = reload.decoder().decode(&block).rows;
                    said.push(format!("{}..{}: {}", block.start, block.end, text(&rows)));
                }
            }
        }
        said
    }

    fn objects(&self) -> Vec<String> {
        let listed = self.store().list().unwrap().into_iter();
        let mut names: Vec<String> = listed
            .map(|(object, _)| {
                object
                    .rsplit_once('-')
                    .unwrap()
                    .1
                    .trim_start_matches('0')
                    .to_owned()
            })
            .collect();
        names.sort();
        names
    }
}

fn text(rows: &RecordBatch) -> String {
    let words = rows.column(1).as_string::<i32>();
    let counts = rows.column(2).as_primitive::<Int64Type>();
    let row = |row| format!("{:+}{}", counts.value(row), words.value(row));
    (0..rows.num_rows()).map(row).collect::<Vec<_>>().join(" ")
}

fn consumer(reload: &Reload, from: u64) -> Box<dyn Consumer> {
    reload.consumer(&[(0, Offset(from))], Reads::On).unwrap()
}

#[test]
fn what_is_different_is_handed_on_when_it_is_due() {
    let words = Words::new();
    words.hold("1,tide\n2,mark\n");
    let reload = words.start();
    let mut consumer = consumer(&reload, 0);

    assert_eq!(words.read(&reload, &mut *consumer), ["0..1: +1tide +1mark"]);
    words.hold("3,moon\n1,Tide\n");
    assert_eq!(words.read(&reload, &mut *consumer), [""; 0]);
    words.clock.wait_until(Duration::from_secs(11));

    let second = words.read(&reload, &mut *consumer);
    assert_eq!(second, ["1..2: -1tide +1Tide -1mark +1moon"]);
}

#[test]
fn a_replay_hands_on_the_log_whatever_the_table_is_by_now() {
    let words = Words::new();
    for contents in ["1,a\n", "1,b\n", "1,c\n2,d\n"] {
        words.hold(contents);
        words.start().read_again().unwrap();
    }
    words.hold("");

    let reload = words.start();
    let all = words.read(&reload, &mut *consumer(&reload, 0));

    // The last is what became of it meanwhile.
    let known = ["0..1: +1a", "1..2: -1a +1b", "2..3: -1b +1c +1d"];
    assert_eq!(all, [&known[..], &["3..4: -1c -1d"]].concat());
    let reload = words.start();
    let rest = words.read(&reload, &mut *consumer(&reload, 2));
    assert_eq!(rest, ["2..3: -1b +1c +1d", "3..4: -1c -1d"]);
}

#[test]
fn a_table_that_cannot_be_used_stays_as_it_was() {
    let words = Words::new();
    words.hold("1,tide\n");
    let reload = words.start();
    let shared = Arc::new(Shared::default());
    reload.shows_on(&shared);
    let away = || shared.board.facts().away.get("words").cloned();
    let mut consumer = consumer(&reload, 0);
    assert_eq!(words.read(&reload, &mut *consumer).len(), 1);
    assert_eq!(away(), None);

    for (second, broken) in [(11, "1,tide\n1,tides\n"), (22, "one,tide\n"), (33, "2\n")] {
        words.hold(broken);
        words.clock.wait_until(Duration::from_secs(second));
        assert_eq!(words.read(&reload, &mut *consumer), [""; 0], "{broken}");
        assert!(reload.read_again().is_err(), "{broken}");
    }
    fs::remove_file(words.folder.path().join("words.csv")).unwrap();
    words.clock.wait_until(Duration::from_secs(44));
    assert_eq!(words.read(&reload, &mut *consumer), [""; 0]);
    let (since, cause) = away().unwrap();
    assert!(since < Duration::from_secs(12), "{since:?}");
    assert!(cause.contains("no file matches"), "{cause}");

    words.hold("2,mark\n");
    words.clock.wait_until(Duration::from_secs(55));
    let mended = words.read(&reload, &mut *consumer);
    assert_eq!(mended, ["1..2: -1tide +1mark"]);
    assert_eq!(away(), None);
}

#[test]
fn a_table_that_could_never_be_read_ends_the_run() {
    let words = Words::new();
    let reload = words.start();
    let mut consumer = consumer(&reload, 0);

    consumer.poll(WAIT).unwrap();
    let error = consumer.poll(WAIT).unwrap_err();

    assert!(
        error.to_string().contains("no file matches `words.csv`"),
        "{error}"
    );
}

#[test]
fn what_no_run_begins_before_any_more_is_merged() {
    let words = Words::new();
    let reload = words.start();
    let mut consumer = consumer(&reload, 0);
    for (second, contents) in (0_u64..)
        .step_by(11)
        .zip(["1,a\n2,b\n", "1,A\n2,b\n", "1,B\n2,b\n"])
    {
        words.hold(contents);
        words.clock.wait_until(Duration::from_secs(second));
        assert_eq!(words.read(&reload, &mut *consumer).len(), 1);
    }
    // The last snapshot is at 3, the one before at 2.
    reload.show_progress(&[(0, Offset(2))]);
    reload.show_progress(&[(0, Offset(3))]);
    assert_eq!(words.objects(), [".arrow", "1.arrow", "2.arrow"]);

    words.clock.wait_until(Duration::from_secs(40));
    assert_eq!(words.read(&reload, &mut *consumer), [""; 0]);

    assert_eq!(words.objects(), ["2.arrow", "2.whole"]);
    let again = words.start();
    let all = words.read(&again, &mut *self::consumer(&again, 0));
    assert_eq!(all, ["0..2: +1A +1b", "2..3: -1A +1B"]);
}

#[test]
fn of_two_processes_that_read_one_table_one_ends() {
    let words = Words::new();
    words.hold("1,a\n");
    let (first, second) = (words.start(), words.start());
    first.read_again().unwrap();

    // The same, and then not.
    second.read_again().unwrap();
    words.hold("1,b\n");
    first.read_again().unwrap();
    words.hold("1,c\n");
    let failure = second.read_again().unwrap_err();

    let hint = "two processes run this pipeline; stop one of them";
    assert_eq!(failure.hint.as_deref(), Some(hint));
    let all = words.start();
    let log = words.read(&all, &mut *consumer(&all, 0));
    assert_eq!(log, ["0..1: +1a", "1..2: -1a +1b", "2..3: -1b +1c"]);
}
