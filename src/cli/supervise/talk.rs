//! What a supervisor and its processes say to each other: a line of JSON each, over a socket pair
//! that is the process' standard input. Nothing can connect to it, and when either end dies the
//! other sees an end: a process without a supervisor ends at once, so none is left behind.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::engine::Ends;

/// What a process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Begin.
    Start(Start),
    /// Stop after the open epoch.
    Stop,
}

/// What a process needs to know of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Which start this is.
    pub attempt: u64,
    /// Which process it is.
    pub process: usize,
    /// Where each process listens, in order.
    pub addresses: Vec<String>,
    /// What all know and nobody else; new for every start.
    pub secret: Vec<u8>,
    /// Whether to empty the tables first: no longer, once a start has done it.
    pub fresh: bool,
    /// Where the sources end, if a start has found out: with --until-caught-up.
    pub ends: Option<Ends>,
}

/// What a process says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// It listens there.
    Listens(String),
    /// The start is decided: the destinations are taken over, and the workers begin. Where the
    /// sources end, if they do.
    Running(Option<Ends>),
}

/// Says one thing.
pub fn say(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what).expect("what is said is plain data");
    line.push(b'\n');
    to.write_all(&line)
}
