//! The servers of `scripts/services`, for tests that need one.

use std::io::Write as _;
use std::path::Path;

use postgres::{Client, NoTls};

/// A connection to the test database, or None where no service was started: a test that needs it
/// then says that it was skipped. `scripts/test` does not allow that.
pub fn postgres(test: &str) -> Option<Client> {
    postgres_with_url(test).map(|(client, _)| client)
}

/// As `postgres`, with the address for others to connect to.
pub fn postgres_with_url(test: &str) -> Option<(Client, String)> {
    let Some(url) = variable("TIDEMARK_TEST_DATABASE_URL") else {
        let required = std::env::var_os("TIDEMARK_TEST_SERVICES").is_some();
        assert!(!required, "{test} needs PostgreSQL, which is not up");
        // Not `eprintln!`: that is shown for failed tests only.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {test} needs PostgreSQL; `scripts/services up postgres` starts it"
        );
        return None;
    };
    let client = Client::connect(&url, NoTls);
    let client = client.unwrap_or_else(|e| panic!("{test} could not reach PostgreSQL: {e}"));
    Some((client, url))
}

/// The address of the broker, or None where none was started.
pub fn kafka(test: &str) -> Option<String> {
    let found = variable("TIDEMARK_TEST_KAFKA");
    if found.is_none() {
        let required = std::env::var_os("TIDEMARK_TEST_SERVICES").is_some();
        assert!(!required, "{test} needs Kafka, which is not up");
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {test} needs Kafka; `scripts/services up kafka` starts it"
        );
    }
    found
}

/// The address of the S3 server, or None where none was started. Nothing demands it: it takes a
/// hundred megabytes of Python.
pub fn s3(test: &str) -> Option<String> {
    let found = variable("TIDEMARK_TEST_S3");
    if found.is_none() {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {test} needs an S3 server; `scripts/services up s3` starts one"
        );
    }
    found
}

/// A variable of the environment, or of what `scripts/services` wrote.
fn variable(name: &str) -> Option<String> {
    if let Ok(value) = std::env::var(name) {
        return Some(value);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(".services/env");
    let text = std::fs::read_to_string(file).ok()?;
    let mut lines = text.lines();
    lines.find_map(|line| {
        Some(
            line.strip_prefix("export ")?
                .strip_prefix(name)?
                .strip_prefix('=')?
                .to_owned(),
        )
    })
}

#[test]
fn the_test_database_sorts_like_c_and_thinks_in_utc() {
    let Some(mut client) = postgres("this test") else {
        return;
    };

    let row = client
        .query_one("SELECT 'B' < 'a', current_setting('timezone')", &[])
        .unwrap();

    assert!(row.get::<_, bool>(0));
    assert_eq!(row.get::<_, &str>(1), "UTC");
}
