//! `demo`: a bundled pipeline, made-up rows into SQLite, its tables moving in the terminal.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::{DemoArgs, FAILED, run, say};
use crate::connector::sqlite_answer;
use crate::dataflow::outcome::Shared;
use crate::dataflow::source::AtEnd;
use crate::engine::{Replay, RunOptions, spawn_named};
use crate::sql::{Given, SourceText};

const PIPELINE: &str = include_str!("../../dataflows/demo.sql");
/// How often the tables are drawn.
const FRAME: Duration = Duration::from_millis(250);

const MINUTES: &str = "SELECT minute, borough, trips, revenue, dearest FROM trips_by_minute
    ORDER BY minute DESC, trips DESC LIMIT 10";
const TOTALS: &str =
    "SELECT borough, trips, revenue, mean_fare FROM trips_by_borough ORDER BY trips DESC";
const LETTERS: &str = "SELECT kind, reason, count(*) AS records FROM trips_dead GROUP BY 1, 2";

/// Runs the bundled pipeline and shows its tables.
pub fn demo(arguments: &DemoArgs) -> u8 {
    let folder = &arguments.folder;
    let file = folder.join("demo.sql");
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, PIPELINE));
    if let Err(error) = written {
        let folder = folder.display();
        say::err(&format!(
            "error: could not write to `{folder}`\n  cause: {error}\n"
        ));
        return FAILED;
    }
    let database = folder.join("demo.db");
    match show(arguments, &database) {
        Ok(()) => {
            say::out(&next_steps(&file, &database));
            0
        }
        Err(code) => code,
    }
}

fn show(arguments: &DemoArgs, database: &Path) -> Result<(), u8> {
    let pipeline = Arc::new(plan(arguments, database));
    let options = RunOptions {
        threads: None,
        base: PathBuf::new(),
        pace: None,
        crash_at: None,
        until_caught_up: false,
        at_end: AtEnd::Close,
        state: None,
        several_machines: false,
        // Every demo starts from nothing.
        fresh: true,
        replay: Replay::default(),
    };
    let shared = Arc::new(Shared::default());
    run::stop_on_signals(&shared);
    let (send, done) = sync_channel(1);
    let running = Arc::clone(&pipeline);
    let thread = spawn_named("demo", move || {
        let outcome = crate::engine::run(&running, &options, &shared);
        // The receiver waits for exactly this.
        let _ = send.send((outcome, shared.is_stopping()));
    });
    let (outcome, stopped) = watch(&done, database);
    if thread.join().is_err() {
        return Err(FAILED);
    }
    match outcome {
        Ok(summary) => {
            say::out(&format!(
                "{}\n",
                run::summary_text(&pipeline, &summary, stopped)
            ));
            Ok(())
        }
        Err(failure) => {
            say::failure(&failure);
            Err(FAILED)
        }
    }
}

/// Draws until the run is done; on a terminal in place, elsewhere once, at the end.
fn watch<T>(done: &Receiver<T>, database: &Path) -> T {
    let live = std::io::stdout().is_terminal();
    let mut lines = 0;
    loop {
        match done.recv_timeout(FRAME) {
            Ok(outcome) => {
                draw(database, lines);
                return outcome;
            }
            Err(RecvTimeoutError::Disconnected) => panic!("the run ended without a word"),
            Err(RecvTimeoutError::Timeout) if live => lines = draw(database, lines),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Draws the tables over the `above` lines drawn before. Returns how many lines it drew.
fn draw(database: &Path, above: usize) -> usize {
    let mut text = String::new();
    let tables = [
        ("trips by minute (the newest)", MINUTES),
        ("trips by borough, so far", TOTALS),
        ("dead letters", LETTERS),
    ];
    for (title, query) in tables {
        // The file and its tables appear a moment after the start.
        let Ok(answer) = sqlite_answer(database, query) else {
            return above;
        };
        text.push_str(&format!("\n{title}\n"));
        text.push_str(&say::table(&answer.columns, &answer.rows));
    }
    let back = if above > 0 {
        format!("\x1b[{above}A\x1b[J")
    } else {
        String::new()
    };
    say::out(&format!("{back}{text}\n"));
    text.lines().count() + 1
}

fn plan(arguments: &DemoArgs, database: &Path) -> crate::plan::Pipeline {
    let variables = BTreeMap::from([
        ("DEMO_ROWS".to_owned(), arguments.rows.to_string()),
        ("DEMO_RATE".to_owned(), arguments.rate.to_string()),
        ("DEMO_DB".to_owned(), database.display().to_string()),
    ]);
    let given = Given {
        variables,
        settings: Vec::new(),
        pipeline_name: "demo".to_owned(),
        only: Vec::new(),
    };
    let source = SourceText {
        path: "demo.sql",
        text: PIPELINE,
    };
    crate::sql::plan(&source, &given).expect("the bundled pipeline is right: a test runs it")
}

fn next_steps(file: &Path, database: &Path) -> String {
    let (file, database) = (file.display(), database.display());
    format!(
        "The pipeline is {file}, the tables are in {database}. Try:\n\n  \
         sqlite3 {database} 'SELECT * FROM trips_by_borough'\n  \
         tidemark explain {file}       the plan, and what holds state\n  \
         tidemark init my.sql          a commented starter of your own\n  \
         tidemark infer some.csv       a CREATE TABLE for a file that you have\n"
    )
}
