//! Which tables this pipeline may keep: a decision about facts, for a start and for `check` alike.
//! Every difference comes with the statement that would mend it.

use arrow::datatypes::Field;

use super::facts::{Existing, ExistingColumn, Facts};
use super::kind::{Fit, Kind};
use super::marks::{Lacking, Written};
use super::plan::Spec;
use super::quoted;
use crate::connector::sink::Refusal;

/// The names that start with this are ours.
const OWN_PREFIX: &str = "tidemark_";

/// What a start does with a table that it may keep.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Keep,
    Create,
}

/// Whether the role may keep a mark.
pub(super) fn own_tables(lacking: &Lacking) -> Option<Refusal> {
    let (role, mend) = (&lacking.role, &lacking.mend);
    (!lacking.nothing).then(|| {
        Refusal::new(
            format!("`{role}` may not keep tidemark_marks and tidemark_tables there"),
            format!("{mend}, or name a schema of its own: ?options=-csearch_path%3Dname"),
        )
    })
}

/// Whether this pipeline may keep the table, given what is there; else everything against it.
pub(super) fn admit(spec: &Spec, facts: &Facts) -> Result<Admission, Vec<Refusal>> {
    let name = spec.target.to_string();
    let one = |message: String, hint: String| Err(vec![Refusal::new(message, hint)]);
    if let Some(refusal) = whatever_is_there(spec, facts) {
        return Err(vec![refusal]);
    }
    match &facts.existing {
        None if facts.has_mark && facts.kept_by_us => one(
            format!("table `{name}` is gone, but the mark says that its rows are there"),
            "start over with --fresh".to_owned(),
        ),
        _ if facts.has_mark && !facts.kept_by_us => one(
            format!(
                "table `{name}` is new to this pipeline, which has already published without it"
            ),
            "start over with --fresh, or keep the new table under another `pipeline.name`"
                .to_owned(),
        ),
        None if !facts.may_create => one(
            format!("`{}` may not make the table `{name}`", facts.role),
            format!(
                "GRANT CREATE ON SCHEMA {} TO {}, or make the table: {}",
                quoted(&spec.target.schema),
                quoted(&facts.role),
                spec.create_table()
            ),
        ),
        None => Ok(Admission::Create),
        Some(existing) => {
            let refusals = differences(spec, existing, facts);
            if !refusals.is_empty() {
                return Err(refusals);
            }
            if existing.has_rows && !facts.has_mark {
                return one(
                    format!("table `{name}` holds rows that no mark accounts for"),
                    format!(
                        "empty it (TRUNCATE {}), or choose another name with `table`",
                        spec.target.sql()
                    ),
                );
            }
            Ok(Admission::Keep)
        }
    }
}

/// What keeps this pipeline from a table of this name, be there one or not.
fn whatever_is_there(spec: &Spec, facts: &Facts) -> Option<Refusal> {
    let target = &spec.target;
    let name = target.to_string();
    let one = |message: String, hint: String| Some(Refusal::new(message, hint));
    if target.name.starts_with(OWN_PREFIX) {
        return one(
            format!("the table name `{}` is reserved", target.name),
            "choose another one with `table`".to_owned(),
        );
    }
    if !facts.schema_exists {
        return one(
            format!("there is no schema `{}`", target.schema),
            format!(
                "CREATE SCHEMA {}, or change `table`",
                quoted(&target.schema)
            ),
        );
    }
    if let (Some(keeper), false) = (&facts.keeper, facts.kept_by_us) {
        return one(
            format!("table `{name}` is kept by pipeline `{keeper}`"),
            format!(
                "choose another name with `table`, or another database with `url`; if this file is \
                 that pipeline, SET 'pipeline.name' = '{keeper}'"
            ),
        );
    }
    if let (Some(written), true) = (facts.other_lanes, facts.kept_by_us) {
        return Some(other_lanes(&name, written));
    }
    if spec.has_lists() && !facts.may_stage {
        let role = quoted(&facts.role);
        return one(
            format!(
                "`{}` may not make temporary tables, by which lists are written to `{name}`",
                facts.role
            ),
            format!("GRANT TEMPORARY ON DATABASE .. TO {role}"),
        );
    }
    None
}

/// Which lane a row goes to depends on how many there are, and what each holds on its mark.
pub(super) fn other_lanes(name: &str, written: Written) -> Refusal {
    match written {
        Written::Whole => Refusal::new(
            format!("table `{name}` was written without lanes"),
            "leave 'sink.lanes' out, or start over with --fresh",
        ),
        Written::InLanes(lanes) => Refusal::new(
            format!("table `{name}` was written in {lanes} lanes"),
            format!("write 'sink.lanes' = '{lanes}' again, or start over with --fresh"),
        ),
    }
}

/// Everything that keeps rows from being written as they are.
pub(super) fn differences(spec: &Spec, existing: &Existing, facts: &Facts) -> Vec<Refusal> {
    let (name, sql) = (spec.target.to_string(), spec.target.sql());
    if !existing.is_table() {
        let what = match existing.kind.as_str() {
            "v" => "a view",
            "m" => "a materialized view",
            "f" => "a foreign table",
            _ => "not a table",
        };
        let hint = "choose another name with `table`";
        return vec![Refusal::new(format!("`{name}` is {what}"), hint)];
    }
    let mut found = Vec::new();
    let mut refuse = |what: String, hint: String| {
        found.push(Refusal::new(format!("table `{name}` {what}"), hint));
    };
    match existing.persistence.as_str() {
        "u" => refuse(
            "is unlogged: a crash of the database empties it, but not its mark".to_owned(),
            format!("ALTER TABLE {sql} SET LOGGED"),
        ),
        "t" => refuse(
            "is temporary".to_owned(),
            "choose another name with `table`".to_owned(),
        ),
        _ => {}
    }
    may_write(spec, existing, &facts.role, &mut refuse);
    for (at, field) in spec.table.schema.fields().iter().enumerate() {
        match existing.column(field.name()) {
            Some(there) => column_fits(spec, (at, field), there, &mut refuse),
            None => {
                let add = format!(
                    "ALTER TABLE {sql} ADD COLUMN {} {}",
                    quoted(field.name()),
                    spec.kinds[at].declared()
                );
                let hint = match facts.has_mark {
                    true => format!(
                        "{add}; and start over with --fresh: the rows that are there have no value for it"
                    ),
                    false => add,
                };
                refuse(format!("has no column `{}`", field.name()), hint);
            }
        }
    }
    for there in &existing.columns {
        let declared = spec.table.schema.field_with_name(&there.name).is_ok();
        if !declared && there.not_null && !there.has_default && !there.generated {
            let column = quoted(&there.name);
            refuse(
                format!(
                    "has a column `{}` that must not be NULL and is not declared",
                    there.name
                ),
                format!("ALTER TABLE {sql} ALTER COLUMN {column} DROP NOT NULL"),
            );
        }
    }
    key_fits(spec, existing, &mut refuse);
    found
}

/// Whether the role may do what is done to the table.
fn may_write(
    spec: &Spec,
    existing: &Existing,
    role: &str,
    refuse: &mut impl FnMut(String, String),
) {
    let sql = spec.target.sql();
    let needed: &[&str] = if spec.table.key.is_empty() {
        &["INSERT", "SELECT"]
    } else {
        &["INSERT", "SELECT", "UPDATE", "DELETE"]
    };
    let lacking = existing.lacking.iter().map(String::as_str);
    let lacking: Vec<&str> = lacking.filter(|p| needed.contains(p)).collect();
    if !lacking.is_empty() {
        let lacking = lacking.join(", ");
        refuse(
            format!("does not grant {lacking} to `{role}`"),
            format!("GRANT {lacking} ON {sql} TO {}", quoted(role)),
        );
    }
    if let (Some(index), false) = (spec.create_indexes(Some(existing)).first(), existing.owned) {
        refuse(
            format!("is not owned by `{role}`, so that it may not make an index there"),
            format!("{index}, as its owner; or leave out `indexes`"),
        );
    }
    if existing.row_security {
        refuse(
            format!("shows `{role}` only the rows that its policies allow"),
            format!(
                "ALTER ROLE {} BYPASSRLS, or connect as its owner",
                quoted(role)
            ),
        );
    }
}

/// Whether the column of this name takes what is written to it.
fn column_fits(
    spec: &Spec,
    (at, field): (usize, &Field),
    there: &ExistingColumn,
    refuse: &mut impl FnMut(String, String),
) {
    let (kind, name) = (&spec.kinds[at], field.name());
    let alter = format!("ALTER TABLE {}", spec.target.sql());
    let column = quoted(name);
    if !there.built_in || fit_of(kind, there) == Fit::No {
        let declared = kind.declared();
        return refuse(
            format!(
                "has column `{name}` as {}, but {declared} is needed",
                there.declared
            ),
            format!("{alter} ALTER COLUMN {column} TYPE {declared} USING {column}::{declared}"),
        );
    }
    if there.generated {
        refuse(
            format!("computes column `{name}` itself"),
            format!("{alter} ALTER COLUMN {column} DROP EXPRESSION"),
        );
    }
    if there.identity_always {
        refuse(
            format!("numbers column `{name}` itself"),
            format!("{alter} ALTER COLUMN {column} SET GENERATED BY DEFAULT"),
        );
    }
    if there.not_null && field.is_nullable() && !spec.table.key.contains(&at) {
        refuse(
            format!("has column `{name}` as NOT NULL, but NULL may be written to it"),
            format!("{alter} ALTER COLUMN {column} DROP NOT NULL"),
        );
    }
    if let (Some(collation), true) = (&there.loose_collation, spec.table.key.contains(&at)) {
        refuse(
            format!("takes different keys for the same, by the collation \"{collation}\""),
            format!("{alter} ALTER COLUMN {column} TYPE text COLLATE \"C\""),
        );
    }
}

/// How a column of a table that is there takes values.
pub(super) fn fit_of(kind: &Kind, there: &ExistingColumn) -> Fit {
    kind.fit(&there.kind, there.modifier)
}

/// A keyed table needs exactly its key to be unique; an append table must not have a key that
/// would turn a second equal row into an error.
fn key_fits(spec: &Spec, existing: &Existing, refuse: &mut impl FnMut(String, String)) {
    let sql = spec.target.sql();
    if spec.table.key.is_empty() {
        return append_fits(spec, existing, refuse);
    }
    let mut key: Vec<Option<String>> = Vec::new();
    key.extend(
        spec.table
            .key_names()
            .into_iter()
            .map(|name| Some(name.to_owned())),
    );
    let written = spec.table.key_names().join(", ");
    let quoted_key: Vec<String> = spec.table.key_names().into_iter().map(quoted).collect();
    let quoted_key = quoted_key.join(", ");
    key.sort();
    let same = |columns: &[Option<String>]| {
        let mut columns = columns.to_vec();
        columns.sort();
        columns == key
    };
    let of_key: Vec<_> = existing
        .unique
        .iter()
        .filter(|u| same(&u.columns))
        .collect();
    if of_key.iter().any(|unique| unique.immediate) {
        return;
    }
    if let Some(unique) = of_key.first() {
        return refuse(
            format!("has a deferrable key ({written}), by which no row can be replaced"),
            format!(
                "{}; ALTER TABLE {sql} ADD UNIQUE ({quoted_key})",
                drop_unique(&sql, &unique.name)
            ),
        );
    }
    match existing.unique.iter().find(|unique| unique.primary) {
        Some(primary) => refuse(
            format!(
                "has PRIMARY KEY ({}); PRIMARY KEY ({written}) is declared",
                columns_of(&primary.columns)
            ),
            format!("change the declaration, or ALTER TABLE {sql} ADD UNIQUE ({quoted_key})"),
        ),
        None => refuse(
            format!("has no key; PRIMARY KEY ({written}) is declared"),
            format!("ALTER TABLE {sql} ADD PRIMARY KEY ({quoted_key})"),
        ),
    }
}

/// No unique index may be over columns that are all filled: a second equal row would be refused.
fn append_fits(spec: &Spec, existing: &Existing, refuse: &mut impl FnMut(String, String)) {
    let sql = spec.target.sql();
    let filled = |name: &Option<String>| {
        let name = name.as_deref().unwrap_or_default();
        spec.table.schema.field_with_name(name).is_ok()
    };
    let unique = existing
        .unique
        .iter()
        .find(|u| u.columns.iter().all(filled));
    if let Some(unique) = unique {
        refuse(
            format!(
                "has the key ({}), but the declaration has no PRIMARY KEY",
                columns_of(&unique.columns)
            ),
            format!(
                "declare it, or drop it there: {}",
                drop_unique(&sql, &unique.name)
            ),
        );
    }
}

/// Column names for people.
fn columns_of(columns: &[Option<String>]) -> String {
    let names = columns.iter().map(|name| name.as_deref().unwrap_or(".."));
    names.collect::<Vec<_>>().join(", ")
}

/// `name` comes from `regclass`, quoted and with a schema where that is needed.
fn drop_unique(table: &str, name: &str) -> String {
    let bare = name.rsplit_once('.').map_or(name, |(_, bare)| bare);
    format!("ALTER TABLE {table} DROP CONSTRAINT {bare}")
}
