//! The oracle of records that are kept for `state.ttl`: joins, first rows and `'upsert.by'` over
//! streams, against an evaluator that goes through the records one by one.
//!
//! ```text
//!   seed ──▶ files of two streams, ways to run them
//!              ├──▶ tidemark run: 1 to 4 threads, epochs cut at random, killed and resumed ──▶ tables
//!              └──▶ the records that are not over by then ──▶ SQLite ──▶ tables
//! ```
//!
//! The tables are in two databases, so that a kill leaves unequal marks. Where a run was killed, the
//! tables of each database must be the answer for exactly the input that its mark says.
//!
//! `KEPT_CASES` says how many cases, `KEPT_SEED` where they begin.

mod bounded;
mod streams;

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use self::streams::{Mark, Stream};
use crate::oracle::random::Random;
use crate::support::{Exit, tables, tidemark};

/// A table, its columns, the query of what it holds, and whether that reads both streams as one.
type Query = (&'static str, &'static str, &'static str, bool);

/// By database.
const QUERIES: [(&str, &[Query]); 2] = [
    (
        "one.db",
        &[
            (
                "matched",
                "k TEXT PRIMARY KEY, n BIGINT, v BIGINT",
                "SELECT coalesce(a.k, '') AS k, count(*) AS n, sum(b.v) AS v \
                 FROM a JOIN b ON a.k = b.k GROUP BY coalesce(a.k, '')",
                false,
            ),
            (
                "top",
                "k TEXT, n BIGINT, v INT, seq BIGINT, PRIMARY KEY (k, n)",
                "SELECT k, n, v, seq FROM (SELECT k, v, seq, row_number() \
                 OVER (PARTITION BY k ORDER BY v DESC, seq) AS n FROM \
                 (SELECT coalesce(k, '') AS k, v, seq FROM a) AS named) AS numbered WHERE n <= 2",
                false,
            ),
        ],
    ),
    (
        "two.db",
        &[
            (
                "alone",
                "seq BIGINT PRIMARY KEY, n BIGINT, last BIGINT",
                "SELECT a.seq, count(b.seq) AS n, coalesce(max(b.seq), 0) AS last \
                 FROM a LEFT JOIN b ON a.k = b.k AND a.v <= b.v GROUP BY a.seq",
                false,
            ),
            (
                "missing",
                "v INT PRIMARY KEY, n BIGINT",
                "SELECT v, count(*) AS n FROM a \
                 WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.v = a.v) GROUP BY v",
                false,
            ),
            (
                "first",
                "k TEXT PRIMARY KEY, v INT, seq BIGINT",
                "SELECT k, v, seq FROM (SELECT k, v, seq, row_number() \
                 OVER (PARTITION BY k ORDER BY v, seq) AS n FROM \
                 (SELECT coalesce(k, '') AS k, v, seq FROM a \
                 UNION ALL SELECT coalesce(k, '') AS k, v, seq FROM b) AS together) AS numbered \
                 WHERE n = 1",
                true,
            ),
        ],
    ),
];

/// Without a key, in the first database: pairs that stay, and the records that are in one.
const PAIRS: &str = "SELECT a.seq, b.seq FROM a JOIN b ON a.k = b.k AND a.v = b.v";
const PAIRED: &str =
    "SELECT seq FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.v = a.v)";

/// What `'upsert.by' = 'v'` keeps, in the first database.
const LAST: &str = "k TEXT PRIMARY KEY, v INT, seq BIGINT";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What was seen over all cases, so that the oracle cannot be right about nothing.
#[derive(Debug, Default)]
struct Seen {
    /// Tables compared where a run was killed.
    between: usize,
    /// Of those, where the two databases had different marks.
    unequal: usize,
    /// Rows of records that were in a table and are in it no more.
    gone: usize,
    /// Records that are in no table at the end.
    forgotten: usize,
    /// Pairs that match and are in the join no more, at the end.
    parted: usize,
}

#[test]
fn what_is_made_of_records_is_made_of_those_of_the_last_state_ttl() {
    let first = number("KEPT_SEED", 1);
    let count = number("KEPT_CASES", 10);
    let mut seen = Seen::default();
    for seed in first..first + count {
        let folder = tempfile::tempdir().unwrap();
        if let Err(problem) = try_case(seed, folder.path(), &mut seen) {
            let kept = folder.keep();
            panic!(
                "KEPT_SEED={seed} KEPT_CASES=1, files in {}:\n{problem}",
                kept.display()
            );
        }
    }
    if count >= 10 {
        assert!(seen.between >= 30 && seen.gone >= 30, "{seen:?}");
        assert!(seen.forgotten >= 500 && seen.parted >= 5000, "{seen:?}");
    }
}

fn pipeline(streams: &[Stream]) -> String {
    let mut sql = format!("SET 'state.ttl' = '{} seconds';\n", streams::TTL);
    sql.extend(streams.iter().map(Stream::create));
    for (database, queries) in QUERIES {
        for (name, columns, query, _) in queries {
            sql += &format!(
                "CREATE TABLE {name} ({columns}) WITH (connector = 'sqlite', path = '{database}');\n\
                 INSERT INTO {name} {query};\n"
            );
        }
    }
    sql + &format!(
        "CREATE TABLE last ({LAST}) WITH (connector = 'sqlite', path = 'one.db', 'upsert.by' = 'v');\n\
         INSERT INTO last SELECT coalesce(k, ''), v, seq FROM a;\n\
         CREATE TABLE pairs (a BIGINT, b BIGINT) WITH (connector = 'sqlite', path = 'one.db');\n\
         CREATE TABLE paired (a BIGINT) WITH (connector = 'sqlite', path = 'one.db');\n\
         INSERT INTO pairs {PAIRS};\nINSERT INTO paired {PAIRED};\n"
    )
}

fn try_case(seed: u64, folder: &Path, seen: &mut Seen) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut seq = 0;
    let streams = ["a", "b"].map(|name| Stream::random(&mut random, name, &mut seq));
    for stream in &streams {
        stream.write(folder);
    }
    std::fs::write(folder.join("case.sql"), pipeline(&streams)).unwrap();
    // A run that is not disturbed, then one that is killed and goes on.
    for kills in [0, random.between(1, 5)] {
        let _ = std::fs::remove_file(folder.join("one.db"));
        let _ = std::fs::remove_file(folder.join("two.db"));
        let mut before = BTreeSet::new();
        for kill in 0..kills {
            let commit = random.between(2, 20).to_string();
            start(&mut random, folder, Some(&commit), kill == 0)?;
            let marks = compare(&streams, folder).map_err(|e| format!("killed: {e}"))?;
            seen.between += marks.len();
            seen.unequal += usize::from(marks.len() == 2 && marks[0] != marks[1]);
            count_gone(folder, &mut before, seen);
        }
        start(&mut random, folder, None, kills == 0)?;
        compare(&streams, folder).map_err(|e| format!("at the end: {e}"))?;
        count_gone(folder, &mut before, seen);
        let records: usize = streams[0].files.iter().map(Vec::len).sum();
        seen.forgotten += records - keys(folder, "two.db", "alone").len();
        let joined = tables(&folder.join("one.db")).into_iter();
        let joined = joined.filter(|table| table.name == "matched");
        let joined = joined.flat_map(|table| table.rows);
        let joined: i64 = joined.filter_map(|row| number_of(&row[1])).sum();
        seen.parted += streams::matching(&streams) - usize::try_from(joined).unwrap();
    }
    Ok(())
}

/// Runs the case, with epochs cut at random, until it is killed or over.
fn start(
    random: &mut Random,
    folder: &Path,
    crash: Option<&str>,
    is_first: bool,
) -> Result<(), String> {
    let threads = random.between(1, 5).to_string();
    let pace = (random.next() % 1000).to_string();
    let block = random.between(40, 200).to_string();
    let snapshots = *random.pick(&["snapshot.interval=1ms", "snapshot.interval=10s"]);
    let mut options = vec!["run", "case.sql", "--quiet", "--set", snapshots];
    options.extend(["--threads", &threads]);
    if is_first {
        options.extend(["--fresh", "--yes"]);
    }
    let mut variables = vec![
        ("TIDEMARK_TEST_PACE", pace.as_str()),
        ("TIDEMARK_TEST_BLOCK", block.as_str()),
    ];
    variables.extend(crash.map(|commit| ("TIDEMARK_CRASH_AT", commit)));
    let ended = tidemark(folder, &options, &variables);
    let was_killed = crash.is_some() && ended.how == Exit::Aborted;
    match was_killed || ended.how == Exit::Code(0) {
        true => Ok(()),
        false => Err(format!("{:?}: {}", ended.how, ended.stderr)),
    }
}

/// The mark of a database, if it has one.
fn mark(file: &Path) -> Option<Mark> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let database = Connection::open_with_flags(file, flags).ok()?;
    let sql = "SELECT mark FROM tidemark_marks WHERE mark IS NOT NULL";
    let mark: String = database.query_row(sql, [], |row| row.get(0)).ok()?;
    Some(serde_json::from_str(&mark).unwrap())
}

/// Compares every table with the answer for what its mark says was read; gives the marks' epochs.
fn compare(streams: &[Stream; 2], folder: &Path) -> Result<Vec<u64>, String> {
    let mut epochs = Vec::new();
    for (database, queries) in QUERIES {
        let file = folder.join(database);
        let Some(mark) = mark(&file) else {
            continue;
        };
        epochs.push(mark.epoch);
        let ours = tables(&file);
        let ours = |name: &str| {
            let table = ours.iter().find(|table| table.name == name);
            table.expect("every table is made").rows.clone()
        };
        let read = streams.each_ref().map(|stream| stream.read(&mark));
        let apart = read.each_ref().map(|read| read.kept(read.event_time()));
        let together = streams::event_time_of_all(&read);
        let together = read.each_ref().map(|read| read.kept(together));
        for (name, _, query, reads_both) in queries {
            let kept = if *reads_both { &together } else { &apart };
            same(name, &ours(name), &streams::answer(kept, query))?;
        }
        if database == "one.db" {
            same("last", &ours("last"), &read[0].last_of_each())?;
            let pairs = streams::pairs(&read);
            let paired: BTreeSet<i64> = pairs
                .iter()
                .filter_map(|pair| number_of(&pair[0]))
                .collect();
            let paired = paired.into_iter().map(|seq| vec![Value::Integer(seq)]);
            same("pairs", &ours("pairs"), &pairs)?;
            same("paired", &ours("paired"), &paired.collect::<Vec<_>>())?;
        }
    }
    Ok(epochs)
}

fn number_of(value: &Value) -> Option<i64> {
    let Value::Integer(number) = value else {
        return None;
    };
    Some(*number)
}

fn same(name: &str, ours: &[Vec<Value>], expected: &[Vec<Value>]) -> Result<(), String> {
    let lines = |rows: &[Vec<Value>]| -> BTreeSet<String> {
        rows.iter().map(|row| format!("{row:?}")).collect()
    };
    let is_as_long = ours.len() == expected.len();
    let (ours, expected) = (lines(ours), lines(expected));
    if ours == expected && is_as_long {
        return Ok(());
    }
    let more: Vec<_> = ours.difference(&expected).take(4).collect();
    let fewer: Vec<_> = expected.difference(&ours).take(4).collect();
    Err(format!(
        "{name} has {} rows, not {}\n  too many: {more:#?}\n  missing: {fewer:#?}",
        ours.len(),
        expected.len()
    ))
}

/// The first column of a table.
fn keys(folder: &Path, database: &str, table: &str) -> BTreeSet<String> {
    let file = folder.join(database);
    if !file.exists() {
        return BTreeSet::new();
    }
    let tables = tables(&file).into_iter();
    let rows = tables
        .filter(|other| other.name == table)
        .flat_map(|table| table.rows);
    rows.map(|row| format!("{:?}", row[0])).collect()
}

/// What was there before and is there no more.
fn count_gone(folder: &Path, before: &mut BTreeSet<String>, seen: &mut Seen) {
    let now = keys(folder, "two.db", "alone");
    seen.gone += before.difference(&now).count();
    *before = now;
}
