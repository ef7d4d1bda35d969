//! How a process comes to be one of several: told by a supervisor, or by a file of hosts. Both end
//! in the same `Member`, and from there on there is no difference.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use clap::Args;

use super::hosts::hosts;
use super::supervise::{Order, Report, Start, report};
use crate::dataflow::outcome::{Failure, Shared};
use crate::engine::mesh::{Member, PEER_LOST, Tls, end_process};
use crate::engine::{Ends, spawn_named};

/// The variable that holds the secret of a cluster.
const SECRET: &str = "TIDEMARK_CLUSTER_SECRET";
/// A shorter secret can be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// Options of `run` about several processes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Several processes")]
pub struct ClusterArgs {
    /// Run as so many processes on this machine, and start them again if one dies
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub processes: Option<u16>,
    /// Give up after so many starts in a row that failed within 30 s
    #[arg(long, value_name = "N", default_value_t = 5, requires = "processes")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub failed_starts: u32,
    /// Be process I, counted from 0, of those in --hosts
    #[arg(
        long,
        value_name = "I",
        requires = "hosts",
        conflicts_with = "processes"
    )]
    pub process: Option<u16>,
    /// Where the processes listen: a host:port per line, the first for process 0
    #[arg(long, value_name = "FILE", requires = "process")]
    pub hosts: Option<PathBuf>,
    /// Listen here, if not where this process' line of --hosts says
    #[arg(long, value_name = "HOST:PORT", requires = "hosts")]
    pub bind: Option<String>,
    /// Read the secret that all processes share from a file [default: TIDEMARK_CLUSTER_SECRET]
    #[arg(long, value_name = "FILE", requires = "hosts")]
    pub secret_file: Option<PathBuf>,
    /// Encrypt between processes: the certificate of this one, in PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca", "hosts"])]
    pub tls_cert: Option<PathBuf>,
    /// The key of --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Who signs the certificates of all processes
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_ca: Option<PathBuf>,
    /// Wait so many seconds for the other processes to come
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub meet_within: u64,
    /// A process that is silent or stands still for so many seconds is lost
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(2..=3_600))]
    pub heartbeat: u64,
    /// Be told by a supervisor
    #[arg(long, hide = true)]
    pub member: bool,
}

/// The part of this process in a cluster.
#[derive(Debug)]
pub struct Membership {
    /// Who it is and who the others are.
    pub member: Member,
    /// Whether process 0 empties the tables first, if a supervisor says so.
    pub fresh: Option<bool>,
    /// Where the sources end, if a supervisor knows from an earlier start.
    pub ends: Option<Ends>,
    /// Who started it.
    pub supervisor: Supervisor,
}

/// Who started this process and watches it, if someone does.
#[derive(Debug)]
pub struct Supervisor(Option<UnixStream>);

impl Supervisor {
    /// Tells the supervisor, if there is one, that the destinations are taken over and the workers
    /// begin: from here on another start does not empty the tables.
    pub fn running(&mut self, ends: Option<&Ends>) {
        if let Some(line) = &mut self.0 {
            // If it is gone, this process is about to end.
            let _ = report(line, &Report::Running(ends.cloned()));
        }
    }
}

impl ClusterArgs {
    /// How long a process may be silent.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.heartbeat)
    }

    /// The part of this process in a cluster, if it is one of several, which all have the `same`
    /// fingerprint and options. A supervisor that wants it to
    /// stop says so to `shared`.
    pub fn membership(
        &self,
        same: (&str, &str),
        shared: &Arc<Shared>,
    ) -> Result<Option<Membership>, Failure> {
        match (&self.hosts, self.process) {
            _ if self.member => self.supervised(same, shared).map(Some),
            (Some(path), Some(process)) => {
                let member = self.listed(path, usize::from(process), same)?;
                Ok(Some(Membership {
                    member,
                    fresh: None,
                    ends: None,
                    supervisor: Supervisor(None),
                }))
            }
            (None, _) | (_, None) => Ok(None),
        }
    }

    /// Listens, says where, and waits until the supervisor says who the others are.
    fn supervised(
        &self,
        (fingerprint, options): (&str, &str),
        shared: &Arc<Shared>,
    ) -> Result<Membership, Failure> {
        let alone = |error: std::io::Error| {
            Failure::new("could not speak with the supervisor")
                .because(error)
                .hint("--member is for processes that --processes starts")
        };
        let input = std::io::stdin().as_fd().try_clone_to_owned();
        let mut line = UnixStream::from(input.map_err(alone)?);
        let listener = TcpListener::bind("127.0.0.1:0").map_err(alone)?;
        let address = listener.local_addr().map_err(alone)?;
        if report(&mut line, &Report::Listens(address.to_string())).is_err() {
            supervisor_gone();
        }
        let (sender, started) = sync_channel(1);
        let (reading, obeys) = (line.try_clone().map_err(alone)?, Arc::clone(shared));
        spawn_named("supervisor", move || obey(reading, &sender, &obeys));
        // The thread ends the process if nothing comes.
        let start: Start = started
            .recv()
            .map_err(|_| Failure::new("the supervisor said nothing that can be understood"))?;
        Ok(Membership {
            fresh: Some(start.fresh),
            ends: start.ends,
            member: Member {
                process: start.process,
                addresses: start.addresses,
                secret: start.secret,
                fingerprint: fingerprint.to_owned(),
                options: options.to_owned(),
                attempt: Some(start.attempt),
                deadline: Duration::from_secs(self.meet_within),
                heartbeat: self.heartbeat(),
                tls: None,
                listener,
            },
            supervisor: Supervisor(Some(line)),
        })
    }

    /// Who a file of hosts says that this process is.
    fn listed(
        &self,
        path: &Path,
        process: usize,
        (fingerprint, options): (&str, &str),
    ) -> Result<Member, Failure> {
        let addresses = hosts(&path.display().to_string(), &read(path)?)?;
        let Some(own) = addresses.get(process) else {
            let count = addresses.len();
            let file = path.display();
            return Err(Failure::new(format!("there is no process {process}"))
                .because(format!("`{file}` lists {count}, counted from 0")));
        };
        let address = self.bind.as_ref().unwrap_or(own);
        let listener = TcpListener::bind(address).map_err(|error| {
            Failure::new(format!("cannot listen at {address}"))
                .because(error)
                .hint("--bind 0.0.0.0:PORT listens whatever the machine's own address is")
        })?;
        let tls = match (&self.tls_cert, &self.tls_key, &self.tls_ca) {
            (Some(certificate), Some(key), Some(authority)) => {
                Some(Tls::read(certificate, key, authority)?)
            }
            (None, _, _) | (_, None, _) | (_, _, None) => None,
        };
        Ok(Member {
            process,
            secret: self.secret()?,
            addresses,
            fingerprint: fingerprint.to_owned(),
            options: options.to_owned(),
            attempt: None,
            deadline: Duration::from_secs(self.meet_within),
            heartbeat: self.heartbeat(),
            tls,
            listener,
        })
    }

    fn secret(&self) -> Result<Vec<u8>, Failure> {
        let (text, from) = match &self.secret_file {
            Some(path) => (read(path)?, path.display().to_string()),
            None => (std::env::var(SECRET).unwrap_or_default(), SECRET.to_owned()),
        };
        checked_secret(&text, &from)
    }
}

/// A secret that is worth the name.
fn checked_secret(text: &str, from: &str) -> Result<Vec<u8>, Failure> {
    let secret = text.trim().as_bytes();
    let bytes = secret.len();
    if bytes >= SECRET_BYTES_MIN {
        return Ok(secret.to_vec());
    }
    let failure = match bytes {
        0 => Failure::new("the processes have no secret").because(format!("`{from}` is empty")),
        _ => Failure::new("the secret of the processes can be guessed").because(format!(
            "`{from}` has {bytes} bytes, at least {SECRET_BYTES_MIN} are needed"
        )),
    };
    Err(failure.hint(format!(
        "give every process the same, with --secret-file or {SECRET}: `openssl rand -hex 32`"
    )))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::new(format!("could not read `{}`", path.display())).because(error)
    })
}

/// Does what the supervisor says, until it is gone; then ends the process, so that none is left
/// behind.
fn obey(line: UnixStream, started: &SyncSender<Start>, shared: &Shared) {
    for text in BufReader::new(line).lines() {
        let Ok(text) = text else { break };
        match serde_json::from_str(&text) {
            Ok(Order::Start(start)) => {
                if started.try_send(start).is_err() {
                    tracing::warn!("the supervisor said twice who the others are");
                }
            }
            Ok(Order::Stop) => shared.stop(),
            Err(error) => tracing::warn!(%error, "the supervisor cannot be understood"),
        }
    }
    supervisor_gone()
}

/// Ends the process. Its supervisor died, or hung up because another process did: nothing that
/// this one does wrong, so it may be started again.
fn supervisor_gone() -> ! {
    end_process(&Failure::new("the supervisor is gone"), PEER_LOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_can_be_guessed_is_refused() {
        assert_eq!(
            checked_secret(" 0123456789abcdef\n", "file").unwrap(),
            b"0123456789abcdef"
        );
        assert_eq!(
            checked_secret("hunter2", "file").unwrap_err().causes,
            ["`file` has 7 bytes, at least 16 are needed"]
        );
        assert_eq!(
            checked_secret("", SECRET).unwrap_err().causes,
            ["`TIDEMARK_CLUSTER_SECRET` is empty"]
        );
    }
}
