//! Processes as threads of one test, over the loopback.

mod encrypted;
mod meeting;
mod running;

use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use super::{Joined, Member, Unmet, meet};
use crate::dataflow::outcome::{Failure, Shared};
use crate::engine::threads::spawn_named;

/// Longer than anything here takes: a test that hangs fails.
const LIMIT: Duration = Duration::from_secs(60);

/// So many members that have not met yet.
fn members(processes: usize) -> Vec<Member> {
    let listeners: Vec<TcpListener> = (0..processes)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let addresses: Vec<String> = listeners.iter().map(address).collect();
    let member = |(process, listener)| Member {
        process,
        addresses: addresses.clone(),
        secret: b"between us".to_vec(),
        fingerprint: "f1".to_owned(),
        options: "--threads 1".to_owned(),
        attempt: Some(1),
        deadline: Duration::from_secs(20),
        heartbeat: Duration::from_secs(10),
        tls: None,
        listener,
    };
    listeners.into_iter().enumerate().map(member).collect()
}

/// The result of something that goes on meanwhile.
struct Later<T>(Receiver<T>);

impl<T: Send + 'static> Later<T> {
    fn of(what: impl FnOnce() -> T + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(1);
        spawn_named("member", move || {
            let _ = sender.send(what());
        });
        Self(receiver)
    }

    fn get(self) -> T {
        self.0.recv_timeout(LIMIT).expect("it ends in time")
    }
}

fn orders() -> Result<Vec<u8>, Failure> {
    Ok(b"begin at 7".to_vec())
}

fn start(member: Member) -> Later<Result<Joined, Unmet>> {
    Later::of(|| meet(member, &Shared::default(), orders))
}

fn start_all(members: Vec<Member>) -> Vec<Later<Result<Joined, Unmet>>> {
    members.into_iter().map(start).collect()
}

fn get_all(starting: Vec<Later<Result<Joined, Unmet>>>) -> Vec<Result<Joined, Unmet>> {
    starting.into_iter().map(Later::get).collect()
}

/// A failure and all it says.
fn said(result: Result<Joined, Unmet>) -> String {
    let failure = Failure::from(result.expect_err("it must not join"));
    let mut lines = vec![failure.message];
    lines.extend(failure.causes);
    lines.extend(failure.hint);
    lines.join("\n")
}
