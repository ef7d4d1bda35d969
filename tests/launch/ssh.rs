//! `scripts/launch` over ssh: a server of the test's own, with keys of its own, and three machines that
//! are this one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{ended, has_python};

/// This machine by a name that is not known to be its own.
const HOST: &str = "[::ffff:127.0.0.1]";
const SSHD: &str = "/usr/sbin/sshd";
/// Where sshd, begun by root, shuts itself in.
const EMPTY: &str = "/run/sshd";
/// Nothing takes longer, or the test fails.
const LIMIT: Duration = Duration::from_secs(30);

/// One server at a time: what they shut themselves in is there once.
static ALONE: Mutex<()> = Mutex::new(());

/// A server that is gone when the test is.
struct Server {
    _alone: MutexGuard<'static, ()>,
    process: Child,
    folder: tempfile::TempDir,
    port: u16,
    made: bool,
}

impl Server {
    fn start() -> Option<Self> {
        let missing = [SSHD, "/usr/bin/ssh", "/usr/bin/ssh-keygen"];
        let missing = missing.iter().find(|program| !Path::new(program).exists());
        if let Some(missing) = missing {
            eprintln!("skipped: there is no {missing}");
            return None;
        }
        if TcpListener::bind((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 0)).is_err() {
            eprintln!("skipped: this machine has one kind of address only");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        for key in ["host", "mine"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)])
                .status();
            assert!(made.unwrap().success());
        }
        fs::copy(at("mine.pub"), at("authorized")).unwrap();
        let port = free_ports()[0];
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\n\
             AuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\n",
            at("host"),
            at("authorized")
        );
        fs::write(at("config"), config).unwrap();
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let made = fs::create_dir(EMPTY).is_ok();
        let mut process = Command::new(SSHD)
            .args(["-D", "-e", "-f", &at("config")])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        // What it says of each connection is read by nobody, and is little.
        process.stderr = Some(log.into_inner());
        assert!(line.starts_with("Server listening"), "{line}");
        Some(Self {
            _alone: alone,
            process,
            folder,
            port,
            made,
        })
    }

    /// How to reach it.
    fn ssh(&self) -> String {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
             -o LogLevel=ERROR -o UserKnownHostsFile={} -i {} -p {}",
            at("known"),
            at("mine"),
            self.port
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if self.made {
            let _ = fs::remove_dir(EMPTY);
        }
    }
}

fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// The folder of a pipeline over a table of so many rows, and its hosts.
fn folder(rows: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sql = format!(
        "SET 'commit.interval' = '20ms';
         CREATE TABLE made (n BIGINT NOT NULL, k BIGINT NOT NULL) WITH (
           connector = 'generator', partitions = '3', {rows},
           'fields.n.kind' = 'sequence', 'fields.k.max' = '9');
         CREATE TABLE seen (k BIGINT PRIMARY KEY, n BIGINT)
           WITH (connector = 'sqlite', path = 'out.db');
         INSERT INTO seen SELECT k, count(*) FROM made GROUP BY k;"
    );
    fs::write(folder.path().join("a pipeline.sql"), sql).unwrap();
    let hosts = free_ports().map(|port| format!("{HOST}:{port}\n"));
    fs::write(folder.path().join("hosts"), hosts.concat()).unwrap();
    folder
}

fn launch(folder: &Path, server: &Server, timeout: bool) -> Child {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/launch");
    let mut command = match timeout {
        true => {
            let mut command = Command::new("timeout");
            command.args(["--foreground", "30"]).arg(script);
            command
        }
        false => Command::new(script),
    };
    command
        .args(["--hosts", "hosts", "a pipeline.sql"])
        .current_dir(folder)
        .env("TIDEMARK", env!("CARGO_BIN_EXE_tidemark"))
        .env("TIDEMARK_SSH", server.ssh())
        .env_remove("TIDEMARK_CLUSTER_SECRET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap()
}

/// The processes that run in a folder.
fn inhabitants(folder: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap());
    let lives_there = |process: &fs::DirEntry| {
        fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder)
    };
    let there = processes.filter(lives_there);
    let command = |process: fs::DirEntry| {
        let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).replace('\0', " ")
    };
    there.map(command).collect()
}

/// Waits until nobody runs there any more.
fn until_empty(folder: &Path) {
    #[allow(clippy::disallowed_methods, reason = "a test's own time limit")]
    let start = Instant::now();
    let folder = folder.canonicalize().unwrap();
    loop {
        match inhabitants(&folder) {
            left if left.is_empty() => return,
            left => assert!(start.elapsed() < LIMIT, "left behind: {left:?}"),
        }
    }
}

#[test]
fn a_pipeline_runs_to_its_end_on_three_machines() {
    let (true, Some(server)) = (has_python(), Server::start()) else {
        return;
    };
    let folder = folder("rows = '30000'");

    let (code, lines) = ended(launch(folder.path(), &server, true));

    assert_eq!(code, Some(0), "{lines:#?}");
    let database = Connection::open(folder.path().join("out.db")).unwrap();
    let sum = database.query_row("select sum(n) from seen", [], |row| row.get(0));
    assert_eq!(sum, Ok(30_000), "{lines:#?}");
    until_empty(folder.path());
}

#[test]
fn a_wish_to_stop_reaches_all_machines_and_is_a_clean_end() {
    let (true, Some(server)) = (has_python(), Server::start()) else {
        return;
    };
    let folder = folder("rate = '3000'");
    let mut child = launch(folder.path(), &server, true);
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut log = log.by_ref().map(Result::unwrap);
    log.find(|line| line.starts_with("[0] ") && line.contains("rows_per_second="))
        .expect("it reads");

    let pid = child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());

    let rest: Vec<String> = log.collect();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:#?}");
    until_empty(folder.path());
}

/// As if the machine that it was started on, or the network, were gone.
#[test]
fn when_the_script_is_killed_no_machine_runs_on() {
    let (true, Some(server)) = (has_python(), Server::start()) else {
        return;
    };
    let folder = folder("rate = '3000'");
    let mut child = launch(folder.path(), &server, false);
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut log = log.by_ref().map(Result::unwrap);
    log.find(|line| line.starts_with("[0] ") && line.contains("rows_per_second="))
        .expect("it reads");

    child.kill().unwrap();
    child.wait().unwrap();

    until_empty(folder.path());
}
