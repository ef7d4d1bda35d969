//! The command line: one file per command, one place where text meets a person.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done,
//! 1 it failed while running, 2 the file or the command line is wrong, 75 one of several processes
//! lost another, 101 a thread panicked.

mod bench;
mod check;
mod cluster;
mod dead_letters;
mod demo;
mod eyes;
mod file;
mod hosts;
mod init;
mod produce;
mod progress;
mod replay;
mod run;
mod say;
mod signals;
mod snapshots;
mod supervise;
mod unused;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::dataflow::outcome::Failure;
use crate::engine::{say_objects, says_objects};

/// It failed while running.
const FAILED: u8 = 1;
/// The file or the command line is wrong.
const WRONG: u8 = 2;

/// Keeps tables up to date from streams, exactly once. A pipeline is one SQL file.
#[derive(Debug, Parser)]
#[command(name = "tidemark", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a pipeline until its input ends
    Run(Box<RunArgs>),
    /// Run a pipeline over files in the place of its topics, then on with them
    Replay(Box<ReplayArgs>),
    /// Say what is wrong with a pipeline, without running it
    Check(CheckArgs),
    /// Print the plan of a pipeline
    Explain(FileArgs),
    /// Say what a pipeline is doing and what each of its tables waits for
    Why(WhyArgs),
    /// List the snapshots of a pipeline's state
    Snapshots(SnapshotsArgs),
    /// List the connectors, formats and their options
    List,
    /// Run a bundled pipeline with nothing installed and watch its tables move
    Demo(DemoArgs),
    /// Write a commented starter pipeline
    Init(InitArgs),
    /// Print a CREATE TABLE for a CSV, JSON or Parquet file
    Infer(InferArgs),
    /// Send files, or rows that are made up, to a Kafka topic; goes on where it stopped
    Produce(Box<ProduceArgs>),
    /// Measure how fast this machine runs pipelines
    Bench(bench::BenchArgs),
    /// Count and list late and rejected records, or send them again
    DeadLetters(Box<dead_letters::DeadLettersArgs>),
}

/// A pipeline file and what it is read with.
#[derive(Debug, Args)]
struct FileArgs {
    /// The pipeline
    file: PathBuf,
    /// Override a SET of the file
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Only the INSERTs into these tables, as a pipeline of their own
    #[arg(long, value_name = "TABLE,..", value_delimiter = ',')]
    only: Vec<String>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Look whether snapshots can be kept there: a folder or s3://bucket/prefix
    #[arg(long, value_name = "DIR", value_parser = place_of_state)]
    state: Option<PathBuf>,
}

/// A folder, or a bucket.
fn place_of_state(text: &str) -> Result<PathBuf, String> {
    crate::durability::check_place(text)?;
    Ok(PathBuf::from(text))
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Worker threads [default: as many as partitions or cores, whichever is fewer]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Stop at the end of the input but leave event time open: windows that are not complete wait
    /// for the next run
    #[arg(long)]
    until_caught_up: bool,
    /// Close every window when all is read: event time has ended then, for good
    #[arg(long, requires = "until_caught_up")]
    close_windows: bool,
    /// Where snapshots are kept, a folder per pipeline: a folder or s3://bucket/prefix [default:
    /// .tidemark]. With --hosts a folder must be on a volume that all machines share, and without
    /// --state there are no snapshots
    #[arg(long, value_name = "DIR", value_parser = place_of_state)]
    state: Option<PathBuf>,
    /// Empty this pipeline's tables and start over; asks first
    #[arg(long)]
    fresh: bool,
    /// Do not ask
    #[arg(long, requires = "fresh")]
    yes: bool,
    /// Say nothing but errors
    #[arg(long, short)]
    quiet: bool,
    /// How to log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: LogFormat,
    /// Serve the page, /metrics, /healthz and /readyz on this port; 0 picks a free one
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
    /// The address to serve them on; nobody is asked for a password
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1",
        requires = "metrics_port"
    )]
    metrics_bind: std::net::IpAddr,
    /// Write the summary of the run as JSON to this file
    #[arg(long, value_name = "PATH")]
    summary: Option<PathBuf>,
    #[command(flatten)]
    cluster: cluster::ClusterArgs,
}

/// The same pipeline file, its tables filled from files: in the order of event time, exactly once, and
/// run again after a crash it goes on where it was.
#[derive(Debug, Args)]
struct ReplayArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Read a source from files: a file, a folder or a pattern (CSV, JSON lines, Parquet; .gz and .zst
    /// are unpacked). Once for each source; the others are read as the pipeline says
    #[arg(long = "source", value_name = "TABLE=FILES", required = true)]
    sources: Vec<String>,
    /// An option of the files' format, as in WITH: csv.delimiter=; [default: as the pipeline says, or as
    /// the files look]
    #[arg(long = "option", short = 'o', value_name = "NAME=VALUE")]
    options: Vec<String>,
    /// So many times as fast as it happened, such as 60x [default: as fast as it can be read]
    #[arg(long, value_name = "FACTOR")]
    speed: Option<String>,
    /// Go on with the topic where the files end
    #[arg(long, requires = "from")]
    then_follow: bool,
    /// Where the topic takes over: what happened before comes from the files, the rest from the
    /// topic. A time in UTC, or milliseconds since 1970
    #[arg(long, value_name = "TIMESTAMP", requires = "then_follow")]
    from: Option<String>,
}

#[derive(Debug, Args)]
struct WhyArgs {
    /// The pipeline's file, or where its process serves its metrics: host:port
    #[arg(value_name = "FILE|ADDRESS")]
    target: String,
    /// Override a SET of the file
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// The run that was started with the same
    #[arg(long, value_name = "TABLE,..", value_delimiter = ',')]
    only: Vec<String>,
    /// Where snapshots are kept [default: .tidemark]
    #[arg(long, value_name = "DIR", value_parser = place_of_state)]
    state: Option<PathBuf>,
    /// Print all that is known, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct SnapshotsArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Read every part and hold it to its checksum
    #[arg(long)]
    verify: bool,
    /// Where snapshots are kept [default: .tidemark]
    #[arg(long, value_name = "DIR", value_parser = place_of_state)]
    state: Option<PathBuf>,
}

/// Made-up trips go to a topic with ten partitions and from there into tables. The broker is in this
/// process, keeps the last 5 MiB of a partition and ends with it; --kafka takes a real one.
#[derive(Debug, Args)]
struct DemoArgs {
    /// Where the pipeline and its tables go [default: a new folder for temporary files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Through this broker, as host:port, instead of one in this process that survives nothing
    #[arg(long, value_name = "ADDRESS")]
    kafka: Option<String>,
    /// Into this database instead of a SQLite file
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// How many rows to make
    #[arg(long, value_name = "N", default_value_t = 600_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// How many per second
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
}

#[derive(Debug, Args)]
struct InitArgs {
    /// The file to write
    #[arg(default_value = "pipeline.sql")]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct InferArgs {
    /// A CSV, JSON lines or Parquet file (.gz and .zst are unpacked); of a folder or a pattern, the first one
    file: PathBuf,
}

/// Each record is sent once: how far it got is kept in the topic `tidemark_marks`, in the same
/// transaction, and a second run goes on behind it.
#[derive(Debug, Args)]
struct ProduceArgs {
    /// Files, folders or patterns (CSV, JSON lines; .gz and .zst are unpacked); with --from, the
    /// name of a table
    #[arg(required = true, value_name = "FILES")]
    files: Vec<String>,
    /// Send the rows of a table that this pipeline file declares
    #[arg(long, value_name = "FILE.sql")]
    from: Option<PathBuf>,
    /// The topic
    #[arg(long)]
    topic: String,
    /// Brokers to ask first, as host:port [default: $KAFKA, or localhost:9092]
    #[arg(long, value_name = "SERVERS")]
    bootstrap_servers: Option<String>,
    /// An option of the connection, as in WITH: sasl.username=me, kafka.linger.ms=50
    #[arg(long = "option", short = 'o', value_name = "NAME=VALUE")]
    options: Vec<String>,
    /// The format of the files [default: by their names and content]
    #[arg(long, value_name = "FORMAT", value_parser = ["csv", "json"])]
    format: Option<String>,
    /// Whether the first line of CSV has the names of its columns; without them they are c1, c2 ..
    /// [default: by what it looks like, if that is clear]
    #[arg(long, value_name = "BOOLEAN", conflicts_with = "from")]
    header: Option<bool>,
    /// What rows become: JSON objects, or CSV; JSON lines stay as they are
    #[arg(long = "as", value_name = "FORMAT", value_parser = ["json", "csv"], default_value = "json")]
    as_format: String,
    /// The field or column that is the key: records of one key stay in order
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,
    /// Records per second [default: as fast as possible]
    #[arg(long, value_name = "N")]
    rate: Option<String>,
    /// How many send side by side, each its own files
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    producers: u16,
    /// Create the topic with so many partitions, if it is not there
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    /// Create it with so many copies [default: as the broker says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    replication: Option<u32>,
    /// How batches are packed: none, lz4, zstd, gzip or snappy
    #[arg(long, value_name = "CODEC", default_value = "lz4", value_parser = ["none", "lz4", "zstd", "gzip", "snappy"])]
    compression: String,
    /// Which job this is: it goes on where the last one of this name and topic stopped
    #[arg(long, value_name = "NAME", default_value = "default")]
    job: String,
    /// Send everything again
    #[arg(long)]
    fresh_job: bool,
    /// Serve /metrics and /healthz on this port; 0 picks a free one
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
    /// The address to serve them on; nobody is asked for a password
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1",
        requires = "metrics_port"
    )]
    metrics_bind: std::net::IpAddr,
    /// Say nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// Runs the command line and says how it went.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if wants_objects(&arguments) {
        say_objects();
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && says_objects() => {
            say::failure(&of_arguments(&error));
            return ExitCode::from(WRONG);
        }
        Err(error) => {
            // Help and version come this way too, and they are no mistake.
            let code = if error.use_stderr() { WRONG } else { 0 };
            // Nobody is left to tell if the terminal is gone.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let code = match cli.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Replay(arguments) => replay::replay(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Explain(arguments) => check::explain(&arguments),
        Command::Why(arguments) => why::why(&arguments),
        Command::Snapshots(arguments) => snapshots::snapshots(&arguments),
        Command::List => check::list(),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Init(arguments) => init::init(&arguments),
        Command::Infer(arguments) => init::infer_table(&arguments),
        Command::Produce(arguments) => produce::produce(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::DeadLetters(arguments) => dead_letters::dead_letters(&arguments),
    };
    ExitCode::from(code)
}

/// Whether standard error is for programs: that is so before the command line is understood.
fn wants_objects(arguments: &[OsString]) -> bool {
    let both = arguments.windows(2);
    let mut both = both.filter(|pair| pair[0] == "--log");
    both.any(|pair| pair[1] == "json") || arguments.iter().any(|one| one == "--log=json")
}

/// What is wrong with the command line, without its ornaments.
fn of_arguments(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let (message, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let failure = Failure::new(words(message));
    match words(rest) {
        rest if rest.is_empty() => failure,
        rest => failure.hint(rest),
    }
}
