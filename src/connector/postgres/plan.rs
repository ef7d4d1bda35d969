//! What one table is there, and the statements that write it.

use std::fmt;

use super::admit::fit_of;
use super::facts::Existing;
use super::kind::{Fit, Kind};
use super::quoted;
use crate::connector::{ConnectorError, SinkTable};

/// A table's place in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) schema: String,
    pub(super) name: String,
}

impl Target {
    /// As SQL.
    pub(super) fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// One table as it is declared.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) table: SinkTable,
    /// The schema is empty as long as nobody has asked where tables without one are.
    pub(super) target: Target,
    pub(super) kinds: Vec<Kind>,
    /// The columns of each index that is asked for.
    pub(super) indexes: Vec<Vec<String>>,
    pub(super) fillfactor: Option<u8>,
}

/// Pages that are full cannot take the next version of a row; with room, an update stays on its
/// page and touches no index.
const FILLFACTOR_OF_KEYED: u8 = 70;

impl Spec {
    /// `table.target` is `name` or `schema.name`.
    pub(super) fn new(
        table: SinkTable,
        indexes: Option<&str>,
        fillfactor: Option<u8>,
    ) -> Result<Self, ConnectorError> {
        let fields = table.schema.fields();
        let mut kinds = Vec::with_capacity(fields.len());
        for (at, field) in fields.iter().enumerate() {
            let kind = Kind::of(field).ok_or_else(|| {
                ConnectorError::permanent(format!(
                    "column `{}` of table `{}` has a type that PostgreSQL does not: {}",
                    field.name(),
                    table.name,
                    field.data_type()
                ))
            })?;
            if table.key.contains(&at) && kind.has_spellings() {
                return Err(ConnectorError::hinted(
                    format!(
                        "column `{}` of table `{}` cannot be in its key as {}",
                        field.name(),
                        table.name,
                        kind.declared()
                    ),
                    "declare it as TEXT, and cast it in the query",
                ));
            }
            kinds.push(kind);
        }
        let (schema, name) = table.target.split_once('.').unwrap_or(("", &table.target));
        let target = Target {
            schema: schema.to_owned(),
            name: name.to_owned(),
        };
        Ok(Self {
            indexes: parse_indexes(&table, indexes.unwrap_or_default())?,
            target,
            kinds,
            fillfactor,
            table,
        })
    }

    /// As it is once it is known where tables without a schema are.
    pub(super) fn within(&self, schema: &str) -> Self {
        let mut spec = self.clone();
        if spec.target.schema.is_empty() {
            schema.clone_into(&mut spec.target.schema);
        }
        spec
    }

    /// The statement that makes the table.
    pub(super) fn create_table(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for (at, field) in self.table.schema.fields().iter().enumerate() {
            let not_null = !field.is_nullable() || self.table.key.contains(&at);
            let not_null = if not_null { " not null" } else { "" };
            let kind = self.kinds[at].declared();
            parts.push(format!("{} {kind}{not_null}", quoted(field.name())));
        }
        let keyed = !self.table.key.is_empty();
        if keyed {
            parts.push(format!("primary key ({})", list(&self.table.key_names())));
        }
        let updated = keyed && self.table.key.len() < self.kinds.len();
        let fill = self.fillfactor.or(updated.then_some(FILLFACTOR_OF_KEYED));
        let fill = fill.map_or_else(String::new, |fill| format!(" with (fillfactor = {fill})"));
        format!(
            "create table {} ({}){fill}",
            self.target.sql(),
            parts.join(", ")
        )
    }

    /// Whether a column holds lists: `unnest` would take them apart.
    pub(super) fn has_lists(&self) -> bool {
        self.kinds.iter().any(Kind::is_array)
    }

    /// The statements that make those indexes that are asked for and not there.
    pub(super) fn create_indexes(&self, existing: Option<&Existing>) -> Vec<String> {
        let there = |columns: &Vec<String>| {
            existing.is_some_and(|e| e.indexes.iter().any(|index| index.starts_with(columns)))
        };
        let missing = self.indexes.iter().filter(|columns| !there(columns));
        missing
            .map(|columns| {
                let names: Vec<&str> = columns.iter().map(String::as_str).collect();
                format!("create index on {} ({})", self.target.sql(), list(&names))
            })
            .collect()
    }
}

/// `zone_id; borough, window_start`: indexes between semicolons, columns between commas.
fn parse_indexes(table: &SinkTable, text: &str) -> Result<Vec<Vec<String>>, ConnectorError> {
    let indexes = text.split(';').filter(|index| !index.trim().is_empty());
    let column = |name: &str| {
        let name = name.trim();
        if table.schema.field_with_name(name).is_ok() {
            return Ok(name.to_owned());
        }
        let known = table
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        let hint = match crate::types::nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write columns with commas, and indexes with semicolons between".to_owned(),
        };
        Err(ConnectorError::hinted(
            format!(
                "`indexes` names `{name}`, which table `{}` does not have",
                table.name
            ),
            hint,
        ))
    };
    indexes
        .map(|index| index.split(',').map(column).collect())
        .collect()
}

/// How one table is written.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) spec: Spec,
    /// The name and the type of each column, as the table had them.
    pub(super) columns: Vec<(String, String)>,
    /// The longest text that each column takes.
    pub(super) characters: Vec<Option<usize>>,
    /// By COPY, where a table without a key takes our types as they are.
    pub(super) copy: Option<String>,
    /// By a temporary table, where `unnest` would take arrays apart.
    pub(super) staging: Option<Staging>,
    /// From parameters that are arrays.
    pub(super) upsert: String,
    pub(super) delete: String,
}

/// Rows on their way, by COPY, into a table of the session.
#[derive(Clone, Debug)]
pub(super) struct Staging {
    pub(super) create: String,
    pub(super) clear: String,
    pub(super) copy: String,
    pub(super) upsert: String,
}

impl Plan {
    /// `existing` is the table as it is now; `number` tells it from the others of the destination.
    pub(super) fn new(spec: Spec, existing: &Existing, number: usize) -> Self {
        let fields = spec.table.schema.fields();
        let fits: Vec<Fit> = fields
            .iter()
            .zip(&spec.kinds)
            .map(|(field, kind)| {
                let there = existing.column(field.name());
                there.map_or(Fit::No, |there| fit_of(kind, there))
            })
            .collect();
        let exact = fits.iter().all(|fit| matches!(fit, Fit::Exact { .. }));
        let characters = fits
            .into_iter()
            .map(|fit| match fit {
                Fit::Exact { characters } => characters,
                Fit::Converted | Fit::No => None,
            })
            .collect();
        let arrays = spec.has_lists();
        let appended = spec.table.key.is_empty();
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let names = list(&names);
        let copy = |into: &str| format!("copy {into} ({names}) from stdin (format binary)");
        let insert = format!("insert into {} ({names})", spec.target.sql());
        let conflict = on_conflict(&spec);
        let parameters = |kinds: &mut dyn Iterator<Item = &Kind>| {
            let each = kinds.enumerate();
            let each = each.map(|(at, kind)| format!("${}::{}[]", at + 1, kind.sql()));
            each.collect::<Vec<_>>().join(", ")
        };
        let all = parameters(&mut spec.kinds.iter());
        let key = parameters(&mut spec.table.key.iter().map(|&at| &spec.kinds[at]));
        let declared = fields.iter().map(|field| {
            let there = existing.column(field.name());
            let declared = there.map(|there| there.declared.clone());
            (field.name().clone(), declared.unwrap_or_default())
        });
        Self {
            columns: declared.collect(),
            characters,
            copy: (appended && exact).then(|| copy(&spec.target.sql())),
            staging: arrays.then(|| Staging::new(&spec, number, copy, &insert, &conflict)),
            upsert: format!("{insert} select * from unnest({all}){conflict}"),
            delete: delete(&spec, &key),
            spec,
        }
    }
}

impl Staging {
    fn new(
        spec: &Spec,
        number: usize,
        copy: impl Fn(&str) -> String,
        insert: &str,
        conflict: &str,
    ) -> Self {
        let name = format!("pg_temp.tidemark_staging_{number}");
        let fields = spec.table.schema.fields().iter().zip(&spec.kinds);
        let columns: Vec<String> = fields
            .map(|(field, kind)| format!("{} {}", quoted(field.name()), kind.sql()))
            .collect();
        let bare = name.trim_start_matches("pg_temp.");
        Self {
            create: format!(
                // Rows of an epoch may come in several parts, each by way of it.
                "create temp table if not exists {bare} ({}) on commit delete rows; \
                 delete from {name}",
                columns.join(", ")
            ),
            clear: format!("truncate {name}"),
            copy: copy(&name),
            upsert: format!("{insert} select * from {name}{conflict}"),
        }
    }
}

/// What happens to a row whose key is there.
fn on_conflict(spec: &Spec) -> String {
    let key = spec.table.key_names();
    if key.is_empty() {
        return String::new();
    }
    let fields = spec.table.schema.fields().iter();
    let others = fields.filter(|field| !key.contains(&field.name().as_str()));
    let assignments: Vec<String> = others
        .map(|field| {
            let name = quoted(field.name());
            format!("{name} = excluded.{name}")
        })
        .collect();
    let action = if assignments.is_empty() {
        "nothing".to_owned()
    } else {
        format!("update set {}", assignments.join(", "))
    };
    format!(" on conflict ({}) do {action}", list(&key))
}

fn delete(spec: &Spec, parameters: &str) -> String {
    let key = spec.table.key_names();
    let names: Vec<String> = (0..key.len()).map(|at| format!("k{at}")).collect();
    let equal: Vec<String> = key
        .iter()
        .zip(&names)
        .map(|(column, name)| format!("t.{} = d.{name}", quoted(column)))
        .collect();
    format!(
        "delete from {} t using unnest({parameters}) d({}) where {}",
        spec.target.sql(),
        names.join(", "),
        equal.join(" and ")
    )
}

/// Names with commas between, as SQL.
fn list(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    names.join(", ")
}
