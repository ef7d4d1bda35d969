//! What a PostgreSQL database holds after a start, an epoch, and a second process.
//!
//! Each test has a schema of its own in the database of `scripts/services`.

mod faults;
mod tables;
mod values;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use postgres::{Client, NoTls};

use super::address::{Address, Surroundings};
use super::destination::Postgres;
use super::plan::Spec;
use super::session::Limits;
use crate::connector::{ConnectorError, Destination, SinkTable, TableChanges};
use crate::types::{Epoch, Mark, Recipe};

/// A schema of the test database, gone with the test.
struct Scratch {
    url: String,
    schema: String,
    client: Client,
}

impl Scratch {
    /// None, with a word about it, where there is no server.
    fn new(test: &str) -> Option<Self> {
        let Some(url) = variable("TIDEMARK_TEST_DATABASE_URL") else {
            let required = std::env::var_os("TIDEMARK_TEST_SERVICES").is_some();
            assert!(!required, "{test} needs PostgreSQL, which is not up");
            let _ = writeln!(
                std::io::stderr(),
                "skipped: {test} needs PostgreSQL; `scripts/services up postgres` starts it"
            );
            return None;
        };
        let mut client = Client::connect(&url, NoTls).unwrap();
        let schema = format!("unit_{test}");
        client
            .batch_execute(&format!(
                "set client_min_messages = warning; set statement_timeout = '60s';
                 drop schema if exists {schema} cascade;
                 create schema {schema}; set search_path = {schema}"
            ))
            .unwrap();
        Some(Self {
            url,
            schema,
            client,
        })
    }

    fn address(&self) -> Address {
        let path = format!("-csearch_path={}", self.schema);
        address(&self.url, &[("options", &path)])
    }

    fn open(&self, pipeline: &str, table: SinkTable) -> Postgres {
        self.open_all(pipeline, vec![table])
    }

    fn open_all(&self, pipeline: &str, tables: Vec<SinkTable>) -> Postgres {
        let specs = tables
            .into_iter()
            .map(|table| Spec::new(table, None, None).unwrap());
        Postgres::new(self.address(), LIMITS, pipeline, specs.collect())
    }

    fn execute(&mut self, sql: &str) {
        self.client.batch_execute(sql).unwrap();
    }

    fn pairs(&mut self, sql: &str) -> Vec<(String, i64)> {
        let rows = self.client.query(sql, &[]).unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    fn content(&mut self) -> Vec<(String, i64)> {
        self.pairs("select page, views from counts order by 1, 2")
    }

    fn text(&mut self, sql: &str) -> String {
        self.client.query_one(sql, &[]).unwrap().get(0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let sql = format!("drop schema if exists {} cascade", self.schema);
        // A failing test has said more than this could.
        let _ = self.client.batch_execute(&sql);
    }
}

const LIMITS: Limits = Limits {
    statement: Duration::from_secs(20),
    lock: Duration::from_secs(2),
};

fn address(url: &str, given: &[(&str, &str)]) -> Address {
    let surroundings = Surroundings {
        variable: &|_| None,
        file: &|_| None,
        private: &|_| true,
    };
    Address::parse(url, given, &surroundings).unwrap()
}

/// A variable of the environment, or of what `scripts/services` wrote.
fn variable(name: &str) -> Option<String> {
    if let Ok(value) = std::env::var(name) {
        return Some(value);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(".services/env");
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let rest = line.strip_prefix("export ")?.strip_prefix(name)?;
        Some(rest.strip_prefix('=')?.to_owned())
    })
}

fn counts(key: &[usize]) -> SinkTable {
    SinkTable {
        name: "counts".to_owned(),
        target: "counts".to_owned(),
        schema: Arc::new(Schema::new(vec![
            Field::new("page", DataType::Utf8, false),
            Field::new("views", DataType::Int64, true),
        ])),
        key: key.to_vec(),
    }
}

fn other(key: &[usize]) -> SinkTable {
    SinkTable {
        target: "other".to_owned(),
        ..counts(key)
    }
}

fn mark(epoch: u64) -> Mark {
    Mark {
        generation: 1,
        life: 0,
        incarnation: u64::MAX,
        epoch: Epoch(epoch),
        recipe: Recipe {
            fingerprint: "it's a \\ f".to_owned(),
            ..Recipe::default()
        },
        sources: BTreeMap::new(),
    }
}

fn rows(pages: &[&str], views: &[i64]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(pages.to_vec())),
        Arc::new(Int64Array::from(views.to_vec())),
    ];
    RecordBatch::try_new(counts(&[]).schema, columns).unwrap()
}

fn upserts(pages: &[&str], views: &[i64]) -> TableChanges {
    inserted(rows(pages, views))
}

fn inserted(batch: RecordBatch) -> TableChanges {
    TableChanges {
        table: 0,
        upserts: Some(batch),
        deletes: None,
    }
}

fn keys(pages: &[&str]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringArray::from(pages.to_vec()));
    RecordBatch::try_from_iter([("page", column)]).unwrap()
}

fn pair(page: &str, views: i64) -> (String, i64) {
    (page.to_owned(), views)
}

/// The message and the hint of a refusal.
fn refusal<T: Debug>(outcome: Result<T, ConnectorError>) -> (String, String) {
    match outcome {
        Err(ConnectorError::Permanent { message, hint }) => (message, hint.unwrap()),
        other => panic!("not refused: {other:?}"),
    }
}
