//! One process of a supervisor: started, spoken to, and its log passed on with its number.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use super::Event;
use super::restart::Exit;
use super::talk::{Order, say};
use crate::engine::spawn_named;

/// What the processes are.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// What it is given.
    pub arguments: Vec<OsString>,
    /// Whether its log is one JSON object per line.
    pub json: bool,
}

/// A process that was started.
pub struct Child {
    process: usize,
    line: UnixStream,
    child: std::process::Child,
    killed: bool,
    log: Option<JoinHandle<()>>,
    exit: Option<Exit>,
}

impl Child {
    /// Starts process `process`; what it says and that it hung up come as events of `attempt`.
    pub fn start(
        program: &Program,
        (attempt, process): (u64, usize),
        events: &SyncSender<Event>,
    ) -> io::Result<Self> {
        let (line, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&program.path);
        command
            .args(&program.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            // A terminal's Ctrl-C is for the supervisor, which passes it on: else it came twice.
            .process_group(0);
        if process > 0 {
            command.stderr(Stdio::piped());
        }
        let mut child = command.spawn()?;
        // It holds our copy of the process' end: the process' death would not be seen.
        drop(command);
        let json = program.json;
        let log = child.stderr.take().map(|log| {
            spawn_named(&format!("log-{process}"), move || {
                pass_on(log, process, json);
            })
        });
        let (reading, events) = (line.try_clone()?, events.clone());
        spawn_named(&format!("hear-{process}"), move || {
            hear(reading, (attempt, process), &events);
        });
        Ok(Self {
            process,
            line,
            child,
            killed: false,
            log,
            exit: None,
        })
    }

    /// Which process it is.
    pub fn process(&self) -> usize {
        self.process
    }

    /// Tells it something. Whether it still listens shows in its end.
    pub fn tell(&mut self, order: &Order) {
        let _ = say(&mut self.line, order);
    }

    /// Ends the conversation, upon which the process ends at once.
    pub fn hang_up(&self) {
        // It may have done so itself.
        let _ = self.line.shutdown(Shutdown::Both);
    }

    /// Ends the process, if it has not ended by itself.
    pub fn kill(&mut self) {
        if self.exit().is_none() {
            self.killed = true;
            // It may have ended since.
            let _ = self.child.kill();
        }
    }

    /// How it ended; `None` while it runs.
    pub fn exit(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            // The only error is that it is not ours to wait for, and it is.
            let status = self.child.try_wait().ok().flatten();
            self.exit = status.map(|status| match self.killed && status.code().is_none() {
                true => Exit::Hung,
                false => Exit::from(status),
            });
        }
        self.exit
    }
}

/// A process that is not waited for any more is ended; then its log is whole.
impl Drop for Child {
    fn drop(&mut self) {
        if self.exit().is_none() {
            self.kill();
            let _ = self.child.wait();
        }
        if let Some(log) = self.log.take() {
            // Its last lines say why it ended. A panic there has been said already.
            let _ = log.join();
        }
    }
}

fn hear(line: UnixStream, (attempt, process): (u64, usize), events: &SyncSender<Event>) {
    for text in BufReader::new(line).lines() {
        let Ok(text) = text else { break };
        // What is no report comes from a program that is no process of ours; its end says the rest.
        if let Ok(report) = serde_json::from_str(&text)
            && events.send(Event::Said(attempt, process, report)).is_err()
        {
            return;
        }
    }
    // Nobody waits for it any more if this fails.
    let _ = events.send(Event::HungUp(attempt));
}

/// Passes a log on, line by line, so that lines of two processes do not mix.
fn pass_on(log: impl Read, process: usize, json: bool) {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    while let Ok(1..) = log.read_until(b'\n', &mut line) {
        // Nobody may be reading any more.
        let _ = io::stderr().write_all(&numbered(&line, process, json));
        line.clear();
    }
}

/// A line of the log with the number of its process.
fn numbered(line: &[u8], process: usize, json: bool) -> Vec<u8> {
    let mut out = match line.strip_prefix(b"{\"") {
        Some(rest) if json => [format!("{{\"process\":{process},\"").as_bytes(), rest].concat(),
        Some(_) | None => [format!("[{process}] ").as_bytes(), line].concat(),
    };
    if !out.ends_with(b"\n") {
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str, json: bool) -> String {
        String::from_utf8(numbered(line.as_bytes(), 3, json)).unwrap()
    }

    #[test]
    fn a_line_of_text_begins_with_the_number_of_its_process() {
        assert_eq!(shown("INFO resumes\n", false), "[3] INFO resumes\n");
        assert_eq!(shown("{\"a\":1}\n", false), "[3] {\"a\":1}\n");
        assert_eq!(shown("cut off", false), "[3] cut off\n");
    }

    #[test]
    fn an_object_has_the_number_as_a_field_and_stays_an_object() {
        let line = shown("{\"level\":\"INFO\"}\n", true);

        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["process"], 3);
        assert_eq!(value["level"], "INFO");
        assert_eq!(shown("a panic\n", true), "[3] a panic\n");
    }
}
