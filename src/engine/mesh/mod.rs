//! The cluster: how processes meet, prove that they belong together, start as one, and notice when
//! one of them is gone. Knows nothing of pipelines; what it carries is bytes.
//!
//! ```text
//!   meet     everyone connects with everyone; strangers and strays are turned away
//!   start    process 0 decides, hands out the orders, all go
//!   workers  timely's threads over the connections
//!   control  a star around process 0: heartbeats, "stop", "failed", summaries
//! ```
//!
//! Membership is fixed: whoever is lost ends the run of all, and whoever started them starts them
//! again (docs/decisions/0006-the-cluster.md). Without TLS the handshake keeps strangers out, but
//! what follows can be read and altered by whoever sits on the network.
//!
//! | module | what it is |
//! |---|---|
//! | `hello`, `pulse` | decisions: who belongs together, who is alive |
//! | `frame`, `link`, `tls` | bytes on a connection |
//! | `handshake`, `roll`, `meet`, `start` | the start |
//! | `workers`, `control`, `panics` | the run |

mod control;
mod frame;
mod handshake;
mod hello;
mod link;
mod meet;
mod panics;
mod pulse;
mod roll;
mod start;
#[cfg(test)]
mod tests;
mod tls;
mod workers;

pub use control::{Control, Duty, Teller, end_process};
pub use frame::{Failed, Gone};
pub use link::Link;
pub use meet::{Joined, Member, meet};
pub use pulse::Steps;
pub use tls::Tls;
pub use workers::workers;

use crate::dataflow::outcome::Failure;

/// The exit code of a process that has lost another: not its own fault, so it may be started again.
pub const PEER_LOST: u8 = 75;
/// The exit code of a process in which a thread panicked.
pub const PANICKED: u8 = 101;
/// The exit code of a process whose run has failed: started again it would fail again.
pub const FAILED: u8 = 1;

/// The version of the program, and of what its processes say to each other.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// A secret that nobody can guess, for processes that are started together.
#[must_use]
pub fn secret() -> Vec<u8> {
    hello::nonce().to_vec()
}

/// Why a process did not become part of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// It failed here.
    Failed(Failure),
    /// Some process did not come in time.
    Missing(Failure),
    /// It failed at another process, which said why.
    Told(Failed),
    /// A process went away while the others waited.
    Lost(Gone),
    /// Somebody asked this process to stop, or another one, before all had begun.
    Stopped,
}

impl Unmet {
    /// What the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => FAILED,
            Self::Told(failed) => failed.code,
            Self::Missing(_) | Self::Lost(_) => PEER_LOST,
            Self::Stopped => 0,
        }
    }

    /// What process `me` tells the others of it.
    fn frame(&self, me: usize) -> frame::Frame {
        match self {
            Self::Failed(failure) | Self::Missing(failure) => {
                frame::Frame::Failed(Failed::of(me, self.exit_code(), failure))
            }
            Self::Told(failed) => frame::Frame::Failed(failed.clone()),
            Self::Lost(gone) => frame::Frame::Gone(gone.clone()),
            Self::Stopped => frame::Frame::Stop,
        }
    }
}

impl From<Unmet> for Failure {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::Failed(failure) => failure,
            Unmet::Missing(failure) => failure.again(),
            Unmet::Told(failed) => failed.told(),
            Unmet::Lost(gone) => gone.told().again(),
            Unmet::Stopped => Failure::new("was asked to stop before it had begun"),
        }
    }
}
