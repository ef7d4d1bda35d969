//! Money is moved, never made: in every commit the balances of all accounts add up to nothing, and
//! so does the total that is kept beside them.
//!
//! The run is killed around one commit after the other, so each is looked at as a reader would find it.
//! Accounts come, change and go all the while: one without money is not there.

use std::fmt::Write as _;
use std::path::Path;

use rusqlite::Connection;

use crate::support::{Exit, tidemark};

const PIPELINE: &str = "
CREATE TABLE transfers (payer INT NOT NULL, payee INT NOT NULL, cents BIGINT NOT NULL)
  WITH (connector = 'file', path = 'transfers/*.csv', format = 'csv');
CREATE VIEW entries AS
  SELECT payer AS account, -cents AS cents FROM transfers
  UNION ALL SELECT payee, cents FROM transfers;
CREATE VIEW held AS
  SELECT account, sum(cents) AS balance FROM entries GROUP BY account HAVING sum(cents) <> 0;
CREATE TABLE balances (account INT PRIMARY KEY, balance NUMERIC(38, 0))
  WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE totals (id BIGINT PRIMARY KEY, accounts BIGINT, total NUMERIC(38, 0))
  WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE sides (side TEXT PRIMARY KEY, accounts BIGINT, total NUMERIC(38, 0))
  WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO balances SELECT account, balance FROM held;
INSERT INTO totals SELECT 1, count(*), coalesce(sum(balance), 0) FROM held;
INSERT INTO sides
  SELECT CASE WHEN balance > 0 THEN 'owns' ELSE 'owes' END, count(*), sum(balance)
  FROM held GROUP BY CASE WHEN balance > 0 THEN 'owns' ELSE 'owes' END;
";

/// Every transfer is given back later by someone, so accounts come down to nothing again.
fn write(folder: &Path) {
    std::fs::create_dir(folder.join("transfers")).unwrap();
    for partition in 0..3_u64 {
        let mut csv = "payer,payee,cents\n".to_owned();
        for i in 0..240_u64 {
            let step = i.min(239 - i);
            let (payer, payee) = ((step * 7 + partition) % 11, (step * 5 + 3) % 11);
            let (payer, payee) = if i < 120 {
                (payer, payee)
            } else {
                (payee, payer)
            };
            let _ = writeln!(csv, "{payer},{payee},{}", 100 + step % 3);
        }
        std::fs::write(folder.join(format!("transfers/{partition}.csv")), csv).unwrap();
    }
    std::fs::write(folder.join("ledger.sql"), PIPELINE).unwrap();
}

/// How many accounts there are, after a look at whether it all adds up.
fn audit(folder: &Path, when: &str) -> i64 {
    let Ok(database) = Connection::open(folder.join("out.db")) else {
        return 0;
    };
    let ask = |sql: &str| database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
    let sum = "count(*), coalesce(sum(CAST(balance AS INTEGER)), 0) FROM balances";
    // Before the first commit there are no tables.
    let Ok((accounts, balance)) = ask(&format!("SELECT {sum}")) else {
        return 0;
    };
    let (accounts, balance): (i64, i64) = (accounts, balance);
    assert_eq!(balance, 0, "{when}: money was made");
    let kept = "coalesce(max(accounts), 0), coalesce(max(CAST(total AS INTEGER)), 0) FROM totals";
    assert_eq!(
        ask(&format!("SELECT {kept}")).unwrap(),
        (accounts, 0),
        "{when}"
    );
    let sides = "coalesce(sum(accounts), 0), coalesce(sum(CAST(total AS INTEGER)), 0) FROM sides";
    assert_eq!(
        ask(&format!("SELECT {sides}")).unwrap(),
        (accounts, 0),
        "{when}"
    );
    accounts
}

#[test]
fn no_commit_makes_money() {
    let (mut seen, mut most) = (0, 0);
    for commit in 1.. {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let arguments = ["run", "ledger.sql", "--quiet", "--threads", "2"];
        let text = commit.to_string();
        let variables = [
            ("TIDEMARK_TEST_PACE", "7"),
            ("TIDEMARK_TEST_BLOCK", "60"),
            ("TIDEMARK_CRASH_AT", text.as_str()),
        ];
        let ended = tidemark(folder.path(), &arguments, &variables);
        most = most.max(audit(folder.path(), &format!("commit {commit}")));
        if ended.how == Exit::Code(0) {
            break;
        }
        assert_eq!(ended.how, Exit::Aborted, "{}", ended.stderr);
        seen += 1;
        if commit % 8 == 0 {
            let ended = tidemark(folder.path(), &arguments, &variables[..2]);
            assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
            let left = audit(folder.path(), &format!("after commit {commit}"));
            assert_eq!(left, 0, "every transfer was given back");
        }
    }
    assert!(seen > 10, "{seen} commits");
    assert!(most > 5, "{most} accounts at most");
}
