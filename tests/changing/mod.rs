//! The oracle of collections that change: random queries over queries, of which PostgreSQL knows the
//! answer.
//!
//! ```text
//!   seed ──▶ tables, queries nested up to three deep, ways to run them
//!              ├──▶ tidemark run: 1 to 4 threads, epochs cut at random, killed and resumed ──▶ tables
//!              └──▶ PostgreSQL: the same text over the same rows ──▶ tables
//! ```
//!
//! Where a run was killed, the tables must be the answer for exactly the input that the mark says: so it
//! is seen that every commit is a consistent cut, not only the last.
//!
//! `CHANGING_CASES` says how many cases, `CHANGING_SEED` where they begin. A case that fails leaves its
//! folder behind; `CHANGING_SEED=n CHANGING_CASES=1` runs it again, and shows one that is refused.

mod asking;
mod beside;
mod data;
mod relation;
mod reloaded;
mod using;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use postgres::{Client, SimpleQueryMessage};
use rusqlite::types::Value;

use self::data::{COLUMNS, NAMES, Table};
use self::relation::{Column, Kind, Relation, theirs as theirs_of};
use crate::oracle::random::Random;
use crate::services;
use crate::support::{Exit, tables, tidemark};

/// How many of a hundred cases may be refused: a query that asks nothing of its inputs may join them
/// without a bound, and one may say by its text that it has no rows.
const REFUSED_PERCENT_MAX: u64 = 3;

#[test]
fn queries_over_queries_end_with_the_tables_that_postgres_computes() {
    let test = "the oracle of collections that change";
    let first = number("CHANGING_SEED", 1);
    let count = number("CHANGING_CASES", 300);
    let Some((failures, refused)) = over_seeds(test, (first, count), try_case) else {
        return;
    };
    let mut summary = String::new();
    for (why, seeds) in &refused {
        let _ = writeln!(summary, "{} refused, {why}: {seeds:?}", seeds.len());
    }
    assert!(
        failures.is_empty(),
        "{} of {count} cases failed:\n\n{}\n\n{summary}",
        failures.len(),
        failures.join("\n\n")
    );
    let refused: usize = refused.values().map(Vec::len).sum();
    let most = usize::try_from(count * REFUSED_PERCENT_MAX / 100).unwrap();
    assert!(refused <= most, "too many are refused:\n{summary}");
}

/// What failed, and which seeds were refused for what.
type Found = (Vec<String>, BTreeMap<String, Vec<u64>>);

/// Tries as many cases, several at a time. `None` without a server.
fn over_seeds(
    test: &str,
    (first, count): (u64, u64),
    try_case: impl Fn(&mut Client, u64) -> Outcome + Sync,
) -> Option<Found> {
    services::postgres(test)?;
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let refused: Mutex<BTreeMap<String, Vec<u64>>> = Mutex::default();
    let failures: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut client = services::postgres(test).unwrap();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    match try_case(&mut client, seed) {
                        Outcome::Same => {}
                        Outcome::Refused(why) => {
                            let mut refused =
                                refused.lock().unwrap_or_else(PoisonError::into_inner);
                            refused.entry(why).or_default().push(seed);
                        }
                        Outcome::Different(problem) => failures
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(problem),
                    }
                }
            });
        }
    });
    Some((
        failures.into_inner().unwrap(),
        refused.into_inner().unwrap(),
    ))
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

enum Outcome {
    Same,
    /// `check` refuses it, with this message.
    Refused(String),
    Different(String),
}

/// Tables and a query over them, in a sink.
struct Case {
    tables: Vec<Table>,
    sink: Sink,
    runs: Vec<Run>,
}

/// What is asked, and the columns that it comes to.
struct Sink {
    select: String,
    columns: Vec<Column>,
    key: Vec<usize>,
}

/// One way to run the case.
#[derive(Debug)]
struct Run {
    threads: i64,
    pace: Option<u64>,
    block: Option<i64>,
    snapshots: &'static str,
    crashes: Vec<i64>,
}

impl Case {
    fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut seq = 0;
        let tables = NAMES
            .iter()
            .map(|name| Table::random(&mut random, name, &mut seq))
            .collect();
        let depth = 1 + random.below(3);
        let relation = Relation::random(&mut random, depth);
        let sink = Sink::random(&mut random, relation);
        let crashes = (0..random.between(1, 4))
            .map(|_| random.between(1, 12))
            .collect();
        let cut = |random: &mut Random, crashes| Run {
            threads: random.between(1, 5),
            pace: Some(random.next() % 1000),
            block: Some(random.between(50, 1500)),
            snapshots: random.pick::<&str>(&["snapshot.interval=1ms", "snapshot.interval=10s"]),
            crashes,
        };
        let whole = Run {
            threads: 1,
            pace: None,
            block: None,
            snapshots: "snapshot.interval=10s",
            crashes: Vec::new(),
        };
        let runs = vec![
            whole,
            cut(&mut random, Vec::new()),
            cut(&mut random, crashes),
        ];
        Self { tables, sink, runs }
    }

    /// The pipeline.
    fn sql(&self) -> String {
        let mut sql: String = self.tables.iter().map(Table::create).collect();
        let mut columns = self.sink.declared();
        if !self.sink.key.is_empty() {
            let key: Vec<String> = self.sink.key.iter().map(|c| format!("c{c}")).collect();
            columns.push(format!("PRIMARY KEY ({})", key.join(", ")));
        }
        let _ = writeln!(
            sql,
            "CREATE TABLE result ({})\n  WITH (connector = 'sqlite', path = 'out.db');",
            columns.join(", ")
        );
        let _ = writeln!(sql, "INSERT INTO result\n{};", self.sink.select);
        sql
    }

    fn write(&self, folder: &Path) {
        for table in &self.tables {
            table.write(folder);
        }
        std::fs::write(folder.join("case.sql"), self.sql()).unwrap();
    }
}

impl Sink {
    /// A sink that takes the relation: appended to if rows only come; by the relation's key if it has
    /// one without NULLs; or with every row as a key, and how often it is there.
    fn random(random: &mut Random, relation: Relation) -> Self {
        let Relation {
            sql,
            mut columns,
            append,
            key,
        } = relation;
        if append && random.chance(70) {
            return Self {
                select: sql,
                columns,
                key: Vec::new(),
            };
        }
        let key = key.filter(|key| !key.is_empty() && !key.iter().any(|&c| columns[c].nullable));
        if let Some(key) = key {
            return Self {
                select: sql,
                columns,
                key,
            };
        }
        let keys: Vec<String> = (0..)
            .zip(&columns)
            .map(|(index, column): (usize, &Column)| {
                if column.nullable {
                    format!(
                        "coalesce(z.c{index}, {}) AS c{index}",
                        column.kind.stranger()
                    )
                } else {
                    format!("z.c{index} AS c{index}")
                }
            })
            .collect();
        let rows = format!("SELECT {} FROM ({sql}) z", keys.join(", "));
        let keys: Vec<String> = (0..keys.len()).map(|index| format!("w.c{index}")).collect();
        let keys = keys.join(", ");
        let key: Vec<usize> = (0..columns.len()).collect();
        columns.push(Column {
            kind: Kind::Long,
            nullable: false,
        });
        if random.chance(50) {
            return Self {
                select: format!("SELECT {keys}, count(*) FROM ({rows}) w GROUP BY {keys}"),
                columns,
                key,
            };
        }
        // The first of equal rows, the second and so on.
        let key = (0..columns.len()).collect();
        Self {
            select: format!(
                "SELECT {keys}, row_number() OVER (PARTITION BY {keys} ORDER BY {keys}) FROM ({rows}) w"
            ),
            columns,
            key,
        }
    }

    fn declared(&self) -> Vec<String> {
        (0..)
            .zip(&self.columns)
            .map(|(index, column): (usize, &Column)| format!("c{index} {}", column.kind.name()))
            .collect()
    }
}

fn try_case(client: &mut Client, seed: u64) -> Outcome {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("changing-{seed}"));
    let _ = std::fs::remove_dir_all(&folder);
    let case = Case::random(seed);
    let outcome = check(client, &case, &folder);
    match outcome {
        Outcome::Different(problem) => Outcome::Different(format!(
            "seed {seed} (again: CHANGING_SEED={seed} CHANGING_CASES=1; its files: {}):\n   {problem}",
            folder.display()
        )),
        Outcome::Same | Outcome::Refused(_) => {
            std::fs::remove_dir_all(&folder).expect("the case made its folder");
            outcome
        }
    }
}

fn check(client: &mut Client, case: &Case, folder: &Path) -> Outcome {
    let whole = folder.join("run-0");
    case.write(&whole);
    let checked = tidemark(&whole, &["check", "case.sql"], &[]);
    if checked.how != Exit::Code(0) {
        let why = match number("CHANGING_CASES", 300) {
            1 => format!("{}\n{}", checked.stderr, case.sql()),
            _ => checked.stderr.lines().next().unwrap_or_default().to_owned(),
        };
        return Outcome::Refused(why);
    }
    let waits = waits(&whole);
    load(client, case);
    let answer = theirs(client, case, None);
    for (index, run) in case.runs.iter().enumerate() {
        let folder = folder.join(format!("run-{index}"));
        case.write(&folder);
        if let Err(problem) = play(client, case, run, &folder, &answer, waits) {
            return Outcome::Different(format!("run {index}, {run:?}: {problem}\n{}", case.sql()));
        }
    }
    Outcome::Same
}

/// Whether some rows come only once event time says that they have no match: then the tables are
/// the answer for all of the input, not for each part of it.
fn waits(folder: &Path) -> bool {
    let explained = tidemark(folder, &["explain", "case.sql"], &[]).stdout;
    if explained.contains(" running over ") {
        return true;
    }
    let kinds = ["left", "right", "full", "anti"];
    let mut kinds = kinds
        .map(|kind| format!("interval join ({kind})"))
        .into_iter();
    kinds.any(|kind| explained.contains(&kind)) || explained.contains("asof join")
}

/// Runs a case one way, through its crashes, to its end. Compares wherever it stood still.
fn play(
    client: &mut Client,
    case: &Case,
    run: &Run,
    folder: &Path,
    answer: &Rows,
    waits: bool,
) -> Result<(), String> {
    let threads = run.threads.to_string();
    let options = [
        "run",
        "case.sql",
        "--quiet",
        "--set",
        run.snapshots,
        "--threads",
        &threads,
    ];
    let start = |crash: Option<i64>| {
        let mut variables: Vec<(&str, String)> = Vec::new();
        variables.extend(
            run.pace
                .map(|seed| ("TIDEMARK_TEST_PACE", seed.to_string())),
        );
        variables.extend(
            run.block
                .map(|size| ("TIDEMARK_TEST_BLOCK", size.to_string())),
        );
        variables.extend(crash.map(|commit| ("TIDEMARK_CRASH_AT", commit.to_string())));
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
        tidemark(folder, &options, &variables)
    };
    for crash in &run.crashes {
        let ended = start(Some(*crash));
        // It may come to its end with fewer commits than that.
        if ended.how != Exit::Aborted && ended.how != Exit::Code(0) {
            return Err(format!(
                "{:?} at commit {crash}: {}",
                ended.how, ended.stderr
            ));
        }
        // Before the first record nothing has been said yet.
        if !waits && let Some(read) = mark(folder).filter(|read| read.values().any(|&end| end > 0))
        {
            let expected = theirs(client, case, Some(&read));
            same(&ours(folder), &expected)
                .map_err(|e| format!("killed at commit {crash}, where {read:?} was read: {e}"))?;
        }
    }
    let ended = start(None);
    if ended.how != Exit::Code(0) {
        return Err(format!("{:?}: {}", ended.how, ended.stderr));
    }
    same(&ours(folder), answer)
}

/// An `avg` of all digits: PostgreSQL's own has about sixteen in all.
const EXACT_AVG: &str = "
    DROP AGGREGATE IF EXISTS pg_temp.exact_avg(NUMERIC);
    CREATE OR REPLACE FUNCTION pg_temp.added(state NUMERIC[], x NUMERIC) RETURNS NUMERIC[]
      AS 'SELECT ARRAY[state[1] + x, state[2] + 1]' LANGUAGE sql STRICT;
    CREATE OR REPLACE FUNCTION pg_temp.averaged(state NUMERIC[]) RETURNS NUMERIC
      AS 'SELECT round(state[1]::NUMERIC(60, 40) / nullif(state[2], 0), 16)' LANGUAGE sql;
    CREATE AGGREGATE pg_temp.exact_avg(NUMERIC)
      (sfunc = pg_temp.added, stype = NUMERIC[], finalfunc = pg_temp.averaged, initcond = '{0,0}');
";

/// Loads every line of every table, with its file and where it ends there.
fn load(client: &mut Client, case: &Case) {
    let mut sql = String::new();
    for name in NAMES {
        let _ = write!(
            sql,
            "DROP VIEW IF EXISTS {name}; DROP TABLE IF EXISTS all_{name}; \
             CREATE TEMP TABLE all_{name} ({COLUMNS}, file INT, ends BIGINT);"
        );
    }
    client.batch_execute(&sql).unwrap();
    client.batch_execute(EXACT_AVG).unwrap();
    for table in &case.tables {
        let copy = format!("COPY all_{} FROM STDIN (FORMAT csv)", table.name);
        let mut writer = client.copy_in(&copy).unwrap();
        for (file, lines) in table.files.iter().enumerate() {
            for line in lines {
                writeln!(writer, "{},{file},{}", line.text, line.end).unwrap();
            }
        }
        writer.finish().unwrap();
    }
}

/// Up to where each partition was read, by its name.
type Positions = BTreeMap<String, u64>;

/// What the mark says, if there is one.
fn mark(folder: &Path) -> Option<Positions> {
    let file = folder.join("out.db");
    let database = rusqlite::Connection::open(file).ok()?;
    let sql = "SELECT mark FROM tidemark_marks WHERE mark IS NOT NULL";
    let mark: String = database.query_row(sql, [], |row| row.get(0)).ok()?;
    let mark: serde_json::Value = serde_json::from_str(&mark).unwrap();
    let mut positions = Positions::new();
    for source in mark["sources"].as_object().unwrap().values() {
        for (name, partition) in source["partitions"].as_object().unwrap() {
            positions.insert(name.clone(), partition["offset"].as_u64().unwrap());
        }
    }
    Some(positions)
}

/// Rows as text, in the order of all columns.
type Rows = Vec<Vec<Option<String>>>;

/// PostgreSQL's answer over all rows, or those before some positions.
fn theirs(client: &mut Client, case: &Case, read: Option<&Positions>) -> Rows {
    let mut sql = String::new();
    for table in &case.tables {
        let name = table.name;
        let _ = write!(
            sql,
            "CREATE OR REPLACE TEMP VIEW {name} AS SELECT * FROM all_{name} WHERE false"
        );
        for file in 0..table.files.len() {
            let end = match read {
                None => i64::MAX.unsigned_abs(),
                Some(read) => read
                    .get(&format!("{name}/{file}.csv"))
                    .copied()
                    .unwrap_or(0),
            };
            let _ = write!(sql, " OR (file = {file} AND ends <= {end})");
        }
        sql.push_str(";\n");
    }
    let _ = write!(
        sql,
        "DROP TABLE IF EXISTS result; CREATE TEMP TABLE result ({}); \
         INSERT INTO result {}; SELECT * FROM result;",
        case.sink.declared().join(", "),
        theirs_of(&case.sink.select).replace("avg(", "pg_temp.exact_avg(")
    );
    let answered = client
        .simple_query(&sql)
        .unwrap_or_else(|e| panic!("PostgreSQL refuses {sql}: {e:?}"));
    let row = |message: SimpleQueryMessage| {
        let SimpleQueryMessage::Row(row) = message else {
            return None;
        };
        let text = |column: usize| {
            let text: Option<&str> = row.get(column);
            text.map(|text| match (case.sink.columns[column].kind, text) {
                (Kind::Boolean, "t") => "1".to_owned(),
                (Kind::Boolean, _) => "0".to_owned(),
                _ => text.to_owned(),
            })
        };
        Some((0..row.len()).map(text).collect())
    };
    sorted(answered.into_iter().filter_map(row).collect())
}

/// The table as it is.
fn ours(folder: &Path) -> Rows {
    let text = |value: Value| match value {
        Value::Null => None,
        Value::Integer(number) => Some(number.to_string()),
        Value::Real(number) => Some(number.to_string()),
        Value::Text(text) => Some(text),
        Value::Blob(_) => unreachable!("no column is one"),
    };
    let table = tables(&folder.join("out.db")).remove(0);
    let rows = table.rows.into_iter();
    sorted(
        rows.map(|row| row.into_iter().map(text).collect())
            .collect(),
    )
}

fn sorted(mut rows: Rows) -> Rows {
    rows.sort();
    rows
}

/// The rows that only one of both has.
fn same(ours: &Rows, theirs: &Rows) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    let mut counts: BTreeMap<&Vec<Option<String>>, i64> = BTreeMap::new();
    for row in ours {
        *counts.entry(row).or_default() += 1;
    }
    for row in theirs {
        *counts.entry(row).or_default() -= 1;
    }
    let mut text = format!("we have {} rows, PostgreSQL {}", ours.len(), theirs.len());
    let differ = counts.iter().filter(|(_, count)| **count != 0);
    for (row, count) in differ.take(6) {
        let who = if *count > 0 {
            "only we"
        } else {
            "only PostgreSQL"
        };
        let values: Vec<&str> = row.iter().map(|v| v.as_deref().unwrap_or("NULL")).collect();
        let _ = write!(text, "\n   {who} ({}): {}", count.abs(), values.join(" | "));
    }
    Err(text)
}
