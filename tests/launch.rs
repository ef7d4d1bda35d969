//! `scripts/launch` with a program that is none: it says what it was given, and ends as it is told.

mod ssh;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Says what it was given; `$PROCESS` is its number.
const PROGRAM: &str = r#"#!/bin/sh
for last; do
  [ "$before" = --process ] && PROCESS=$last
  [ "$before" = --hosts ] && HOSTS=$last
  before=$last
done
echo "arguments $1 $2 $3, secret $TIDEMARK_CLUSTER_SECRET, hosts $(tr '\n' ' ' <"$HOSTS")" >&2
"#;
/// A machine that is this one: `ssh HOST SCRIPT`.
const SSH: &str =
    "#!/bin/sh\necho \"$1\" >>hosts-reached\nunset TIDEMARK_CLUSTER_SECRET\nexec sh -c \"$2\"\n";
/// Waits to be ended, and says when it can be.
const WAITS: &str =
    "trap 'echo stopped >&2; kill $!; exit 0' TERM\nsleep 60 &\necho waits >&2\nwait\n";

/// A folder with the program, which ends with `ending`.
fn folder(ending: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("program", format!("{PROGRAM}{ending}")),
        ("ssh", SSH.into()),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn launch(folder: &Path, arguments: &[&str]) -> Child {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/launch");
    Command::new("timeout")
        // A signal is passed on once: without this also to the group, and twice means at once.
        .args(["--foreground", "30"])
        .arg(script)
        .args(arguments)
        .current_dir(folder)
        .env("TIDEMARK", folder.join("program"))
        .env("TIDEMARK_SSH", folder.join("ssh"))
        .env("TIDEMARK_CLUSTER_SECRET", "between us")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ended(child: Child) -> (Option<i32>, Vec<String>) {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    (status.code(), lines)
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no python3");
    }
    found
}

#[test]
fn processes_elsewhere_are_given_the_secret_and_the_hosts() {
    if !has_python() {
        return;
    }
    let folder = folder("exit 0");
    let hosts = "127.0.0.1:2101 # here\n\n# and there\nbox.example:2101\n";
    fs::write(folder.path().join("hosts"), hosts).unwrap();

    let arguments = ["--hosts", "hosts", "a b.sql", "--threads", "2"];
    let (code, lines) = ended(launch(folder.path(), &arguments));

    let said = "arguments run a b.sql --threads, secret between us, \
                hosts 127.0.0.1:2101 box.example:2101 ";
    assert_eq!(lines, [format!("[0] {said}"), format!("[1] {said}")]);
    assert_eq!(code, Some(0));
    let reached = fs::read_to_string(folder.path().join("hosts-reached")).unwrap();
    assert_eq!(reached, "box.example\n");
}

#[test]
fn when_one_ends_badly_all_end_with_its_code() {
    if !has_python() {
        return;
    }
    let folder = folder("[ $PROCESS = 1 ] && exit 75\nexec sleep 60");

    let (code, _) = ended(launch(folder.path(), &["3", "pipeline.sql"]));

    assert_eq!(code, Some(75));
}

#[test]
fn a_signal_stops_all_and_that_is_a_clean_end() {
    use std::io::{BufRead, BufReader};
    if !has_python() {
        return;
    }
    let folder = folder(WAITS);

    let mut child = launch(folder.path(), &["3", "pipeline.sql"]);
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let waiting = log.by_ref().map(Result::unwrap);
    assert_eq!(
        waiting
            .filter(|line| line.ends_with("waits"))
            .take(3)
            .count(),
        3
    );
    // `timeout` passes it on.
    let pid = child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());

    let rest = log.map(Result::unwrap);
    assert_eq!(rest.filter(|line| line.ends_with("stopped")).count(), 3);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
