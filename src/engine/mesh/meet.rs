//! How the processes of a cluster find each other: everyone connects with everyone.
//!
//! Process `j` connects to every `i < j` and is connected to by every `k > j`; with process 0 there
//! is a second connection, the one for control. Peers may come late, until the deadline. Each
//! handshake has its own thread and its own few seconds, so a connection that says nothing keeps
//! nobody waiting. Once all are here the door is closed: nobody listens while the run lasts.

use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tracing::warn;

use super::frame::why;
use super::handshake::{Apart, Identity};
use super::hello::Purpose;
use super::link::{Link, Until, harden};
use super::roll::{Missing, Outcome, Roll, Seat};
use super::start::{follow, lead};
use super::tls::Tls;
use super::{Unmet, VERSION};
use crate::dataflow::outcome::{Failure, Shared};
use crate::engine::threads::spawn_named;
use crate::types::Clock;

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How many who have not said who they are may be in the door at once.
const UNKNOWN_MAX: usize = 64;
/// How often the door is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long one waits before trying again, at first and at last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How much longer process 0 waits for the others to have met: their deadlines began later.
const OTHERS_MORE: Duration = Duration::from_secs(5);

/// A process that wants to be part of a cluster.
#[derive(Debug)]
pub struct Member {
    /// Which process it is.
    pub process: usize,
    /// Where each process listens (host:port), in order.
    pub addresses: Vec<String>,
    /// What all know and nobody else.
    pub secret: Vec<u8>,
    /// Which pipeline it runs.
    pub fingerprint: String,
    /// The options that all processes must have alike, as they are typed.
    pub options: String,
    /// Which start of a supervisor it belongs to.
    pub attempt: Option<u64>,
    /// How long to wait for the others.
    pub deadline: Duration,
    /// How long process 0 may be silent while it decides.
    pub heartbeat: Duration,
    /// Certificates, if connections are to be encrypted.
    pub tls: Option<Tls>,
    /// Where this process listens.
    pub listener: TcpListener,
}

/// A process that is part of a cluster.
#[derive(Debug)]
pub struct Joined {
    /// Which process it is.
    pub process: usize,
    /// How many there are.
    pub processes: usize,
    /// What process 0 decided.
    pub orders: Vec<u8>,
    /// Timely's connections, by process; none to itself.
    pub sockets: Vec<Option<Link>>,
    /// The control connections, by process: process 0 has one to each, the others one to it.
    pub control: Vec<Option<Link>>,
}

/// Waits for everyone, has process 0 decide, and returns when all can start, or when `shared` is
/// asked to stop.
pub fn meet(
    member: Member,
    shared: &Shared,
    orders: impl FnOnce() -> Result<Vec<u8>, Failure>,
) -> Result<Joined, Unmet> {
    let clock = Clock::machine();
    let (process, processes) = (member.process, member.addresses.len());
    let (deadline, heartbeat) = (member.deadline, member.heartbeat);
    let until = Until::after(&clock, deadline);
    let Outcome { links, failure } = gather(member, (shared, &clock), &until);
    let mut sockets: Vec<Option<Link>> = (0..processes).map(|_| None).collect();
    let mut control: Vec<Option<Link>> = (0..processes).map(|_| None).collect();
    for ((peer, purpose), link) in links {
        match purpose {
            Purpose::Data => sockets[peer] = Some(link),
            Purpose::Control => control[peer] = Some(link),
        }
    }
    let met = failure.map_or(Ok(()), Err);
    let orders = if process == 0 {
        let until = Until::after(&clock, until.left() + OTHERS_MORE);
        lead(
            &mut control,
            met,
            orders,
            (&until, heartbeat),
            (shared, &clock),
        )?
    } else {
        let first = Until::after(&clock, deadline + OTHERS_MORE);
        follow(
            &mut control[0],
            process,
            met,
            (first, heartbeat),
            (shared, &clock),
        )?
    };
    Ok(Joined {
        process,
        processes,
        orders,
        sockets,
        control,
    })
}

/// The seats of process `me`.
fn seats(me: usize, processes: usize) -> impl Iterator<Item = Seat> {
    let peers = (0..processes).filter(move |&peer| peer != me);
    peers.flat_map(move |peer| {
        let control = (me == 0 || peer == 0).then_some((peer, Purpose::Control));
        [(peer, Purpose::Data)].into_iter().chain(control)
    })
}

fn gather(member: Member, (shared, clock): (&Shared, &Clock), until: &Until) -> Outcome {
    let Member {
        process: me,
        addresses,
        deadline,
        listener,
        ..
    } = member;
    let identity = Arc::new(Identity {
        process: me,
        processes: addresses.len(),
        version: VERSION.to_owned(),
        secret: member.secret,
        fingerprint: member.fingerprint,
        options: member.options,
        attempt: member.attempt,
        tls: member.tls,
    });
    let roll = Arc::new(Roll::new(seats(me, addresses.len())));
    let mut threads = Vec::new();
    for seat in seats(me, addresses.len()).filter(|&(peer, _)| peer < me) {
        let (identity, roll) = (Arc::clone(&identity), Arc::clone(&roll));
        let (address, until) = (addresses[seat.0].clone(), until.clone());
        threads.push(spawn_named(&format!("meet-{}", seat.0), move || {
            dial(&identity, &roll, seat, &address, &until);
        }));
    }
    if me + 1 < addresses.len() {
        let (roll, clock) = (Arc::clone(&roll), clock.clone());
        threads.push(spawn_named("door", move || {
            keep_the_door(&listener, &identity, &roll, &clock);
        }));
    }
    let stops = || shared.is_stopping();
    let outcome = roll.wait(until, stops, |missing| {
        did_not_come(missing, &addresses, deadline)
    });
    if outcome.failure == Some(Unmet::Stopped) {
        // They notice by themselves; one may still try for seconds to reach somebody.
        return outcome;
    }
    for thread in threads {
        // A panic there has been said already; its seat is free, and that is the failure.
        let _ = thread.join();
    }
    outcome
}

fn did_not_come(missing: &Missing, addresses: &[String], deadline: Duration) -> Unmet {
    let Missing { free, troubles } = missing;
    let names: Vec<String> = free.iter().map(ToString::to_string).collect();
    let who = match names.split_last() {
        Some((last, [])) => format!("process {last}"),
        Some((last, rest)) => format!("processes {} and {last}", rest.join(", ")),
        None => "nobody".to_owned(),
    };
    let at: Vec<&str> = free.iter().map(|&peer| addresses[peer].as_str()).collect();
    let failure = Failure::new(format!(
        "{who} did not come within {} s ({})",
        deadline.as_secs_f64(),
        at.join(", ")
    ));
    let failure = troubles
        .iter()
        .fold(failure, |failure, (_, trouble)| failure.because(trouble));
    Unmet::Missing(failure.hint("start them, and look into their logs for why they ended"))
}

/// Tries to reach a process until it lets us in, refuses, or it is too late.
fn dial(identity: &Identity, roll: &Roll, seat: Seat, address: &str, until: &Until) {
    let (peer, _) = seat;
    let (mut pause, longest) = AGAIN;
    while !roll.is_over() && !until.left().is_zero() {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        let soon = until.at_most(HANDSHAKE_MAX);
        let joined = reach(address, &soon)
            .map_err(Apart::Broken)
            .and_then(|stream| identity.connect(stream, host, seat, &soon));
        match joined {
            Ok(link) => return roll.take(seat, link),
            Err(Apart::Different { difference, .. }) => {
                let failure = difference.refused_by(identity.process, peer);
                return roll.fail(Unmet::Failed(failure));
            }
            Err(Apart::Stranger(why)) => {
                let failure =
                    Failure::new(format!("what answers at {address} is not process {peer}"))
                        .because(why)
                        .hint("look at the --hosts file; and either all use --tls-cert or none");
                return roll.fail(Unmet::Failed(failure));
            }
            Err(Apart::Broken(error)) => {
                roll.trouble(
                    peer,
                    format!("process {peer} at {address}: {}", why(&error)),
                );
            }
        }
        std::thread::sleep(pause.min(until.left()));
        pause = (pause * 2).min(longest);
    }
}

fn reach(address: &str, until: &Until) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for socket in address.to_socket_addrs()? {
        let left = until.left().max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&socket, left) {
            Ok(stream) => {
                harden(&stream)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Lets in who belongs here, until all are here.
fn keep_the_door(
    listener: &TcpListener,
    identity: &Arc<Identity>,
    roll: &Arc<Roll>,
    clock: &Clock,
) {
    if let Err(error) = listener.set_nonblocking(true) {
        let failure = Failure::new("could not listen for the other processes").because(error);
        return roll.fail(Unmet::Failed(failure));
    }
    let unknown = Arc::new(AtomicUsize::new(0));
    while !roll.is_over() {
        match listener.accept() {
            Ok((stream, from)) => {
                if unknown.fetch_add(1, Ordering::SeqCst) >= UNKNOWN_MAX {
                    // Ours try again; the others need not.
                    unknown.fetch_sub(1, Ordering::SeqCst);
                    roll.stranger(from.ip(), "too many are in the door");
                    continue;
                }
                let (identity, roll) = (Arc::clone(identity), Arc::clone(roll));
                let (unknown, clock) = (Arc::clone(&unknown), clock.clone());
                spawn_named("handshake", move || {
                    let until = Until::after(&clock, HANDSHAKE_MAX);
                    greet(stream, from.ip(), (&identity, &roll), &until);
                    unknown.fetch_sub(1, Ordering::SeqCst);
                });
            }
            // Whatever it is (too many open files, a connection that ended already), others may
            // come; if none does, the deadline says so.
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// One handshake with someone who has come.
fn greet(
    stream: TcpStream,
    from: std::net::IpAddr,
    (identity, roll): (&Identity, &Roll),
    until: &Until,
) {
    if let Err(error) = stream.set_nonblocking(false).and_then(|()| harden(&stream)) {
        return roll.stranger(from, &error.to_string());
    }
    let claimed = std::cell::Cell::new(None);
    let claim = |peer, purpose| {
        roll.claim((peer, purpose))?;
        claimed.set(Some((peer, purpose)));
        Ok(())
    };
    match identity.accept(stream, &claim, until) {
        Ok((peer, purpose, link)) => return roll.take((peer, purpose), link),
        Err(Apart::Different { peer, difference }) => {
            let why = difference.sentence(peer);
            warn!(%from, why, hint = difference.hint(), "turned a process away");
            roll.trouble(peer, why);
        }
        Err(Apart::Stranger(why)) => roll.stranger(from, &why),
        Err(Apart::Broken(error)) => {
            let why = why(&error);
            roll.stranger(from, &format!("{why} before it was known who it is"));
        }
    }
    if let Some(seat) = claimed.get() {
        roll.release(seat);
    }
}
