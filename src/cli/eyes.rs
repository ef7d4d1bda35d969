//! `--metrics-port`: the page and the metrics of a run, and the file that says where they are.
//!
//! The address stands in the pipeline's state folder while the run lasts, so that `why FILE` finds
//! the process. After a crash it stays there and nobody answers: then nothing runs.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::dataflow::outcome::{Failure, Shared};
use crate::durability::is_bucket;
use crate::engine::state_folder;
use crate::plan::Pipeline;
use crate::web::Server;

/// What is served, until it is ended.
pub struct Eyes {
    server: Server,
    file: Option<PathBuf>,
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Where the process answers.
    pub address: SocketAddr,
    /// Its number in the system.
    pub process: u32,
}

impl Eyes {
    /// Serves what there is to see of a run, and leaves word in `file` where.
    pub fn open(
        at: (IpAddr, u16),
        pipeline: &Arc<Pipeline>,
        shared: &Arc<Shared>,
        file: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let server = Server::start(at, pipeline, shared)?;
        let address = server.address();
        info!("the page and the metrics are at http://{address}");
        let found = Found {
            address: reachable(address),
            process: std::process::id(),
        };
        if let Some(file) = &file
            && let Err(error) = write(file, &found)
        {
            let file = file.display();
            warn!(%error, "could not write `{file}`: `tidemark why` finds this run by its address only");
        }
        Ok(Self { server, file })
    }

    /// Serves no more.
    pub fn end(self) {
        let own = |found: Found| found.process == std::process::id();
        // Another process may have started since and left its own word.
        if let Some(file) = self.file.filter(|file| read(file).is_some_and(own)) {
            // What cannot be removed points to a process that does not answer: that is understood.
            let _ = std::fs::remove_file(file);
        }
        self.server.end();
    }
}

/// The process that runs a pipeline here, if one has left word.
#[must_use]
pub fn find(pipeline: &Pipeline, base: &Path, state: Option<&Path>) -> Option<Found> {
    read(&file(pipeline, base, state))
}

/// Where a run leaves word.
#[must_use]
pub fn file(pipeline: &Pipeline, base: &Path, state: Option<&Path>) -> PathBuf {
    // Word for this machine, which does not go to a bucket.
    let state = state.filter(|state| !is_bucket(state));
    state_folder(pipeline, base, state).join("address.json")
}

fn read(file: &Path) -> Option<Found> {
    serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
}

fn write(file: &Path, found: &Found) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string(found).expect("an address is plain data");
    std::fs::write(file, text + "\n")
}

/// Where this machine reaches an address that means all of its own.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
