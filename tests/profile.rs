//! `scripts/profile`: what it makes of perf's samples, and that it runs a scenario where perf may measure.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Two runs and something else, as `perf script` prints them.
const SAMPLES: &str = "\
timely:work-0  100/101     1.000000: cpu-clock:
\t    55d0 tidemark::inner<&T>+0x1f
\t    55d1 tidemark::outer::h0123456789abcdef

timely:work-1  100/102     1.002000: cpu-clock:
\t    55d0 tidemark::inner<&T>+0x2e (/bin/tidemark)
\t    55d1 tidemark::outer+0x5 (/bin/tidemark)

commit  100/103     1.004000: cpu-clock:
\t    55d2 write+0x5 ([kernel.kallsyms])

timely:work-0  200/201     2.000000: cpu-clock:
\t    55d1 tidemark::outer+0x9

read-0  300/301     3.000000: cpu-clock:
\t    55d3 no_worker_ran_here+0x1
";

fn profile(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/profile");
    let mut child = Command::new("timeout")
        .arg("120")
        .arg(script)
        .args(arguments)
        .current_dir(folder)
        .env("TIDEMARK", env!("CARGO_BIN_EXE_tidemark"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn has(what: &str, command: &[&str]) -> bool {
    let mut command_ = Command::new(command[0]);
    let ended = command_.args(&command[1..]).output();
    let found = ended.is_ok_and(|ended| ended.status.success());
    if !found {
        eprintln!("skipped: there is no {what}");
    }
    found
}

#[test]
fn stacks_of_runs_are_folded_and_drawn() {
    if !has("python3", &["python3", "--version"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();

    let ended = profile(folder.path(), &["--fold", "totals"], SAMPLES);

    let said = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(
        said,
        " 50.0 %  tidemark::inner<&T>\n 25.0 %  write\n 25.0 %  tidemark::outer\n"
    );
    let page = fs::read_to_string(folder.path().join("totals.svg")).unwrap();
    for title in [
        "all: 4 samples, 100.00 %",
        "timely:work: 3 samples, 75.00 %",
        "tidemark::outer: 3 samples, 75.00 %",
        "tidemark::inner&lt;&amp;T&gt;: 2 samples, 50.00 %",
        "commit: 1 samples, 25.00 %",
    ] {
        assert!(page.contains(&format!("<title>{title}</title>")), "{page}");
    }
    assert!(!page.contains("no_worker_ran_here"));
    assert!(page.starts_with("<svg ") && page.ends_with("</svg>\n"));
}

#[test]
fn samples_without_a_worker_are_an_error_that_says_what_to_do() {
    if !has("python3", &["python3", "--version"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();

    let ended = profile(folder.path(), &["--fold", "totals"], "");

    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("no sample is of a worker"), "{said}");
    assert!(said.contains("--rows"), "{said}");
    assert!(!folder.path().join("totals.svg").exists());
}

#[test]
fn a_scenario_is_run_under_perf() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let trial = path("trial");
    let record = ["perf", "record", "--quiet", "--output", &trial, "true"];
    if !has("python3", &["python3", "--version"]) || !has("perf that may measure", &record) {
        return;
    }
    let (out, data) = (path("out.svg"), path("data"));
    let arguments = ["files_window_low", "--out", &out, "--"];
    let few = ["--rows", "50000", "--data", &data];

    let ended = profile(folder.path(), &[&arguments[..], &few].concat(), "");

    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{said}");
    let page = fs::read_to_string(out).unwrap();
    // Whatever else it does, a worker of this scenario decodes.
    assert!(page.contains("JsonDecoder"), "{said}");
}
