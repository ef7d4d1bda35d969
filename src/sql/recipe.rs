//! What a file's rows are computed by, statement by statement, so that a run that is refused for it
//! can say which one has changed.
//!
//! A table counts by what its rows depend on, so that another broker is no change; a view and an
//! INSERT by their words, whatever the spaces, comments and capitals between them.

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use super::normalise;
use super::statement::{Kind, Statement};
use crate::plan::Pipeline;
use crate::types::Recipe;

/// A view or an INSERT: its name, and a hash of its words.
pub struct Words {
    /// What it declares, or writes to.
    name: String,
    is_view: bool,
    hash: String,
}

/// The views and INSERTs among the statements, as they are written.
pub fn words(statements: &[Statement]) -> Vec<Words> {
    let words = statements.iter().filter_map(|statement| {
        let (name, is_view) = match &statement.kind {
            Kind::CreateView { name, .. } => (name, true),
            Kind::Insert { table, .. } => (table, false),
            Kind::Set { .. } | Kind::CreateTable(_) | Kind::Broken { .. } => return None,
        };
        Some(Words {
            name: normalise(name),
            is_view,
            hash: short_hash(&statement.words),
        })
    });
    words.collect()
}

/// The recipe of a pipeline, of whose file these are the views and INSERTs.
pub fn of(pipeline: &Pipeline, words: &[Words]) -> Recipe {
    let mut statements = BTreeMap::new();
    for (name, value) in settings(pipeline) {
        statements.insert(format!("SET '{name}'"), short_hash(&[value]));
    }
    for table in &pipeline.tables {
        let name = format!("CREATE TABLE `{}`", table.name);
        statements.insert(name, short_hash(&[crate::plan::canonical_table(table)]));
    }
    for written in words.iter().filter(|written| has_a_say(pipeline, written)) {
        let what = match written.is_view {
            true => "CREATE VIEW",
            false => "INSERT INTO",
        };
        let first = format!("{what} `{}`", written.name);
        let more = (2..).map(|number| format!("{first} ({number})"));
        let mut names = std::iter::once(first.clone()).chain(more);
        let name = names.find(|name| !statements.contains_key(name));
        statements.extend(name.map(|name| (name, written.hash.clone())));
    }
    Recipe {
        fingerprint: fingerprint(pipeline),
        statements,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Whether an INSERT of the pipeline is it, or reads it: with `--only` not all do.
fn has_a_say(pipeline: &Pipeline, written: &Words) -> bool {
    let mut inserts = pipeline.inserts.iter();
    match written.is_view {
        true => inserts.any(|insert| insert.views.contains(&written.name)),
        false => inserts.any(|insert| pipeline.tables[insert.table].name == written.name),
    }
}

/// The settings that rows depend on.
fn settings(pipeline: &Pipeline) -> Vec<(&'static str, String)> {
    let settings = &pipeline.settings;
    let lateness = settings.allowed_lateness.as_micros().to_string();
    let ttl = settings.state_ttl;
    let ttl = ttl.map(|ttl| ("state.ttl", ttl.as_micros().to_string()));
    let mut all = vec![
        ("timezone", settings.timezone.clone()),
        ("allowed.lateness", lateness),
    ];
    all.extend(ttl);
    all
}

/// A hash of everything that the results depend on.
fn fingerprint(pipeline: &Pipeline) -> String {
    let mut parts = Vec::new();
    for (name, value) in settings(pipeline) {
        parts.extend([name.to_owned(), value]);
    }
    parts.push(crate::plan::canonical(pipeline));
    format!("{:016x}", hash(&parts))
}

/// Enough to tell one statement from what it was.
fn short_hash(parts: &[String]) -> String {
    format!("{:08x}", hash(parts) >> 32)
}

fn hash(parts: &[String]) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for part in parts {
        hasher.write(part.as_bytes());
        hasher.write_u8(0);
    }
    hasher.finish()
}
