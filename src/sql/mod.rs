//! Text to `plan::Pipeline`.
//!
//! ```text
//!   text ──▶ statement ──▶ table, query ──▶ insert ──▶ lower ──▶ graph ──▶ Pipeline
//!            (parse)       (DataFusion)     (what the  (LogicalPlan
//!                                           sink asks)  to nodes)
//! ```
//!
//! Every problem of a file is reported, with its place and what to type instead: a statement that
//! is wrong does not hide what is wrong with the others, and what only follows from another
//! problem is left out. Knows no connector and no dataflow.

mod accents;
mod asof;
mod assign;
mod beside;
mod by_interval;
mod catalog;
mod coercion;
mod comparisons;
mod create_table;
mod dialect;
mod errors;
mod first_rows;
mod functions;
mod graph;
mod grouped_windows;
mod guards;
mod habits;
mod insert;
mod interval_sums;
mod lateral;
mod locate;
mod lower;
mod matching;
mod multisets;
mod named_windows;
mod only;
mod problem;
mod quantified;
mod query;
mod recipe;
mod refusals;
mod renamed;
mod rows;
mod secrets;
mod series;
mod sets;
mod settings;
mod signs;
mod statement;
mod subqueries;
mod table;
mod types;
mod using;
mod variables;
mod walk;
mod window;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use datafusion_sql::sqlparser::ast::{Ident, Query};
use datafusion_sql::sqlparser::tokenizer::Span;

use crate::plan::{Insert, Narrowed, Pipeline, Place, Role, Table, TableId};
use crate::types::Recipe;

use catalog::{Catalog, FOLLOWS};
use graph::Graph;
use insert::{Prepared, Written};
use statement::{Kind, Statement};

pub use problem::{Problem, did_you_mean};
pub use types::name_of as type_name;

/// A pipeline file.
#[derive(Clone, Copy, Debug)]
pub struct SourceText<'a> {
    /// Where it is, for messages.
    pub path: &'a str,
    /// What is in it.
    pub text: &'a str,
}

/// What a file is planned with.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The environment, for `${NAME}`.
    pub variables: BTreeMap<String, String>,
    /// `--set name=value`: stronger than the file's SET.
    pub settings: Vec<(String, String)>,
    /// The pipeline's name unless `pipeline.name` is set: the file's stem.
    pub pipeline_name: String,
    /// The sinks whose INSERTs are wanted; empty means all.
    pub only: Vec<String>,
}

/// Why a file is refused.
#[derive(Debug)]
pub struct Refused {
    /// Everything that is wrong with it, in the order of the file.
    pub problems: Vec<Problem>,
    /// The tables that are right in themselves, so that their options can be looked at together
    /// with the rest. What an INSERT that is wrong uses a table for is a guess.
    pub tables: Vec<Table>,
}

/// The stack for the recursion of parser and planner. A left-deep `a + a + ..` of the longest
/// statement that is let in takes about half of it; pages that are not touched cost nothing.
const STACK_BYTES: usize = 1 << 30;

/// Plans a file, or says everything that is wrong with it.
pub fn plan(file: &SourceText, given: &Given) -> Result<Pipeline, Refused> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("sql".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || plan_here(file, given))
            .expect("a thread can be started")
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn plan_here(file: &SourceText, given: &Given) -> Result<Pipeline, Refused> {
    let mut problems = Vec::new();
    let statements = statement::parse(file.text, &given.variables, &mut problems);
    let words = recipe::words(&statements);
    let settings = settings(&statements, given, &mut problems);
    let mut declared = declare(statements, &settings, &mut problems);
    only::keep(&mut declared, &given.only, &mut problems);
    let (mut prepared, mut unplanned) = (Vec::new(), Vec::new());
    for written in std::mem::take(&mut declared.inserts) {
        let names = Names::of(&written, &declared.catalog);
        match insert::prepare(written, &declared.catalog, &declared.tables) {
            Ok(insert) => prepared.push(insert),
            Err(mut found) => {
                problems.append(&mut found);
                unplanned.push(names);
            }
        }
    }
    let graph = lower(&mut declared, &prepared, &settings, &mut problems);
    problems.retain(|problem| problem.message != FOLLOWS);
    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.place);
        problems.dedup();
        declared.guess_roles(&unplanned);
        return Err(Refused {
            problems,
            tables: declared.tables,
        });
    }
    let (graph, inserts) = graph;
    let mut pipeline = Pipeline {
        name: only::name(
            settings.name.unwrap_or_else(|| given.pipeline_name.clone()),
            &given.only,
        ),
        settings: settings.settings,
        tables: declared.tables,
        nodes: graph.nodes,
        inserts,
        recipe: Recipe::default(),
    };
    crate::plan::compute_by_branch(&mut pipeline);
    crate::plan::keep_records(&mut pipeline);
    pipeline.recipe = recipe::of(&pipeline, &words);
    Ok(pipeline)
}

/// The file's SETs, then the command line's.
fn settings(
    statements: &[Statement],
    given: &Given,
    problems: &mut Vec<Problem>,
) -> settings::Given {
    let mut out = settings::Given::default();
    for statement in statements {
        if let Kind::Set { name, value } = &statement.kind
            && let Err(problem) = settings::set(&mut out, name, value, Some(statement.place))
        {
            problems.push(problem);
        }
    }
    for (name, value) in &given.settings {
        if let Err(problem) = settings::set(&mut out, name, value, None) {
            problems.push(problem);
        }
    }
    out
}

/// Everything the file declares, and its INSERTs as written.
struct Declared {
    catalog: Catalog,
    tables: Vec<Table>,
    inserts: Vec<Written>,
    /// Where each table is named first in a view.
    mentions: BTreeMap<String, Place>,
}

/// Tables first, wherever they stand; then views in their order.
fn declare(
    statements: Vec<Statement>,
    settings: &settings::Given,
    problems: &mut Vec<Problem>,
) -> Declared {
    let mut declared = Declared {
        catalog: Catalog::new(&settings.settings.timezone),
        tables: Vec::new(),
        inserts: Vec::new(),
        mentions: BTreeMap::new(),
    };
    let mut views = Vec::new();
    for Statement { kind, place, .. } in statements {
        match kind {
            Kind::Set { .. } => {}
            Kind::Broken { name } => declared.catalog.add_broken(&normalise(&name)),
            Kind::CreateTable(definition) => declared.table(*definition, problems),
            Kind::CreateView {
                name,
                columns,
                query,
            } => views.push((name, columns, query)),
            Kind::Insert {
                table,
                columns,
                query,
                emit,
            } => declared.inserts.push(Written {
                table,
                columns,
                query,
                emit,
                place,
            }),
        }
    }
    for (name, columns, query) in views {
        declared.view(&name, &columns, *query, problems);
    }
    declared
}

impl Declared {
    fn table(&mut self, definition: statement::TableDefinition, problems: &mut Vec<Problem>) {
        let name = definition.name.clone();
        if self.is_taken(&name, problems) {
            return;
        }
        match table::declare(definition, &self.catalog) {
            Ok(table) => {
                self.catalog.add_table(self.tables.len(), &table);
                self.tables.push(table);
            }
            Err(mut found) => {
                problems.append(&mut found);
                self.catalog.add_broken(&normalise(&name));
            }
        }
    }

    fn view(
        &mut self,
        name: &Ident,
        columns: &[Ident],
        mut query: Query,
        problems: &mut Vec<Problem>,
    ) {
        if self.is_taken(name, problems) {
            return;
        }
        let place = place_of(name.span);
        grouped_windows::rewrite(&mut query, &self.catalog);
        let wrong = asof::joins::rewrite(&mut query, &self.catalog);
        let mut found = refusals::of_query(&query, &self.catalog);
        found.problems.extend(wrong);
        for (table, place) in &found.mentions {
            self.mentions.entry(table.clone()).or_insert(*place);
        }
        let planned = if found.problems.is_empty() {
            query::view(&self.catalog, query, columns)
        } else {
            problems.append(&mut found.problems);
            self.catalog.add_broken(&normalise(name));
            return;
        };
        match planned {
            Ok(plan) => {
                let reads = found.mentions.keys();
                self.catalog.add_view(&normalise(name), plan, reads);
            }
            Err(error) => {
                problems.push(errors::of_datafusion(&error).or_at(place));
                self.catalog.add_broken(&normalise(name));
            }
        }
    }

    fn is_taken(&self, name: &Ident, problems: &mut Vec<Problem>) -> bool {
        let is_taken = self.catalog.contains(&normalise(name));
        if is_taken {
            let message = format!("`{}` is declared twice", normalise(name));
            problems.push(Problem::at(place_of(name.span), message));
        }
        is_taken
    }
}

/// The tables that an INSERT names.
struct Names {
    sink: String,
    read: BTreeSet<String>,
}

impl Names {
    fn of(written: &Written, catalog: &Catalog) -> Self {
        let found = refusals::of_query(&written.query, catalog);
        Self {
            sink: normalise(&written.table),
            read: found.mentions.into_keys().collect(),
        }
    }
}

impl Declared {
    /// What INSERTs that could not be planned use tables for, as far as their names tell: a table
    /// that can be looked up is, if there is a stream to do so.
    fn guess_roles(&mut self, unplanned: &[Names]) {
        if unplanned.is_empty() {
            return;
        }
        let is_sink = |table: &Table| unplanned.iter().any(|names| names.sink == table.name);
        let is_read = |table: &Table| {
            self.mentions.contains_key(&table.name)
                || unplanned
                    .iter()
                    .any(|names| names.read.contains(&table.name))
        };
        let can_be_looked_up = |table: &Table| {
            let is_fixed = table.watermark.is_none() && !table.is_reloaded();
            !table.primary_key.is_empty() && is_fixed
        };
        let mut read = self.tables.iter().filter(|table| is_read(table));
        let has_stream = read.any(|table| !can_be_looked_up(table));
        let guess = |table: &Table| match table.role {
            Role::Unused if is_sink(table) => Role::Sink,
            Role::Unused if is_read(table) && has_stream && can_be_looked_up(table) => {
                Role::Reference
            }
            Role::Unused if is_read(table) => Role::Source,
            Role::Source | Role::Reference | Role::Sink | Role::Unused => table.role,
        };
        let roles: Vec<Role> = self.tables.iter().map(guess).collect();
        for (table, role) in self.tables.iter_mut().zip(roles) {
            table.role = role;
        }
    }
}

/// The graph of all INSERTs, one per sink.
fn lower(
    declared: &mut Declared,
    prepared: &[Prepared],
    settings: &settings::Given,
    problems: &mut Vec<Problem>,
) -> (Graph, Vec<Insert>) {
    let (mut graph, mut inserts) = (Graph::default(), Vec::new());
    if prepared.is_empty() && problems.is_empty() {
        problems.push(
            Problem::of_file("the file has no INSERT INTO: there is nothing to run")
                .hint("write INSERT INTO a_table SELECT .. FROM another"),
        );
    }
    let sources = roles(declared, prepared, problems);
    let lateness_us =
        i64::try_from(settings.settings.allowed_lateness.as_micros()).unwrap_or(i64::MAX);
    let mut by_sink: BTreeMap<TableId, Vec<(usize, Place)>> = BTreeMap::new();
    let mut views: BTreeMap<TableId, BTreeSet<String>> = BTreeMap::new();
    let mut narrowed: BTreeMap<TableId, Vec<Narrowed>> = BTreeMap::new();
    let mut order = Vec::new();
    for insert in prepared {
        let mut mentions = declared.mentions.clone();
        mentions.extend(insert.mentions.clone());
        let tables = &declared.tables;
        match insert::lower(insert, &mut graph, tables, &sources, lateness_us, &mentions) {
            Ok(node) => {
                let nodes = by_sink.entry(insert.table).or_default();
                if nodes.is_empty() {
                    order.push(insert.table);
                } else if !tables[insert.table].primary_key.is_empty() {
                    problems.push(second_insert(&tables[insert.table], insert.place));
                }
                nodes.push((node, insert.place));
                let here = insert.narrowed.iter().cloned();
                let here = here.map(|narrowed| Narrowed { node, ..narrowed });
                narrowed.entry(insert.table).or_default().extend(here);
                let views = views.entry(insert.table).or_default();
                views.extend(declared.catalog.views_of(insert.mentions.keys()));
            }
            Err(problem) => problems.push(problem),
        }
    }
    for table in order {
        let nodes = &by_sink[&table];
        let place = nodes[0].1;
        let inputs: Vec<usize> = nodes.iter().map(|(node, _)| *node).collect();
        let input = graph.union_of(&inputs, place);
        inserts.push(Insert {
            table,
            input,
            place,
            narrowed: narrowed.remove(&table).unwrap_or_default(),
            views: views
                .remove(&table)
                .unwrap_or_default()
                .into_iter()
                .collect(),
        });
    }
    (graph, inserts)
}

fn second_insert(sink: &Table, place: Place) -> Problem {
    Problem::at(
        place,
        format!(
            "`{}` has a PRIMARY KEY and two INSERTs, which may disagree about a row",
            sink.name
        ),
    )
    .hint("write one INSERT with UNION ALL inside a GROUP BY, or a table each")
}

/// What each table is for; returns the columns that are read of each source.
fn roles(
    declared: &mut Declared,
    prepared: &[Prepared],
    problems: &mut Vec<Problem>,
) -> BTreeMap<TableId, BTreeSet<usize>> {
    let mut sources: BTreeMap<TableId, BTreeSet<usize>> = BTreeMap::new();
    let mut references = BTreeSet::new();
    for insert in prepared {
        let uses = lower::uses(&insert.plan, &declared.tables);
        for (table, columns) in uses.columns {
            let watermark = declared.tables[table].watermark.as_ref();
            let event_time = watermark.map(|watermark| watermark.column);
            let read = sources.entry(table).or_default();
            read.extend(columns.into_iter().chain(event_time));
            let declared = &declared.tables[table];
            if declared.is_reloaded() {
                // The key tells its rows apart, whoever asks for it.
                read.extend(&declared.primary_key);
            }
        }
        references.extend(uses.references);
    }
    let mut sinks: BTreeMap<TableId, Place> = BTreeMap::new();
    for table in &declared.tables {
        if let Some(option) = table.options.get("dead.letter")
            && let Ok(dead) = declared.catalog.table(&option.text.to_lowercase())
        {
            sinks.insert(dead, option.place);
        }
    }
    for &dead in sinks.keys() {
        declared.tables[dead].takes_letters = true;
    }
    sinks.extend(prepared.iter().map(|insert| (insert.table, insert.place)));
    for (id, table) in declared.tables.iter_mut().enumerate() {
        let (source, reference) = (sources.contains_key(&id), references.contains(&id));
        let name = &table.name;
        table.role =
            match (source, reference, sinks.get(&id)) {
                (true, true, _) => {
                    let message = format!("`{name}` is read as a stream and looked up too");
                    problems.push(Problem::at(table.place, message).hint(
                        "declare it twice, under two names: one for the stream, one to look up",
                    ));
                    Role::Source
                }
                (true, false, Some(place)) | (false, true, Some(place)) => {
                    let message =
                        format!("`{name}` is inserted into and read in the same pipeline");
                    problems.push(Problem::at(*place, message).hint(
                        "read the query instead: CREATE VIEW name AS SELECT .., used by both",
                    ));
                    Role::Sink
                }
                (true, false, None) => Role::Source,
                (false, true, None) => Role::Reference,
                (false, false, Some(_)) => Role::Sink,
                (false, false, None) => Role::Unused,
            };
    }
    sources
}

/// A name as DataFusion sees it: in small letters unless quoted.
fn normalise(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

/// Where a span starts.
fn place_of(span: Span) -> Place {
    Place {
        line: span.start.line,
        column: span.start.column,
    }
}

#[cfg(test)]
mod no_panics;
#[cfg(test)]
mod tests;
