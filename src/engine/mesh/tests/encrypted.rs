//! The same over TLS, with certificates made for the test.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Control, Duty, Joined, Steps, Tls};
use super::running::rows_cross;
use super::{Later, get_all, members, said, start_all};
use crate::dataflow::outcome::Shared;
use crate::types::Clock;

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An authority and a certificate for 127.0.0.1 signed by it.
fn certificates(folder: &Path) -> Tls {
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder,
        &format!("{new} -x509 -days 2 -subj /CN=authority -keyout ca.key -out ca.pem"),
    );
    openssl(
        folder,
        &format!("{new} -subj /CN=process -keyout own.key -out own.csr"),
    );
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        folder,
        "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
         -extfile names -out own.pem",
    );
    let at = |name| folder.join(name);
    Tls::read(&at("own.pem"), &at("own.key"), &at("ca.pem")).unwrap()
}

fn joined(processes: usize) -> Vec<Joined> {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificates(folder.path());
    let mut members = members(processes);
    for member in &mut members {
        member.tls = Some(tls.clone());
    }
    let joined = get_all(start_all(members));
    joined.into_iter().map(Result::unwrap).collect()
}

#[test]
fn rows_cross_encrypted_connections() {
    rows_cross(joined(3), 2);
}

#[test]
fn summaries_cross_encrypted_connections() {
    let done: Vec<_> = joined(3)
        .into_iter()
        .map(|joined| {
            Later::of(move || {
                let duty = Duty {
                    shared: Arc::new(Shared::default()),
                    steps: Arc::new(Steps::new(1)),
                    heartbeat: Duration::from_secs(30),
                    clock: Clock::machine(),
                    word: Box::new(|_| ()),
                    end: Box::new(|failure, _| panic!("{failure}")),
                };
                let control = Control::start(joined.control, joined.process, duty).unwrap();
                // More than any buffer on the way holds.
                control.finish(vec![7; 3 << 20])
            })
        })
        .collect();

    let mut done = done.into_iter().map(|done| done.get().unwrap());

    assert_eq!(done.next().unwrap(), vec![vec![7; 3 << 20]; 3]);
    assert!(done.all(|none| none.is_empty()));
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut members = members(2);
    members[0].deadline = Duration::from_secs(1);
    members[0].tls = Some(certificates(ours.path()));
    members[1].tls = Some(certificates(theirs.path()));

    let mut results = get_all(start_all(members));

    let one = said(results.pop().unwrap());
    assert!(one.contains("no TLS: invalid peer certificate"), "{one}");
    let zero = said(results.pop().unwrap());
    assert!(zero.contains("process 1 did not come"), "{zero}");
}

#[test]
fn a_process_without_tls_is_not_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = members(2);
    members[0].deadline = Duration::from_secs(1);
    members[0].tls = Some(certificates(folder.path()));

    let mut results = get_all(start_all(members));

    let one = said(results.pop().unwrap());
    assert!(one.contains("either all use --tls-cert or none"), "{one}");
    let zero = said(results.pop().unwrap());
    assert!(zero.contains("process 1 did not come"), "{zero}");
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.pem");
    std::fs::write(&path, "").unwrap();

    let failure = Tls::read(&path, &path, &path).unwrap_err();

    assert!(failure.message.contains("empty.pem"), "{failure}");
}
