//! Random queries over queries of which one table is read again: its contents are others in every run,
//! and some runs are killed. After each the tables are PostgreSQL's answer for the contents at the time.
//!
//! `RELOADED_CASES` says how many cases, `RELOADED_SEED` where they begin.

use std::path::Path;

use postgres::Client;

use super::data::{COLUMNS, Line, line};
use super::{Case, Outcome, load, number, ours, over_seeds, same, theirs};
use crate::oracle::random::Random;
use crate::support::{Exit, tidemark};

/// The table that is read again.
const NAME: &str = "c";

/// How many queries are drawn at most until one reads the table and is no query of windows.
const DRAWS: u64 = 100;

#[test]
fn queries_over_a_table_that_is_read_again_are_those_of_its_last_contents() {
    let test = "the oracle of tables that are read again";
    let seeds = (number("RELOADED_SEED", 1), number("RELOADED_CASES", 60));

    let Some((failures, _)) = over_seeds(test, seeds, try_case) else {
        return;
    };

    let (count, failed) = (seeds.1, failures.len());
    assert!(
        failures.is_empty(),
        "{failed} of {count} cases failed:\n\n{}",
        failures.join("\n\n")
    );
}

fn try_case(client: &mut Client, seed: u64) -> Outcome {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("reloaded-{seed}"));
    let mut random = Random::new(seed);
    let Some(case) = (0..DRAWS).find_map(|draw| draw_case(&folder, seed * DRAWS + draw)) else {
        panic!("no query of {DRAWS} after seed {seed} reads `{NAME}`");
    };
    match play(client, case, &mut random, &folder) {
        Ok(()) => {
            std::fs::remove_dir_all(&folder).expect("the case made its folder");
            Outcome::Same
        }
        Err(problem) => Outcome::Different(format!(
            "seed {seed} (again: RELOADED_SEED={seed} RELOADED_CASES=1; its files: {}):\n   {problem}",
            folder.display()
        )),
    }
}

/// A case that reads the table, and that `check` lets pass.
fn draw_case(folder: &Path, seed: u64) -> Option<Case> {
    let case = Case::random(seed);
    if !case.sink.select.contains(&format!("FROM {NAME} ")) {
        return None;
    }
    // A query before it may have left more files.
    let _ = std::fs::remove_dir_all(folder);
    case.write(folder);
    std::fs::write(folder.join("case.sql"), sql(&case)).unwrap();
    std::fs::write(folder.join("c.csv"), "").unwrap();
    let checked = tidemark(folder, &["check", "case.sql"], &[]);
    (checked.how == Exit::Code(0)).then_some(case)
}

/// The pipeline, with the table as one that is read again.
fn sql(case: &Case) -> String {
    let table = case.tables.iter().find(|table| table.name == NAME);
    let reloaded = format!(
        "CREATE TABLE {NAME} ({COLUMNS}, PRIMARY KEY (seq))\n  WITH (connector = 'file', path = \
         'c.csv', format = 'csv', 'csv.header' = 'false', 'reload.interval' = '1s');\n"
    );
    case.sql().replace(&table.unwrap().create(), &reloaded)
}

/// Other contents in every run, most of them as before.
fn contents(random: &mut Random, rows: &mut [Option<String>]) -> Vec<Line> {
    for (seq, row) in rows.iter_mut().enumerate() {
        let seq = i64::try_from(seq).unwrap();
        match random.below(10) {
            0..=2 => *row = Some(line(random, 5, seq)),
            3 => *row = None,
            _ => {}
        }
    }
    // No reader asks where its lines end.
    let line = |text: &String| Line {
        text: text.clone(),
        end: 0,
    };
    rows.iter().flatten().map(line).collect()
}

fn play(
    client: &mut Client,
    mut case: Case,
    random: &mut Random,
    folder: &Path,
) -> Result<(), String> {
    let count = *random.pick(&[1, 5, 20, 40]);
    let mut rows = vec![None; count];
    for run in 0..random.between(2, 5) {
        let lines = contents(random, &mut rows);
        let text: String = lines
            .iter()
            .map(|line| format!("{}\n", line.text))
            .collect();
        std::fs::write(folder.join("c.csv"), text).unwrap();
        let table = case.tables.iter_mut().find(|table| table.name == NAME);
        table.unwrap().files = vec![lines];

        let crash = random.chance(50).then(|| random.between(1, 15).to_string());
        let (threads, pace) = (
            random.between(1, 5).to_string(),
            random.between(0, 1000).to_string(),
        );
        let mut variables = vec![("TIDEMARK_TEST_BLOCK", "500")];
        if random.chance(50) {
            variables.push(("TIDEMARK_TEST_PACE", &pace));
        }
        variables.extend(crash.as_deref().map(|step| ("TIDEMARK_CRASH_AT", step)));
        let snapshots = *random.pick(&["snapshot.interval=1ms", "snapshot.interval=10s"]);
        let options = [
            "run",
            "case.sql",
            "--quiet",
            "--until-caught-up",
            "--close-windows",
        ];
        let options = [&options[..], &["--threads", &threads, "--set", snapshots]].concat();
        let mut ended = tidemark(folder, &options, &variables);
        if ended.how == Exit::Aborted && random.chance(50) {
            // The next run finds other contents yet.
            continue;
        }
        if ended.how == Exit::Aborted {
            ended = tidemark(folder, &options, &[]);
        }
        if ended.how != Exit::Code(0) {
            return Err(format!(
                "run {run}: {:?}: {}\n{}",
                ended.how,
                ended.stderr,
                sql(&case)
            ));
        }
        load(client, &case);
        let answer = theirs(client, &case, None);
        same(&ours(folder), &answer).map_err(|e| format!("run {run}: {e}\n{}", sql(&case)))?;
    }
    Ok(())
}
