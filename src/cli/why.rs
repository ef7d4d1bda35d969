//! `why`: what a pipeline is doing and what each of its tables waits for.
//!
//! A running process is asked; where none answers, the marks in the destinations tell how far it got.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use super::say::{self, grouped};
use super::{FAILED, FileArgs, WRONG, WhyArgs, eyes, file};
use crate::dataflow::outcome::Failure;
use crate::engine::{SinkStatus, SourceStatus, Status, ViewStatus, at_rest};

/// How long a process may take to answer. One that turns answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says what a pipeline is doing.
pub fn why(arguments: &WhyArgs) -> u8 {
    let is_file = Path::new(&arguments.target).exists() || arguments.target.ends_with(".sql");
    let status = if is_file {
        by_file(arguments)
    } else {
        by_address(&arguments.target)
    };
    match status {
        Ok(status) if arguments.json => {
            let text = serde_json::to_string_pretty(&status).expect("a status is plain data");
            say::out(&(text + "\n"));
            0
        }
        Ok(status) => {
            say::out(&text(&status));
            0
        }
        Err(code) => code,
    }
}

fn by_file(arguments: &WhyArgs) -> Result<Status, u8> {
    let planned = file::plan(&FileArgs {
        file: arguments.target.clone().into(),
        settings: arguments.settings.clone(),
        only: arguments.only.clone(),
    })?;
    let state = arguments.state.as_deref();
    if let Some(found) = eyes::find(&planned.pipeline, &planned.base, state) {
        match ask(&[found.address]) {
            // Another process may have been given the port since.
            Ok(status) if status.pipeline == planned.pipeline.name => return Ok(status),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(error) => {
                let (process, address) = (found.process, found.address);
                say::failure(
                    &Failure::new(format!("process {process} does not answer at {address}"))
                        .because(error)
                        .hint("it may be stopped or stuck: look at its log and at its CPU"),
                );
                return Err(FAILED);
            }
        }
    }
    at_rest(&planned.pipeline, &planned.base).map_err(|failure| {
        say::failure(&failure);
        FAILED
    })
}

fn by_address(target: &str) -> Result<Status, u8> {
    let bare = target.trim_start_matches("http://");
    let bare = bare.split('/').next().unwrap_or_default();
    let bare = match bare.parse::<u16>() {
        Ok(port) => format!("127.0.0.1:{port}"),
        Err(_) => bare.to_owned(),
    };
    let addresses: Vec<SocketAddr> = bare
        .to_socket_addrs()
        .map_err(|error| {
            say::failure(
                &Failure::new(format!("`{target}` is neither a file nor an address"))
                    .because(error)
                    .hint("name a pipeline file, or where it serves its metrics: host:port"),
            );
            WRONG
        })?
        .collect();
    ask(&addresses).map_err(|error| {
        say::failure(
            &Failure::new(format!("could not ask the process at {bare}"))
                .because(error)
                .hint("is it running, and with --metrics-port?"),
        );
        FAILED
    })
}

/// Asks a process for its status.
fn ask(addresses: &[SocketAddr]) -> std::io::Result<Status> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in addresses {
        let mut stream = match TcpStream::connect_timeout(address, PATIENCE) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // The older version of the protocol: the answer ends with the connection.
        write!(
            stream,
            "GET /api/status HTTP/1.0\r\nHost: {address}\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        return serde_json::from_str(body).map_err(|_| {
            let message = "what answers there is no pipeline, or one of another version";
            std::io::Error::new(std::io::ErrorKind::InvalidData, message)
        });
    }
    Err(last)
}

/// A status as people read it.
fn text(status: &Status) -> String {
    let mut out = format!("{}: {}", status.pipeline, status.says);
    if status.epoch > 0 {
        out += &format!("; epoch {}", grouped(status.epoch));
    }
    out += "\n\n";
    out += &sources(&status.sources);
    let is_resting = status.sinks.iter().all(|sink| sink.sources.is_empty());
    if !is_resting {
        out += &format!("\n{}", fates(&status.sinks));
        if status.processes > 1 {
            let (process, processes) = (status.process, status.processes);
            out += &format!(
                "these are the records of all {processes} processes, as process {process} has heard of \
                 them\n"
            );
        }
        if !status.views.is_empty() {
            out += &format!("\n{}", views(&status.views));
        }
    }
    for sink in &status.sinks {
        out += &format!("\n{}{}\n", sink.name, amounts(sink, status));
        out += &format!("  {}\n", sink.waits_for);
    }
    if status.stage == "resting" {
        out += "\na run that was started without --metrics-port cannot be asked: if the epochs above \
                grow, one is there\n";
    }
    out
}

fn sources(sources: &[SourceStatus]) -> String {
    let header = ["source", "event time", "to read", "partitions"].map(str::to_owned);
    let row = |source: &SourceStatus| {
        let count = |what: &str, count: usize| match count {
            0 => String::new(),
            count => format!(", {count} {what}"),
        };
        let partitions = &source.partitions;
        let idle = partitions.iter().filter(|one| one.idle).count();
        let ended = partitions.iter().filter(|one| one.ended).count();
        let to_read = |lag: u64| format!("{} {}", grouped(lag), source.unit);
        vec![
            source.name.clone(),
            source.watermark.clone().unwrap_or_else(|| "-".to_owned()),
            source.lag.map_or_else(|| "unknown".to_owned(), to_read),
            format!(
                "{}{}{}",
                partitions.len(),
                count("idle", idle),
                count("ended", ended)
            ),
        ]
    };
    say::table(&header, &sources.iter().map(row).collect::<Vec<_>>())
}

fn fates(sinks: &[SinkStatus]) -> String {
    let header = [
        "into", "from", "read", "accepted", "filtered", "late", "rejected",
    ];
    let mut rows = Vec::new();
    for sink in sinks {
        for fates in &sink.sources {
            let mut row = vec![sink.name.clone(), fates.source.clone()];
            let counts = [
                fates.read,
                fates.accepted,
                fates.filtered,
                fates.late,
                fates.rejected,
            ];
            row.extend(counts.map(grouped));
            rows.push(row);
        }
    }
    say::table(&header.map(str::to_owned), &rows)
}

/// What the INSERTs that read each view made of their records.
fn views(views: &[ViewStatus]) -> String {
    let header = ["view", "into", "from", "rows in", "filtered", "late"].map(str::to_owned);
    let lines = views.iter().flat_map(|view| {
        view.sources.iter().map(|fates| {
            let mut line = vec![view.name.clone(), view.into.clone(), fates.source.clone()];
            line.extend([fates.accepted, fates.filtered, fates.late].map(grouped));
            line
        })
    });
    say::table(&header, &lines.collect::<Vec<_>>())
}

/// What a sink has been given and what still waits.
fn amounts(sink: &SinkStatus, status: &Status) -> String {
    let mut parts = Vec::new();
    let rows = sink.upserts + sink.deletes;
    if status.stage != "resting" {
        parts.push(format!("{} committed", counted(rows, "row")));
    }
    if sink.windows > 0 {
        let groups = counted(sink.waiting as u64, "group");
        let windows = counted(sink.windows as u64, "window");
        parts.push(format!("{groups} in {windows} not closed"));
    }
    let destination = status.destinations.iter();
    let mut known = destination.filter(|known| known.name == sink.destination);
    let latency = known.find_map(|known| known.latency_seconds.clone());
    if let Some([p50, _, p99, _]) = latency.as_deref() {
        parts.push(format!("visible after {p50:.2} s (p99 {p99:.2} s)"));
    }
    let parts = parts.join(", ");
    let separator = if parts.is_empty() { "" } else { ": " };
    if sink.destination.is_empty() || sink.destination == sink.name {
        format!("{separator}{parts}")
    } else {
        format!(" in {}{separator}{parts}", sink.destination)
    }
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}
