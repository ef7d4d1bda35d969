//! Which tables this pipeline may keep, and what they look like.
//!
//! `admit` is the decision and reads nothing; `Facts::gather` looks. The same two serve a start
//! and `check`.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{MarkRow, OWN_PREFIX, value};
use crate::connector::SinkTable;
use crate::connector::sink::Refusal;

/// What is known about one table before this start writes to it.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The table as it is, if it is.
    existing: Option<Existing>,
    /// The pipeline that keeps it, by `tidemark_tables`.
    keeper: Option<String>,
    /// Whether that pipeline is this one.
    kept_by_us: bool,
    /// Whether this pipeline has published here.
    has_mark: bool,
}

/// A table that is there.
#[derive(Debug, Default)]
struct Existing {
    is_view: bool,
    columns: Vec<ExistingColumn>,
    /// The primary key and every unique index that has no condition.
    unique: Vec<Unique>,
    has_rows: bool,
}

/// Columns of which no two rows have the same values.
#[derive(Debug, PartialEq, Eq)]
struct Unique {
    /// In lower case, sorted.
    columns: Vec<String>,
    /// How texts are compared, if not byte by byte.
    collation: Option<String>,
}

#[derive(Debug)]
struct ExistingColumn {
    name: String,
    declared: String,
    not_null: bool,
    has_default: bool,
    generated: bool,
    in_primary_key: bool,
}

/// What a start does with a table that it may keep.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Keep,
    Create,
}

/// Whether this pipeline may keep `table`, given what is there.
pub(super) fn admit(table: &SinkTable, facts: &Facts) -> Result<Admission, Refusal> {
    let name = &table.target;
    if name.to_ascii_lowercase().starts_with(OWN_PREFIX) || name.starts_with("sqlite_") {
        return Err(Refusal::new(
            format!("the table name `{name}` is reserved"),
            "choose another one with `table`",
        ));
    }
    if let (Some(keeper), false) = (&facts.keeper, facts.kept_by_us) {
        return Err(Refusal::new(
            format!("table `{name}` is kept by pipeline `{keeper}`"),
            format!(
                "choose another name with `table`, or another file with `path`; if this file is \
                 that pipeline, SET 'pipeline.name' = '{keeper}'"
            ),
        ));
    }
    match &facts.existing {
        None if facts.has_mark && facts.kept_by_us => Err(Refusal::new(
            format!("table `{name}` is gone, but the mark says that its rows are there"),
            "start over with --fresh",
        )),
        _ if facts.has_mark && !facts.kept_by_us => Err(Refusal::new(
            format!(
                "table `{name}` is new to this pipeline, which has already published without it"
            ),
            "start over with --fresh, or keep the new table under another `pipeline.name`",
        )),
        None => Ok(Admission::Create),
        Some(existing) => {
            fits(table, existing)?;
            if existing.has_rows && !facts.has_mark {
                return Err(Refusal::new(
                    format!("table `{name}` holds rows that no mark accounts for"),
                    "empty it, or choose another name with `table`",
                ));
            }
            Ok(Admission::Keep)
        }
    }
}

/// Whether rows of `table` can be written into what is there, and read back as they were.
fn fits(table: &SinkTable, existing: &Existing) -> Result<(), Refusal> {
    let name = &table.target;
    let remedy = || {
        format!(
            "change the declaration, or drop the table: DROP TABLE {}",
            quoted(name)
        )
    };
    let refuse = |what: String| Err(Refusal::new(format!("table `{name}` {what}"), remedy()));

    if existing.is_view {
        return refuse("is a view".to_owned());
    }
    for field in table.schema.fields() {
        let column = field.name();
        let Some(there) = existing
            .columns
            .iter()
            .find(|c| c.name.eq_ignore_ascii_case(column))
        else {
            return refuse(format!("has no column `{column}`"));
        };
        if there.generated {
            return refuse(format!("computes column `{column}` itself"));
        }
        let wanted = value::storage(field.data_type()).declared();
        if !holds(affinity(&there.declared), value::storage(field.data_type())) {
            let declared = &there.declared;
            return refuse(format!(
                "has column `{column}` as {declared}, which would change the values; {wanted} is needed"
            ));
        }
        if there.not_null && field.is_nullable() {
            return refuse(format!(
                "has column `{column}` as NOT NULL, but NULL may be written to it"
            ));
        }
    }
    let unfilled = existing.columns.iter().find(|there| {
        let declared = table
            .schema
            .fields()
            .iter()
            .any(|f| f.name().eq_ignore_ascii_case(&there.name));
        !declared && there.not_null && !there.has_default && !there.generated
    });
    if let Some(there) = unfilled {
        return refuse(format!(
            "has a column `{}` that must not be NULL and is not declared",
            there.name
        ));
    }
    key_fits(table, existing)
        .map_err(|what| Refusal::new(format!("table `{name}` {what}"), remedy()))
}

/// A keyed table needs exactly its key to be unique; an append table must not have a key that
/// would turn a second equal row into an error.
fn key_fits(table: &SinkTable, existing: &Existing) -> Result<(), String> {
    let key = sorted(table.key_names());
    if key.is_empty() {
        // A column that we do not fill (a rowid of one's own) may be unique.
        let filled = sorted(
            table
                .schema
                .fields()
                .iter()
                .map(|field| field.name().as_str()),
        );
        let unique = existing
            .unique
            .iter()
            .find(|unique| unique.columns.iter().all(|name| filled.contains(name)));
        return match unique {
            Some(unique) => Err(format!(
                "has the key ({}), but the declaration has no PRIMARY KEY",
                unique.columns.join(", ")
            )),
            None => Ok(()),
        };
    }
    let of_key: Vec<&Unique> = existing
        .unique
        .iter()
        .filter(|u| u.columns == key)
        .collect();
    if of_key.iter().any(|unique| unique.collation.is_none()) {
        return Ok(());
    }
    if let Some(collation) = of_key.iter().find_map(|unique| unique.collation.as_deref()) {
        return Err(format!(
            "takes different keys for the same, by COLLATE {collation}"
        ));
    }
    let wanted = table.key_names().join(", ");
    let primary = existing
        .columns
        .iter()
        .filter(|column| column.in_primary_key);
    let primary: Vec<&str> = primary.map(|column| column.name.as_str()).collect();
    if primary.is_empty() {
        return Err(format!("has no key; PRIMARY KEY ({wanted}) is declared"));
    }
    let there = primary.join(", ");
    Err(format!(
        "has PRIMARY KEY ({there}); PRIMARY KEY ({wanted}) is declared"
    ))
}

fn sorted<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(str::to_ascii_lowercase).collect();
    names.sort();
    names
}

/// What SQLite does to a value of a column, by its declared type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Affinity {
    Integer,
    Real,
    Text,
    Numeric,
    /// Keeps values as they are.
    None,
}

/// SQLite's own rules, in its order ("Determination Of Column Affinity").
fn affinity(declared: &str) -> Affinity {
    let declared = declared.to_ascii_uppercase();
    let has = |part: &str| declared.contains(part);
    if has("INT") {
        Affinity::Integer
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        Affinity::Text
    } else if declared.is_empty() || has("BLOB") || declared == "ANY" {
        Affinity::None
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

/// Whether a column of this affinity gives back what was written to it.
fn holds(affinity: Affinity, storage: value::Storage) -> bool {
    use value::Storage;
    match (affinity, storage) {
        (Affinity::None, _)
        | (Affinity::Integer | Affinity::Numeric, Storage::Integer)
        | (Affinity::Real, Storage::Real)
        | (Affinity::Text, Storage::Text | Storage::Label)
        // Such a text is not a number, so it stays a text: DATE, DATETIME, TIMESTAMP.
        | (Affinity::Numeric, Storage::Label)
        // Affinity does not touch a blob.
        | (_, Storage::Blob) => true,
        (
            Affinity::Integer | Affinity::Real | Affinity::Text | Affinity::Numeric,
            Storage::Integer | Storage::Real | Storage::Text | Storage::Label,
        ) => false,
    }
}

/// The statement that makes a table that is missing.
pub(super) fn create_table(table: &SinkTable) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (position, field) in table.schema.fields().iter().enumerate() {
        let not_null = !field.is_nullable() || table.key.contains(&position);
        parts.push(format!(
            "{} {}{}",
            quoted(field.name()),
            value::storage(field.data_type()).declared(),
            if not_null { " NOT NULL" } else { "" }
        ));
    }
    let mut tail = "";
    if !table.key.is_empty() {
        let names: Vec<String> = table.key_names().iter().map(|&name| quoted(name)).collect();
        parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
        // The rows stand in the key's own tree, instead of in a second one beside it.
        tail = " WITHOUT ROWID";
    }
    format!(
        "CREATE TABLE {} ({}){tail}",
        quoted(&table.target),
        parts.join(", ")
    )
}

/// Notes that this pipeline keeps `table`.
pub(super) fn register(
    transaction: &Transaction<'_>,
    pipeline: &str,
    table: &SinkTable,
    created: Admission,
) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO tidemark_tables (table_name, pipeline, created_by_pipeline) VALUES (?, ?, ?)
         ON CONFLICT DO NOTHING",
        params![table.target, pipeline, created == Admission::Create],
    )?;
    Ok(())
}

/// Forgets everything that `pipeline` keeps: its rows, its mark, and which tables are its own. A
/// table that it made itself and that is not as declared any more is dropped, so that the next
/// start makes it anew.
pub(super) fn empty(
    transaction: &Transaction<'_>,
    pipeline: &str,
    declared: &[SinkTable],
) -> rusqlite::Result<()> {
    let kept: Vec<(String, bool)> = transaction
        .prepare("SELECT table_name, created_by_pipeline FROM tidemark_tables WHERE pipeline = ?")?
        .query_map([pipeline], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (name, created) in kept {
        let Some(existing) = Existing::read(transaction, &name)? else {
            continue;
        };
        let still_fits = declared.iter().any(|table| {
            table.target.eq_ignore_ascii_case(&name) && fits(table, &existing).is_ok()
        });
        if existing.is_view {
            continue;
        }
        let statement = if created && !still_fits {
            "DROP TABLE"
        } else {
            "DELETE FROM"
        };
        transaction.execute_batch(&format!("{statement} {}", quoted(&name)))?;
    }
    transaction.execute("DELETE FROM tidemark_tables WHERE pipeline = ?", [pipeline])?;
    transaction.execute("DELETE FROM tidemark_marks WHERE pipeline = ?", [pipeline])?;
    Ok(())
}

/// A name as SQL: any character may stand in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Facts {
    /// Looks at `table` and at who keeps it.
    pub(super) fn gather(
        connection: &Connection,
        pipeline: &str,
        table: &SinkTable,
        row: Option<&MarkRow>,
    ) -> rusqlite::Result<Self> {
        let keeper: Option<String> = if exists(connection, "tidemark_tables")?.is_some() {
            connection
                .query_row(
                    "SELECT pipeline FROM tidemark_tables WHERE table_name = ?",
                    [&table.target],
                    |row| row.get(0),
                )
                .optional()?
        } else {
            None
        };
        Ok(Self {
            existing: Existing::read(connection, &table.target)?,
            kept_by_us: keeper.as_deref() == Some(pipeline),
            keeper,
            has_mark: row.is_some_and(|row| row.mark.is_some()),
        })
    }
}

/// `table` or `view`, if there is one of this name.
pub(super) fn exists(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .query_row(
            "SELECT type FROM sqlite_master
             WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE",
            [name],
            |row| row.get(0),
        )
        .optional()
}

impl Existing {
    fn read(connection: &Connection, name: &str) -> rusqlite::Result<Option<Self>> {
        let Some(kind) = exists(connection, name)? else {
            return Ok(None);
        };
        let mut columns: Vec<(i64, ExistingColumn)> = connection
            .prepare(
                "SELECT pk, name, type, \"notnull\", dflt_value IS NOT NULL, hidden
                 FROM pragma_table_xinfo(?) ORDER BY cid",
            )?
            .query_map([name], |row| {
                let column = ExistingColumn {
                    name: row.get(1)?,
                    declared: row.get(2)?,
                    not_null: row.get(3)?,
                    has_default: row.get(4)?,
                    generated: row.get::<_, i64>(5)? != 0,
                    in_primary_key: row.get::<_, i64>(0)? > 0,
                };
                Ok((row.get(0)?, column))
            })?
            .collect::<rusqlite::Result<_>>()?;

        let mut unique: Vec<Unique> = connection
            .prepare("SELECT name FROM pragma_index_list(?) WHERE \"unique\" = 1 AND partial = 0")?
            .query_map([name], |row| row.get::<_, String>(0))?
            .map(|index| index.and_then(|index| Unique::read(connection, &index)))
            .collect::<rusqlite::Result<_>>()?;
        // An INTEGER PRIMARY KEY has no index: it is the rowid.
        let primary = columns.iter().filter(|(pk, _)| *pk > 0);
        let primary = sorted(primary.map(|(_, column)| column.name.as_str()));
        if primary.len() == 1 && unique.iter().all(|unique| unique.columns != primary) {
            unique.push(Unique {
                columns: primary,
                collation: None,
            });
        }
        let has_rows = kind == "table"
            && connection.query_row(
                &format!("SELECT EXISTS (SELECT 1 FROM {})", quoted(name)),
                [],
                |row| row.get(0),
            )?;
        Ok(Some(Self {
            is_view: kind == "view",
            columns: columns.drain(..).map(|(_, column)| column).collect(),
            unique,
            has_rows,
        }))
    }
}

impl Unique {
    /// The key columns of an index; an expression among them gets a name that no column has.
    fn read(connection: &Connection, index: &str) -> rusqlite::Result<Self> {
        let columns: Vec<(String, String)> = connection
            .prepare("SELECT coalesce(name, ''), coll FROM pragma_index_xinfo(?) WHERE key = 1")?
            .query_map([index], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let collations = columns.iter().map(|(_, collation)| collation);
        let loose = collations
            .into_iter()
            .find(|c| !c.eq_ignore_ascii_case("binary"))
            .cloned();
        Ok(Self {
            columns: sorted(columns.iter().map(|(name, _)| name.as_str())),
            collation: loose,
        })
    }
}
