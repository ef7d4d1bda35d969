//! Who meets whom, and whether they belong together: pure, bytes and facts only.
//!
//! ```text
//!   connects                                accepts
//!     TIDEMARK, hello (who, nonce)   ──▶
//!                                    ◀──      TIDEMARK, hello (who, nonce)
//!     both compare: version, size, place, pipeline, attempt
//!     proof over both hellos         ──▶
//!                                    ◀──      verdict: welcome with its own proof, or why not
//! ```
//!
//! The secret never travels: each proves that it knows it by an HMAC over both hellos, and so over
//! a number that the other has just drawn. The two proofs are over different words, so that one
//! cannot be sent back as the other. What follows the handshake is protected by TLS or not at all.

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::dataflow::outcome::Failure;

/// The first bytes of every connection, the same in all versions.
pub const MAGIC: [u8; 8] = *b"TIDEMARK";

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Purpose {
    /// Timely's: rows and progress.
    Data,
    /// Ours: heartbeats, the wish to stop, failures, summaries.
    Control,
}

/// What a process says of itself before anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the program and of what is spoken here.
    pub version: String,
    /// Which process it is.
    pub process: usize,
    /// Which it wants to speak to; of the one who accepts: itself.
    pub to: usize,
    /// How many there are.
    pub processes: usize,
    /// What the connection is for.
    pub purpose: Purpose,
    /// The pipeline.
    pub fingerprint: String,
    /// The options that all processes must have alike.
    pub options: String,
    /// Which start of a supervisor it belongs to.
    pub attempt: Option<u64>,
    /// Drawn for this connection.
    pub nonce: [u8; 32],
}

/// The part of a hello that every version has.
#[derive(Deserialize)]
pub struct AnyHello {
    /// The version of the program and of what is spoken here.
    pub version: String,
    /// Which process it is.
    pub process: usize,
}

/// How the one who accepts ends the handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Come in.
    Welcome {
        /// That it knows the secret too.
        proof: Vec<u8>,
    },
    /// The proof does not hold.
    WrongSecret,
    /// A process of that number is here.
    AlreadyHere,
}

/// Why two processes do not belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Another version.
    Version {
        /// Of this process.
        here: String,
        /// Of the other.
        there: String,
    },
    /// Another number of processes.
    Size {
        /// As this process has it.
        here: usize,
        /// As the other has it.
        there: usize,
    },
    /// The other is not the process that its address is listed for.
    Place {
        /// Who was meant.
        meant: usize,
        /// Who it is.
        is: usize,
    },
    /// Another pipeline, or other settings.
    Pipeline,
    /// Other options.
    Options {
        /// Of this process.
        here: String,
        /// Of the other.
        there: String,
    },
    /// Another start of the supervisor.
    Attempt {
        /// Of this process.
        here: Option<u64>,
        /// Of the other.
        there: Option<u64>,
    },
    /// Another secret.
    Secret,
    /// There are two of that number.
    AlreadyHere,
}

/// A number that nobody can guess, and that is not drawn twice.
pub fn nonce() -> [u8; 32] {
    let mut nonce = [0; 32];
    SystemRandom::new()
        .fill(&mut nonce)
        .expect("the system has random bytes");
    nonce
}

/// What keeps two processes apart that have said hello; `None` if nothing does.
pub fn difference(here: &Hello, there: &Hello) -> Option<Difference> {
    if here.version != there.version {
        return Some(Difference::Version {
            here: here.version.clone(),
            there: there.version.clone(),
        });
    }
    if here.processes != there.processes {
        return Some(Difference::Size {
            here: here.processes,
            there: there.processes,
        });
    }
    // The one who connects has the higher number; the one who accepts names only itself.
    let (connects, accepts) = if here.to == here.process {
        (there, here)
    } else {
        (here, there)
    };
    if connects.to != accepts.process {
        return Some(Difference::Place {
            meant: connects.to,
            is: accepts.process,
        });
    }
    if here.fingerprint != there.fingerprint {
        return Some(Difference::Pipeline);
    }
    if here.options != there.options {
        return Some(Difference::Options {
            here: here.options.clone(),
            there: there.options.clone(),
        });
    }
    (here.attempt != there.attempt).then_some(Difference::Attempt {
        here: here.attempt,
        there: there.attempt,
    })
}

impl Difference {
    /// What `peer` is told of, or what is told of `peer`: the sentence of this side's log.
    pub fn sentence(&self, peer: usize) -> String {
        let attempt = |attempt: &Option<u64>| match attempt {
            Some(number) => format!("start {number}"),
            None => "no supervisor's start".to_owned(),
        };
        match self {
            Self::Version { here, there } => {
                format!("process {peer} is version {there}, this is {here}")
            }
            Self::Size { here, there } => {
                format!("process {peer} is one of {there} processes, this is one of {here}")
            }
            Self::Place { meant, is } => {
                format!("the address of process {meant} is that of process {is}")
            }
            Self::Pipeline => format!("process {peer} runs another pipeline file"),
            Self::Options { here, there } => {
                format!("process {peer} runs with {there}, this one with {here}")
            }
            Self::Attempt { here, there } => format!(
                "process {peer} belongs to {}, this one to {}",
                attempt(there),
                attempt(here)
            ),
            Self::Secret => format!("process {peer} has another secret"),
            Self::AlreadyHere => format!("a second process {peer} came, one is already here"),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Version { .. } => "install the same version everywhere",
            Self::Size { .. } | Self::Place { .. } => "give every process the same --hosts file",
            Self::Pipeline => "give every process the same file and the same --set",
            Self::Options { .. } => "give every process the same options",
            Self::Attempt { .. } => "end the processes of the earlier start",
            Self::Secret => "give every process the same TIDEMARK_CLUSTER_SECRET",
            Self::AlreadyHere => "give every process its own --process",
        }
    }

    /// The end of the process that was not let in by `peer`.
    pub fn refused_by(&self, me: usize, peer: usize) -> Failure {
        let why = match self {
            Self::AlreadyHere => format!("process {me} is already here"),
            Self::Version { .. }
            | Self::Size { .. }
            | Self::Place { .. }
            | Self::Pipeline
            | Self::Options { .. }
            | Self::Attempt { .. }
            | Self::Secret => self.sentence(peer),
        };
        Failure::new(format!("process {peer} and this one cannot run together"))
            .because(why)
            .hint(self.hint())
    }
}

/// Which side proves that it knows the secret.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// The one that connected.
    Connects,
    /// The one that accepted.
    Accepts,
}

/// The proof of one side: both hellos, as they went over the wire.
pub fn prove(secret: &[u8], side: Side, connects: &[u8], accepts: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::sign(&key, &transcript(side, connects, accepts))
        .as_ref()
        .to_vec()
}

/// Whether the proof of a side holds; takes the same time whatever it is.
pub fn holds(secret: &[u8], proof: &[u8], side: Side, connects: &[u8], accepts: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::verify(&key, &transcript(side, connects, accepts), proof).is_ok()
}

fn transcript(side: Side, connects: &[u8], accepts: &[u8]) -> Vec<u8> {
    let word: &[u8] = match side {
        Side::Connects => b"tidemark connects",
        Side::Accepts => b"tidemark accepts ",
    };
    // The first length tells where the second hello begins.
    let length = (connects.len() as u64).to_be_bytes();
    [word, &length, connects, accepts].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"between us";

    fn hello(process: usize, to: usize) -> Hello {
        Hello {
            version: "1".to_owned(),
            process,
            to,
            processes: 4,
            purpose: Purpose::Data,
            fingerprint: "f1".to_owned(),
            options: "--threads 1".to_owned(),
            attempt: None,
            nonce: nonce(),
        }
    }

    #[test]
    fn a_proof_holds_for_one_conversation_one_side_and_one_secret() {
        let (connects, accepts) = (b"hello 1".as_slice(), b"hello 0".as_slice());

        let proof = prove(SECRET, Side::Connects, connects, accepts);

        assert!(holds(SECRET, &proof, Side::Connects, connects, accepts));
        // Overheard, and said again to someone who has drawn another number.
        assert!(!holds(SECRET, &proof, Side::Connects, connects, b"hello 2"));
        // Sent back to whoever made it.
        assert!(!holds(SECRET, &proof, Side::Accepts, connects, accepts));
        // The same bytes, cut elsewhere.
        assert!(!holds(
            SECRET,
            &proof,
            Side::Connects,
            b"hello 1h",
            b"ello 0"
        ));
        assert!(!holds(
            b"guessed",
            &proof,
            Side::Connects,
            connects,
            accepts
        ));
        assert!(!holds(SECRET, b"", Side::Connects, connects, accepts));
    }

    #[test]
    fn no_number_is_drawn_twice() {
        assert_ne!(nonce(), nonce());
    }

    #[test]
    fn both_sides_find_the_same_difference() {
        let (connects, accepts) = (hello(3, 1), hello(0, 0));

        let expected = Some(Difference::Place { meant: 1, is: 0 });

        assert_eq!(difference(&connects, &accepts), expected);
        assert_eq!(difference(&accepts, &connects), expected);
        assert_eq!(difference(&hello(3, 0), &accepts), None);
    }

    #[test]
    fn other_options_are_said_as_they_are_typed() {
        let there = Hello {
            options: "--threads 2".to_owned(),
            ..hello(3, 0)
        };

        let difference = difference(&hello(0, 0), &there).unwrap();

        assert_eq!(
            difference.sentence(3),
            "process 3 runs with --threads 2, this one with --threads 1"
        );
    }

    #[test]
    fn another_version_is_said_before_anything_else() {
        let there = Hello {
            version: "2".to_owned(),
            fingerprint: "f2".to_owned(),
            ..hello(3, 0)
        };

        let difference = difference(&hello(0, 0), &there).unwrap();

        assert_eq!(difference.sentence(3), "process 3 is version 2, this is 1");
    }
}
