//! Kafka and PostgreSQL of the test's own, started by `scripts/services` and killed by us.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use postgres::{Client, NoTls};

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Kafka,
    Postgres,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Postgres => "postgres",
        }
    }
}

/// Both servers, in a folder that no other test uses.
pub struct Servers {
    folder: PathBuf,
    pub broker: String,
    /// Two databases of one server.
    pub databases: [String; 2],
}

impl Servers {
    /// Starts both.
    pub fn up() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".services/crash");
        let said = services(&folder, "up", &["kafka", "postgres"]);
        let variable = |name: &str| {
            let mut lines = said.lines().filter_map(|line| line.strip_prefix("export "));
            let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found
                .unwrap_or_else(|| panic!("scripts/services says no {name}"))
                .to_owned()
        };
        Self {
            broker: variable("KAFKA"),
            databases: [
                variable("DATABASE_URL"),
                variable("TIDEMARK_TEST_DATABASE_URL"),
            ],
            folder,
        }
    }

    /// All processes of a server.
    pub fn processes(&self, server: Server) -> Vec<u32> {
        let file = match server {
            Server::Kafka => "kafka/pid",
            Server::Postgres => "postgres/data/postmaster.pid",
        };
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap();
        let main: u32 = text.lines().next().unwrap().trim().parse().unwrap();
        let mut all = vec![main];
        all.extend(children(main));
        all
    }

    /// Leaves nothing of an earlier test.
    pub fn empty(&self, topics: &[&str]) {
        for database in &self.databases {
            let mut client = Client::connect(database, NoTls).unwrap();
            let sql = "set client_min_messages = warning; drop schema public cascade; create schema public";
            client.batch_execute(sql).unwrap();
        }
        for topic in topics {
            crate::topics::delete(&self.broker, topic);
        }
    }

    /// The mark in the first database.
    pub fn mark(&self) -> serde_json::Value {
        let mut client = Client::connect(&self.databases[0], NoTls).unwrap();
        let sql = "select mark from tidemark_marks where pipeline = 'crash'";
        client.query_one(sql, &[]).unwrap().get(0)
    }

    /// Starts a server that was killed, at the port and with the data that it had.
    pub fn restart(&self, server: Server) {
        services(&self.folder, "up", &[server.name()]);
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        services(&self.folder, "down", &["kafka", "postgres"]);
    }
}

fn services(folder: &Path, action: &str, names: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services");
    let output = Command::new(script)
        .arg(action)
        .args(names)
        .env("TIDEMARK_SERVICES", folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "scripts/services {action}: {said}{errors}"
    );
    said
}

/// The processes that a process has started, and that are not gone; the oldest first.
pub fn children(parent: u32) -> Vec<u32> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // A process may be gone since the folder was read.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // The name, in brackets, may have anything in it. Then: state, parent.
        let mut rest = stat[stat.rfind(')').unwrap() + 1..].split_whitespace();
        let (state, of) = (rest.next().unwrap(), rest.next().unwrap());
        if state != "Z" && of == parent.to_string() {
            found.insert(pid);
        }
    }
    found.into_iter().collect()
}

/// Sends signals: a shell that waits for the word, because its `kill` takes no time to start.
pub struct Killer {
    shell: Child,
    orders: ChildStdin,
    done: BufReader<ChildStdout>,
}

impl Killer {
    pub fn new() -> Self {
        let mut shell = Command::new("sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            orders: shell.stdin.take().unwrap(),
            done: BufReader::new(shell.stdout.take().unwrap()),
            shell,
        }
    }

    /// Returns once the signal has been sent to all; those that are gone already do not matter.
    pub fn signal(&mut self, signal: &str, processes: &[u32]) {
        let list: Vec<String> = processes.iter().map(u32::to_string).collect();
        writeln!(self.orders, "kill -{signal} {}; echo", list.join(" ")).unwrap();
        self.done.read_line(&mut String::new()).unwrap();
    }

    pub fn kill(&mut self, processes: &[u32]) {
        self.signal("KILL", processes);
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
