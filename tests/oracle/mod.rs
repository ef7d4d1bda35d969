//! The oracle: random cases, of which PostgreSQL knows the answer.
//!
//! ```text
//!   seed ──▶ case: files, pipeline, ways to run it
//!              ├──▶ tidemark run: 1 to 4 threads, epochs cut at random, killed and resumed ──▶ tables
//!              └──▶ model: who is rejected, late, filtered, in ──▶ one query in PostgreSQL ──▶ tables
//! ```
//!
//! Where PostgreSQL says that an expression fails on a row of the result, every run must fail, and
//! where it does not, none may: also not on a row that was there for a moment.
//!
//! The runs of a case must agree with each other in every bit, with PostgreSQL exactly (floats
//! within 1e-12), and their accounting with the model's, record by record.
//!
//! `ORACLE_CASES` says how many cases, `ORACLE_SEED` where they begin. A case that fails leaves
//! its folder behind; `ORACLE_SEED=n ORACLE_CASES=1` runs it again.

mod case;
mod compare;
mod data;
mod model;
mod outer;
mod query;
pub mod random;
mod reference;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use postgres::Client;

use self::case::{Case, Run, columns};
use self::model::{Fate, judge};
use self::reference::{Fails, Rows};
use crate::services;
use crate::support::{Contents, Exit, InsertSummary, Summary, tables, tidemark};

#[test]
fn every_run_ends_with_the_tables_that_postgres_computes() {
    let test = "the oracle";
    let first: u64 = number("ORACLE_SEED", 1);
    let count: u64 = number("ORACLE_CASES", 200);
    let Some(client) = services::postgres(test) else {
        return;
    };
    drop(client);
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = services::postgres(test).unwrap();
                    let mut failures = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + count {
                            return failures;
                        }
                        failures.extend(try_case(&mut client, seed));
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a case reports what is wrong"))
            .collect()
    });

    assert!(
        failures.is_empty(),
        "{} of {count} cases failed:\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

/// The pipeline file of a case, as one that is right.
pub fn pipeline(seed: u64) -> String {
    Case::random(seed).sql()
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|e| panic!("{name}={text}: {e}")),
        Err(_) => default,
    }
}

/// What is wrong with a case, if anything.
fn try_case(client: &mut Client, seed: u64) -> Option<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("oracle-{seed}"));
    let _ = std::fs::remove_dir_all(&folder);
    let case = Case::random(seed);
    match check(client, &case, &folder) {
        Ok(()) => {
            std::fs::remove_dir_all(&folder).expect("the case made its folder");
            None
        }
        Err(problem) => Some(format!(
            "seed {seed} (again: ORACLE_SEED={seed} ORACLE_CASES=1; its files: {}):\n   {problem}",
            folder.display()
        )),
    }
}

fn check(client: &mut Client, case: &Case, folder: &Path) -> Result<(), String> {
    let answers = case.queries.iter().map(|query| {
        let judged = judge(case, query);
        reference::answer(client, case, query, &judged.accepted)
    });
    let answers: Result<Vec<Rows>, Fails> = answers.collect();
    let expected = match answers {
        Ok(_) if uses_nothing(&accounts(case)) => End::UsesNothing,
        Ok(_) => End::Well,
        Err(Fails) => End::Fails,
    };
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (index, run) in case.runs.iter().enumerate() {
        let folder = folder.join(format!("run-{index}"));
        case.write(&folder);
        let outcome = play(case, run, &folder, expected);
        outcomes.extend(outcome.map_err(|e| format!("run {index}, {run:?}: {e}"))?);
    }
    let Ok(answers) = answers else {
        // All of them failed, however they were cut: that is the result.
        return Ok(());
    };
    let reference = &outcomes[0];
    for ((query, ours), theirs) in case.queries.iter().zip(&reference.tables).zip(answers) {
        let ours = compare::as_text(ours);
        compare::difference(&columns(query, case.time_type()), ours, theirs)
            .map_err(|e| format!("run 0, table {}: {e}", query.name))?;
    }
    let expected = accounts(case);
    for (index, outcome) in outcomes.iter().enumerate() {
        same_accounts(&expected, &outcome.accounts).map_err(|e| format!("run {index}: {e}"))?;
        for (ours, first) in outcome.tables.iter().zip(&reference.tables) {
            same_bits(first, ours)
                .map_err(|e| format!("run {index}, {:?}, and run 0: {e}", case.runs[index]))?;
        }
    }
    Ok(())
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Well,
    /// Every record was rejected for every query.
    UsesNothing,
    Fails,
}

impl End {
    fn exit(self) -> Exit {
        match self {
            Self::Well => Exit::Code(0),
            Self::UsesNothing | Self::Fails => Exit::Code(1),
        }
    }

    /// What the error begins with.
    fn says(self) -> &'static str {
        match self {
            Self::Well => "",
            Self::UsesNothing => "error: nothing of",
            Self::Fails => "error: cannot compute",
        }
    }
}

fn uses_nothing(accounts: &[InsertSummary]) -> bool {
    accounts.iter().any(|account| account.read > 0)
        && accounts
            .iter()
            .all(|account| account.rejected == account.read)
}

/// What a run left.
struct Outcome {
    /// By query.
    tables: Vec<Contents>,
    accounts: Vec<InsertSummary>,
}

/// Runs a case one way, through all its crashes, to the end that is expected: with its tables,
/// or with an error and nothing to look at.
fn play(case: &Case, run: &Run, folder: &Path, end: End) -> Result<Option<Outcome>, String> {
    let threads = run.threads.to_string();
    let options = [
        "run",
        "case.sql",
        "--quiet",
        "--summary",
        "summary.json",
        "--threads",
        &threads,
    ];
    let mut variables: Vec<(&str, String)> = Vec::new();
    if let Some(pace) = run.pace {
        variables.push(("TIDEMARK_TEST_PACE", pace.to_string()));
    }
    if let Some(block) = run.block {
        variables.push(("TIDEMARK_TEST_BLOCK", block.to_string()));
    }
    let start = |crash: Option<i64>| {
        let mut variables = variables.clone();
        if let Some(commit) = crash {
            variables.push(("TIDEMARK_CRASH_AT", commit.to_string()));
        }
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
        tidemark(folder, &options, &variables)
    };
    for crash in &run.crashes {
        let ended = start(Some(*crash));
        // It may come to its end with fewer commits than that.
        if ended.how != Exit::Aborted && ended.how != end.exit() {
            return Err(format!(
                "{:?} when killed at commit {crash}: {}",
                ended.how, ended.stderr
            ));
        }
    }
    let ended = start(None);
    if ended.how != end.exit() || !ended.stderr.starts_with(end.says()) {
        return Err(format!("{:?} and not {end:?}: {}", ended.how, ended.stderr));
    }
    if end == End::Fails {
        return Ok(None);
    }
    let table = |name: &str| {
        let file: PathBuf = folder.join(format!("{name}.db"));
        let found = tables(&file).into_iter().find(|table| table.name == name);
        found.ok_or_else(|| format!("there is no table {name} in {}", file.display()))
    };
    Ok(Some(Outcome {
        tables: case
            .queries
            .iter()
            .map(|query| table(&query.name))
            .collect::<Result<_, _>>()?,
        accounts: Summary::read(&folder.join("summary.json")).inserts,
    }))
}

/// What the model says became of the records.
fn accounts(case: &Case) -> Vec<InsertSummary> {
    let mut accounts = Vec::new();
    for query in &case.queries {
        for (source, fates) in judge(case, query).fates {
            let count = |fate| fates.get(&fate).copied().unwrap_or(0);
            accounts.push(InsertSummary {
                table: query.name.clone(),
                source,
                read: fates.values().sum(),
                accepted: count(Fate::In),
                filtered: count(Fate::Filtered),
                late: count(Fate::Late),
                rejected: count(Fate::Rejected),
            });
        }
    }
    accounts
}

fn same_accounts(model: &[InsertSummary], ours: &[InsertSummary]) -> Result<(), String> {
    for expected in model {
        let found = ours
            .iter()
            .find(|insert| insert.table == expected.table && insert.source == expected.source);
        if found != Some(expected) {
            return Err(format!(
                "accounting: we say {found:?}\n   the model {expected:?}"
            ));
        }
    }
    if ours.len() == model.len() {
        return Ok(());
    }
    Err(format!(
        "accounting: {} entries, the model has {}",
        ours.len(),
        model.len()
    ))
}

fn same_bits(first: &Contents, other: &Contents) -> Result<(), String> {
    // As text, in which -0.0 is not 0.0.
    let text = |table: &Contents| -> Vec<String> {
        table.rows.iter().map(|row| format!("{row:?}")).collect()
    };
    let (first_rows, other_rows) = (text(first), text(other));
    if first_rows == other_rows {
        return Ok(());
    }
    let differ = first_rows.iter().zip(&other_rows).find(|(a, b)| a != b);
    Err(format!(
        "table {}: {} rows and {} rows; the first difference: {differ:#?}",
        first.name,
        first_rows.len(),
        other_rows.len()
    ))
}
