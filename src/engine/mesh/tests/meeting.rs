//! Who meets, who is turned away, and what each is told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::super::{FAILED, PEER_LOST, Unmet, meet};
use super::{Later, get_all, members, orders, said, start, start_all};
use crate::dataflow::outcome::{Failure, Shared};

fn all_join(processes: usize) {
    let joined = get_all(start_all(members(processes)));

    for (process, joined) in joined.into_iter().enumerate() {
        let joined = joined.unwrap();
        assert_eq!((joined.process, joined.processes), (process, processes));
        assert_eq!(joined.orders, b"begin at 7");
        for (peer, socket) in joined.sockets.iter().enumerate() {
            assert_eq!(socket.is_some(), peer != process);
        }
        for (peer, control) in joined.control.iter().enumerate() {
            let expected = peer != process && (peer == 0 || process == 0);
            assert_eq!(control.is_some(), expected, "{process} with {peer}");
        }
    }
}

#[test]
fn one_process_is_a_cluster_of_one() {
    all_join(1);
}

#[test]
fn three_processes_meet_and_have_the_same_orders() {
    all_join(3);
}

#[test]
fn ten_processes_meet_and_have_the_same_orders() {
    all_join(10);
}

#[test]
fn a_connection_leads_to_the_process_that_it_is_listed_for() {
    let joined = get_all(start_all(members(4)));
    let mut joined: Vec<_> = joined.into_iter().map(Result::unwrap).collect();

    for (from, joined) in (0..).zip(&mut joined) {
        for link in joined.sockets.iter_mut().flatten() {
            link.write_all(&[from]).unwrap();
        }
    }

    for joined in &mut joined {
        for (from, link) in joined.sockets.iter_mut().enumerate() {
            let Some(link) = link else { continue };
            let mut byte = [0xff];
            link.set_timeouts(Some(Duration::from_secs(10))).unwrap();
            link.read_exact(&mut byte).unwrap();
            assert_eq!(usize::from(byte[0]), from);
        }
    }
}

#[test]
fn a_process_that_nobody_listens_for_yet_is_waited_for() {
    let mut members = members(2);
    let late = members.remove(0);
    let address = late.addresses[0].clone();
    // Nobody listens at the address of process 0 when process 1 begins.
    drop(late.listener);
    let early = start(members.remove(0));
    let listener = TcpListener::bind(&address).unwrap();

    let late = start(super::Member { listener, ..late });

    assert!(late.get().is_ok());
    assert!(early.get().is_ok());
}

#[test]
fn who_did_not_come_is_named_with_its_address() {
    let mut members = members(4);
    for member in &mut members {
        member.deadline = Duration::from_millis(600);
    }
    let addresses = members[0].addresses.clone();
    let (three, one) = (members.pop().unwrap(), members.remove(1));
    drop((three, one));

    let results = get_all(start_all(members));

    let expected = format!(
        "processes 1 and 3 did not come within 0.6 s ({}, {})",
        addresses[1], addresses[3]
    );
    for result in results {
        let unmet = result.expect_err("two are missing");
        assert_eq!(unmet.exit_code(), PEER_LOST);
        let text = said(Err(unmet));
        assert!(text.contains(&expected), "{text}");
    }
}

/// Process 1 differs: what both sides say in the end.
fn refusal(differ: impl FnOnce(&mut super::Member)) -> (String, String) {
    let mut members = members(2);
    members[0].deadline = Duration::from_secs(1);
    differ(&mut members[1]);
    let mut results = get_all(start_all(members)).into_iter();
    let zero = results.next().unwrap();
    let one = results.next().unwrap();
    assert_eq!(one.as_ref().unwrap_err().exit_code(), FAILED);
    (said(zero), said(one))
}

#[test]
fn another_secret_is_refused_on_both_sides() {
    let (zero, one) = refusal(|member| member.secret = b"guessed".to_vec());

    assert!(zero.contains("process 1 has another secret"), "{zero}");
    assert!(one.contains("process 0 has another secret"), "{one}");
    assert!(one.contains("TIDEMARK_CLUSTER_SECRET"), "{one}");
}

#[test]
fn another_pipeline_is_refused_on_both_sides() {
    let (zero, one) = refusal(|member| member.fingerprint = "f2".to_owned());

    assert!(
        zero.contains("process 1 runs another pipeline file"),
        "{zero}"
    );
    assert!(
        one.contains("process 0 runs another pipeline file"),
        "{one}"
    );
}

#[test]
fn a_process_of_an_earlier_start_is_refused_on_both_sides() {
    let (zero, one) = refusal(|member| member.attempt = Some(2));

    assert!(
        zero.contains("process 1 belongs to start 2, this one to start 1"),
        "{zero}"
    );
    assert!(
        one.contains("process 0 belongs to start 1, this one to start 2"),
        "{one}"
    );
}

#[test]
fn another_number_of_processes_is_refused_on_both_sides() {
    let (zero, one) = refusal(|member| member.addresses.push("127.0.0.1:9".to_owned()));

    assert!(
        zero.contains("process 1 is one of 3 processes, this is one of 2"),
        "{zero}"
    );
    assert!(
        one.contains("process 0 is one of 2 processes, this is one of 3"),
        "{one}"
    );
}

#[test]
fn an_address_of_another_process_is_refused() {
    let mut members = members(3);
    members
        .iter_mut()
        .for_each(|m| m.deadline = Duration::from_secs(1));
    members[2].addresses.swap(0, 1);

    let mut results = get_all(start_all(members));

    let two = said(results.pop().unwrap());
    assert!(
        two.contains("the address of process 0 is that of process 1")
            || two.contains("the address of process 1 is that of process 0"),
        "{two}"
    );
}

#[test]
fn a_second_process_of_one_number_is_refused_and_the_first_goes_on() {
    let mut members = members(3);
    let copy = |member: &super::Member| super::Member {
        process: member.process,
        addresses: member.addresses.clone(),
        secret: member.secret.clone(),
        fingerprint: member.fingerprint.clone(),
        options: member.options.clone(),
        attempt: member.attempt,
        deadline: member.deadline,
        heartbeat: member.heartbeat,
        tls: None,
        listener: TcpListener::bind("127.0.0.1:0").unwrap(),
    };
    // Of the two processes 1 one is refused; process 2 lets in neither before it begins itself.
    let twins = [copy(&members[1]), members.remove(1)];
    let two = members.pop().unwrap();
    let zero = start(members.pop().unwrap());
    let twins = twins.map(start);
    let [first, second] = twins.map(|twin| twin.0);
    // The one that ends before process 2 is there can only be the one that was refused.
    let (refused, other) = first_of(first, second);
    assert!(said(refused).contains("process 1 is already here"));

    // Process 2 cannot reach the copy, which listens elsewhere, but the copy is not needed.
    drop((zero, other, two));
}

type Ends = std::sync::mpsc::Receiver<Result<super::Joined, Unmet>>;

fn first_of(one: Ends, other: Ends) -> (Result<super::Joined, Unmet>, Ends) {
    loop {
        if let Ok(result) = one.recv_timeout(Duration::from_millis(20)) {
            return (result, other);
        }
        if let Ok(result) = other.recv_timeout(Duration::from_millis(20)) {
            return (result, one);
        }
    }
}

#[test]
fn strangers_harm_nothing() {
    let mut members = members(2);
    let zero_at = members[0].addresses[0].clone();
    let one = members.pop().unwrap();
    let zero = start(members.pop().unwrap());

    // One that says nothing, one that asks for a page, one that hangs up, one that announces too much.
    let silent = TcpStream::connect(&zero_at).unwrap();
    let mut page = TcpStream::connect(&zero_at).unwrap();
    page.write_all(b"GET / HTTP/1.1\r\nHost: tidemark\r\n\r\n")
        .unwrap();
    drop(TcpStream::connect(&zero_at).unwrap());
    let mut greedy = TcpStream::connect(&zero_at).unwrap();
    greedy.write_all(b"TIDEMARK\xff\xff\xff\xff").unwrap();
    page.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut rest = Vec::new();
    // It is hung up on, with or without a reset; never answered.
    let _ = page.read_to_end(&mut rest);
    assert!(rest.is_empty());

    // The silent one is still in the door.
    assert!(start(one).get().is_ok());
    assert!(zero.get().is_ok());
    drop(silent);
}

#[test]
fn what_answers_but_is_no_process_is_said_at_once() {
    let mut members = members(2);
    let one = members.pop().unwrap();
    let zero = members.pop().unwrap();
    let server = Later::of(move || {
        let (mut stream, _) = zero.listener.accept().unwrap();
        stream.write_all(b"220 mail.example.org ready\r\n").unwrap();
        stream
    });

    let text = said(start(one).get());

    assert!(text.contains("is not process 0"), "{text}");
    assert!(text.contains("220 mail"), "{text}");
    drop(server.get());
}

#[test]
fn if_process_0_cannot_decide_nobody_starts_and_all_say_why() {
    let mut members = members(3);
    let others = members.split_off(1);
    let zero = members.remove(0);
    let zero = Later::of(|| {
        meet(zero, &Shared::default(), || {
            Err(Failure::new("cannot take over `orders`")
                .because("the table is gone")
                .hint("start over with --fresh"))
        })
    });

    let others = get_all(start_all(others));

    assert_eq!(
        said(zero.get()),
        "cannot take over `orders`\nthe table is gone\nstart over with --fresh"
    );
    for other in others {
        assert_eq!(other.as_ref().unwrap_err().exit_code(), FAILED);
        assert_eq!(
            said(other),
            "process 0: cannot take over `orders`\nthe table is gone\nstart over with --fresh"
        );
    }
}

#[test]
fn a_decision_may_take_longer_than_the_heartbeat() {
    let mut members = members(2);
    for member in &mut members {
        // Process 0 beats every second.
        member.heartbeat = Duration::from_millis(1500);
    }
    let (one, zero) = (members.pop().unwrap(), members.pop().unwrap());
    let (decide, decided) = std::sync::mpsc::sync_channel::<()>(1);
    let zero = Later::of(move || {
        meet(zero, &Shared::default(), move || {
            // Decided by nobody: the wait itself is what takes long.
            let _ = decided.recv_timeout(Duration::from_secs(3));
            orders()
        })
    });
    let one = start(one);

    assert!(one.get().is_ok());
    assert!(zero.get().is_ok());
    drop(decide);
}

#[test]
fn whoever_waits_for_others_and_is_asked_to_stop_does() {
    let both = members(2);
    let mut waiting = Vec::new();
    for mut member in both {
        // Nobody answers there.
        let other = 1 - member.process;
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        member.addresses[other] = silent.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        let stops = Arc::clone(&shared);
        let met = Later::of(move || meet(member, &shared, orders));
        waiting.push((met, stops, silent));
    }

    for (met, stops, _silent) in waiting {
        stops.stop();
        assert_eq!(met.get().unwrap_err(), Unmet::Stopped);
    }
}

#[test]
fn whoever_is_asked_to_stop_while_process_0_decides_stops_all() {
    let mut members = members(3);
    let others = members.split_off(1);
    let zero = members.remove(0);
    let (decide, decided) = std::sync::mpsc::sync_channel::<()>(1);
    let (begin, begun) = std::sync::mpsc::sync_channel::<()>(1);
    let zero = Later::of(move || {
        meet(zero, &Shared::default(), move || {
            begin.send(()).unwrap();
            decided.recv_timeout(super::LIMIT).unwrap();
            orders()
        })
    });
    let shared = Arc::new(Shared::default());
    let others: Vec<_> = others
        .into_iter()
        .map(|member| {
            let shared = match member.process {
                2 => Arc::clone(&shared),
                _ => Arc::default(),
            };
            Later::of(move || meet(member, &shared, orders))
        })
        .collect();
    begun.recv_timeout(super::LIMIT).unwrap();

    shared.stop();
    let mut others = others.into_iter();
    let first = others.next().unwrap();
    let stopped = others.next().unwrap().get();
    decide.send(()).unwrap();

    assert_eq!(stopped.unwrap_err(), Unmet::Stopped);
    assert_eq!(zero.get().unwrap_err(), Unmet::Stopped);
    assert_eq!(first.get().unwrap_err(), Unmet::Stopped);
}

#[test]
fn a_process_that_dies_while_the_others_wait_is_lost() {
    let mut members = members(2);
    let (one, zero) = (members.pop().unwrap(), members.pop().unwrap());
    let (decide, decided) = std::sync::mpsc::sync_channel::<()>(1);
    let zero = Later::of(move || {
        meet(zero, &Shared::default(), move || {
            decided.recv_timeout(super::LIMIT).unwrap();
            panic!("process 0 dies while it decides")
        })
    });
    let one = start(one);
    decide.send(()).unwrap();

    let one = one.get().unwrap_err();

    assert_eq!(one.exit_code(), PEER_LOST);
    assert!(
        matches!(&one, Unmet::Lost(gone) if gone.process == 0),
        "{one:?}"
    );
    drop(zero);
}
