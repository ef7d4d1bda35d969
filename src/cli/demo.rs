//! `demo`: a bundled pipeline, made-up rows through Kafka into tables that move in the terminal.
//!
//! ```text
//!   generator ──▶ produce ──▶ topic, 10 partitions ──▶ the pipeline ──▶ SQLite or PostgreSQL
//!                             a broker in this process, or a real one
//! ```
//!
//! Without --kafka nothing of it is meant to survive: the broker ends with the process.

use std::collections::BTreeMap;
use std::io::{ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::{DemoArgs, FAILED, WRONG, produce, run, say};
use crate::connector::{
    Answer, ConnectorError, EmbeddedBroker, ProduceInput, ProduceJob, ProduceProgress,
    make_topic_of, postgres_answer, produce as send_all, reach_postgres, sqlite_answer,
};
use crate::dataflow::outcome::{Failure, Shared};
use crate::engine::{RunOptions, Summary, spawn_named};
use crate::plan::{Pipeline, Role, Table};
use crate::sql::{Given, SourceText};

const PIPELINE: &str = include_str!("../../dataflows/demo.sql");
/// Where the pipeline keeps its tables, and what stands there for PostgreSQL.
const SQLITE: &str = "connector = 'sqlite', path = '${DEMO_DB:-demo.db}'";
const POSTGRES: &str = "connector = 'postgres', url = '${DATABASE_URL}'";
/// Whose tables and state are the demo's: not those of a pipeline file that somebody called `demo`.
const NAME: &str = "tidemark-demo";
/// The partitions of its topic.
const PARTITIONS: u16 = 10;
/// How often the tables are drawn.
const FRAME: Duration = Duration::from_millis(250);

const MINUTES: &str = "SELECT minute, borough, trips, revenue, dearest FROM trips_by_minute
    ORDER BY minute DESC, trips DESC LIMIT 10";
const TOTALS: &str =
    "SELECT borough, trips, revenue, mean_fare FROM trips_by_borough ORDER BY trips DESC";
const LETTERS: &str = "SELECT kind, reason, count(*) AS records FROM trips_dead GROUP BY 1, 2";

/// Runs the bundled pipeline and shows its tables.
pub fn demo(arguments: &DemoArgs) -> u8 {
    let said = |error: &ConnectorError| {
        say::err(&format!("error: {error}\n"));
        FAILED
    };
    let topic = format!("tidemark-demo-{}", arguments.rows);
    // A broker that is not there lives until the end of the demo.
    let embedded = match &arguments.kafka {
        Some(_) => None,
        None => match EmbeddedBroker::start(&topic, PARTITIONS) {
            Ok(broker) => Some(broker),
            Err(error) => return said(&error),
        },
    };
    let servers = arguments.kafka.clone();
    let servers = servers.or_else(|| embedded.as_ref().map(EmbeddedBroker::servers));
    let show = match Show::new(arguments, servers.unwrap_or_default(), topic) {
        Ok(show) => show,
        Err(code) => return code,
    };
    // A run would wait for it.
    if let Database::Postgres(url) = &show.database
        && let Err(error) = reach_postgres(url)
    {
        produce::refuse(&error);
        return WRONG;
    }
    let job = show.job();
    // The pipeline looks for the topic at its start.
    if let Err(error) = make_topic_of(&job) {
        return said(&error);
    }
    let (outcome, stopped) = show.run(job);
    match outcome {
        Ok(summary) => {
            let summary = run::summary_text(&show.pipeline, &summary, stopped);
            say::out(&format!(
                "{summary}\n{}",
                show.next_steps(embedded.is_some())
            ));
            0
        }
        Err(failure) => {
            say::failure(&failure);
            FAILED
        }
    }
}

/// Where the tables are.
enum Database {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Database {
    fn ask(&self, query: &str) -> Result<Answer, ConnectorError> {
        match self {
            Self::Sqlite(path) => sqlite_answer(path, query),
            Self::Postgres(url) => postgres_answer(url, query),
        }
    }
}

/// A demo that is ready to run.
struct Show {
    /// The pipeline as it was written.
    file: PathBuf,
    servers: String,
    topic: String,
    rows: u64,
    folder: PathBuf,
    database: Database,
    pipeline: Arc<Pipeline>,
}

/// What ends a demo: the pipeline's end, and whether somebody wanted it.
type End = (Result<Summary, Failure>, bool);

impl Show {
    /// Writes the pipeline to where people find it.
    fn new(arguments: &DemoArgs, servers: String, topic: String) -> Result<Self, u8> {
        let folder = arguments.folder.clone().unwrap_or_else(|| {
            std::env::temp_dir().join(format!("tidemark-demo-{}", std::process::id()))
        });
        let (text, database) = match &arguments.postgres {
            None => (
                PIPELINE.to_owned(),
                Database::Sqlite(folder.join("demo.db")),
            ),
            Some(url) => (
                PIPELINE.replace(SQLITE, POSTGRES),
                Database::Postgres(url.clone()),
            ),
        };
        let file = folder.join("demo.sql");
        write(&folder, &file, &text)?;
        let mut variables = BTreeMap::from([
            ("DEMO_ROWS".to_owned(), arguments.rows.to_string()),
            ("DEMO_RATE".to_owned(), arguments.rate.to_string()),
            ("DEMO_TOPIC".to_owned(), topic.clone()),
            ("KAFKA".to_owned(), servers.clone()),
        ]);
        match &database {
            Database::Sqlite(path) => {
                variables.insert("DEMO_DB".to_owned(), path.display().to_string());
            }
            Database::Postgres(url) => {
                variables.insert("DATABASE_URL".to_owned(), url.clone());
            }
        }
        Ok(Self {
            pipeline: Arc::new(plan(&text, variables)),
            file,
            servers,
            topic,
            rows: arguments.rows,
            folder,
            database,
        })
    }

    /// Sends and reads until all that was made up has been read.
    fn run(&self, job: ProduceJob) -> End {
        let shared = Arc::new(Shared::default());
        run::stop_on_signals(&shared);
        let (ended, end) = sync_channel(1);
        let reading = self.read(&shared, ended);
        let progress = Arc::new(ProduceProgress::default());
        let sending = send(job, &shared, &progress);
        let outcome = self.watch(&end, &shared);
        // However it ended: nobody reads what would still be sent.
        progress.enough.store(true, Ordering::Relaxed);
        for thread in [reading, sending] {
            // A panic ends the process before this.
            let _ = thread.join();
        }
        outcome
    }

    fn read(&self, shared: &Arc<Shared>, ended: SyncSender<End>) -> std::thread::JoinHandle<()> {
        let options = RunOptions {
            state: Some(self.folder.join("state")),
            // Every demo starts from nothing.
            fresh: true,
            ..RunOptions::default()
        };
        let (pipeline, shared) = (Arc::clone(&self.pipeline), Arc::clone(shared));
        spawn_named("demo", move || {
            let outcome = crate::engine::run(&pipeline, &options, &shared);
            // The receiver waits for exactly this.
            let _ = ended.send((outcome, shared.is_stopping()));
        })
    }

    /// What is sent to the topic.
    fn job(&self) -> ProduceJob {
        let made_up = self.table("made_up").clone();
        let admission = crate::engine::admission(&made_up);
        let made_up = Table {
            role: Role::Source,
            ..made_up
        };
        ProduceJob {
            servers: self.servers.clone(),
            options: Vec::new(),
            topic: self.topic.clone(),
            job: "demo".to_owned(),
            fresh: false,
            producers: 1,
            partitions: Some(u32::from(PARTITIONS)),
            replication: None,
            compression: "lz4".to_owned(),
            rate: None,
            key: Some("trip_id".to_owned()),
            objects: true,
            input: ProduceInput::Table(Box::new(made_up), admission),
            lasts: false,
        }
    }

    fn table(&self, name: &str) -> &Table {
        let mut tables = self.pipeline.tables.iter();
        tables
            .find(|table| table.name == name)
            .expect("the bundled pipeline declares it")
    }

    /// Draws until the run is done; on a terminal in place, elsewhere once, at the end. A topic has
    /// no end: when all that was made up is read, the run is stopped.
    fn watch(&self, end: &Receiver<End>, shared: &Shared) -> End {
        let live = std::io::stdout().is_terminal();
        let (mut lines, mut told) = (0, false);
        loop {
            match end.recv_timeout(FRAME) {
                Ok((outcome, stopped)) => {
                    self.draw(lines);
                    return (outcome, stopped && !told);
                }
                Err(RecvTimeoutError::Disconnected) => panic!("the run ended without a word"),
                Err(RecvTimeoutError::Timeout) if live => lines = self.draw(lines),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let read: u64 = shared.progress().values().map(|of| of.records).sum();
            if !told && read >= self.rows && !shared.is_stopping() {
                told = true;
                shared.stop();
            }
        }
    }

    /// Draws the tables over the `above` lines drawn before. Returns how many lines it drew.
    fn draw(&self, above: usize) -> usize {
        let mut text = String::new();
        let tables = [
            ("trips by minute (the newest)", MINUTES),
            ("trips by borough, so far", TOTALS),
            ("dead letters", LETTERS),
        ];
        for (title, query) in tables {
            // The file and its tables appear a moment after the start.
            let Ok(answer) = self.database.ask(query) else {
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

    fn next_steps(&self, embedded: bool) -> String {
        let file = self.file.display();
        let ask = match &self.database {
            Database::Sqlite(path) => format!("sqlite3 {}", path.display()),
            Database::Postgres(_) => "psql $DATABASE_URL -c".to_owned(),
        };
        let broker = if embedded {
            "The broker was in this process and has ended with it; --kafka and --postgres show the \
             same with\nreal servers. "
        } else {
            ""
        };
        format!(
            "{broker}The pipeline is {file}. Try:\n\n  \
             {ask} 'SELECT * FROM trips_by_borough'\n  \
             tidemark explain {file}       the plan, and what holds state\n  \
             tidemark init my.sql          a commented starter of your own\n  \
             tidemark infer some.csv       a CREATE TABLE for a file that you have\n"
        )
    }
}

/// Writes the pipeline. A file that is there is written over only if a demo wrote it.
fn write(folder: &Path, file: &Path, text: &str) -> Result<(), u8> {
    let ours = [PIPELINE.to_owned(), PIPELINE.replace(SQLITE, POSTGRES)];
    let is_ours = |found: &[u8]| ours.iter().any(|text| text.as_bytes() == found);
    let written = match std::fs::read(file) {
        Ok(found) if !is_ours(&found) => {
            let file = file.display();
            say::err(&format!(
                "error: `{file}` is there already, and is not as a demo writes it\n  hint:  name \
                 another --folder\n"
            ));
            return Err(WRONG);
        }
        Ok(_) => std::fs::write(file, text),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(folder).and_then(|()| std::fs::write(file, text))
        }
        Err(error) => Err(error),
    };
    written.map_err(|error| {
        let folder = folder.display();
        say::err(&format!(
            "error: could not write to `{folder}`\n  cause: {error}\n"
        ));
        FAILED
    })
}

/// Makes trips up, and sends them.
fn send(
    job: ProduceJob,
    shared: &Arc<Shared>,
    progress: &Arc<ProduceProgress>,
) -> std::thread::JoinHandle<()> {
    let (shared, progress) = (Arc::clone(shared), Arc::clone(progress));
    spawn_named("sender", move || {
        if let Err(error) = send_all(&job, &progress) {
            shared.fail(Failure::new("could not make up trips").because(error));
            shared.stop();
        }
    })
}

fn plan(text: &str, variables: BTreeMap<String, String>) -> Pipeline {
    let given = Given {
        variables,
        settings: Vec::new(),
        pipeline_name: NAME.to_owned(),
        only: Vec::new(),
    };
    let source = SourceText {
        path: "demo.sql",
        text,
    };
    crate::sql::plan(&source, &given).expect("the bundled pipeline is right: a test runs it")
}
