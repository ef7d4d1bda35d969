//! What is there before a start writes: one query of PostgreSQL's catalogs per table.

use postgres::{Client, Error};
use serde::Deserialize;

use super::marks::{MarkRow, Marks, Written};
use super::plan::Target;
use super::quoted;

/// What is known about one table.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The table as it is, if it is.
    pub(super) existing: Option<Existing>,
    /// The pipeline that keeps it, by `tidemark_tables`.
    pub(super) keeper: Option<String>,
    /// Whether that pipeline is this one.
    pub(super) kept_by_us: bool,
    /// Whether this pipeline has published here.
    pub(super) has_mark: bool,
    /// How this pipeline has written it, if not as now.
    pub(super) other_lanes: Option<Written>,
    /// Whether there is such a schema, and whether the role may make a table in it.
    pub(super) schema_exists: bool,
    pub(super) may_create: bool,
    /// Whether the role may make temporary tables.
    pub(super) may_stage: bool,
    pub(super) role: String,
}

/// A table that is there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Existing {
    /// As in `pg_class`: `r` is a table, `p` a partitioned one, `v` a view.
    pub(super) kind: String,
    /// `u` is an unlogged table, `t` a temporary one.
    pub(super) persistence: String,
    pub(super) row_security: bool,
    /// Whether the role may do what only an owner may: make an index.
    pub(super) owned: bool,
    /// Of INSERT, SELECT, UPDATE, DELETE, those that the role lacks.
    pub(super) lacking: Vec<String>,
    pub(super) columns: Vec<ExistingColumn>,
    pub(super) unique: Vec<Unique>,
    /// The columns of every index, in its order.
    pub(super) indexes: Vec<Vec<String>>,
    #[serde(skip)]
    pub(super) has_rows: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExistingColumn {
    pub(super) name: String,
    /// As in `pg_type`.
    pub(super) kind: String,
    /// Whether that type is PostgreSQL's own.
    pub(super) built_in: bool,
    pub(super) modifier: i32,
    /// As people write it.
    pub(super) declared: String,
    pub(super) not_null: bool,
    pub(super) has_default: bool,
    pub(super) generated: bool,
    pub(super) identity_always: bool,
    /// A collation by which texts that differ may be equal.
    pub(super) loose_collation: Option<String>,
}

/// Columns of which no two rows have the same values: every unique index without a condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Unique {
    pub(super) name: String,
    /// Sorted; an expression has no name.
    pub(super) columns: Vec<Option<String>>,
    pub(super) primary: bool,
    /// A deferrable one cannot serve ON CONFLICT.
    pub(super) immediate: bool,
}

const EXISTING: &str = "
select json_build_object(
  'kind', c.relkind,
  'persistence', c.relpersistence,
  'row_security', c.relrowsecurity
     and not (select rolbypassrls or rolsuper from pg_roles where rolname = current_user)
     and (c.relforcerowsecurity or not pg_has_role(c.relowner, 'usage')),
  'owned', pg_has_role(c.relowner, 'usage'),
  'lacking', (select coalesce(json_agg(p), '[]') from unnest(array['INSERT','SELECT','UPDATE','DELETE']) p
     where not has_table_privilege(c.oid, p)),
  'columns', (select coalesce(json_agg(json_build_object(
       'name', a.attname, 'kind', t.typname, 'modifier', a.atttypmod,
       'built_in', t.typnamespace = 'pg_catalog'::regnamespace,
       'declared', format_type(a.atttypid, a.atttypmod),
       'not_null', a.attnotnull,
       'has_default', (a.atthasdef and a.attgenerated = '') or a.attidentity <> '',
       'generated', a.attgenerated <> '',
       'identity_always', a.attidentity = 'a',
       'loose_collation', case when not k.collisdeterministic then k.collname end) order by a.attnum), '[]')
     from pg_attribute a join pg_type t on t.oid = a.atttypid
     left join pg_collation k on k.oid = a.attcollation
     where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
  'unique', (select coalesce(json_agg(json_build_object(
       'name', i.indexrelid::regclass::text, 'primary', i.indisprimary, 'immediate', i.indimmediate,
       'columns', (select json_agg(a.attname order by a.attname)
         from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) n
         left join pg_attribute a on a.attrelid = c.oid and a.attnum = n and n > 0))), '[]')
     from pg_index i where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null),
  'indexes', (select coalesce(json_agg((select json_agg(coalesce(a.attname, '') order by at)
         from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) with ordinality n(n, at)
         left join pg_attribute a on a.attrelid = c.oid and a.attnum = n and n > 0)), '[]')
     from pg_index i where i.indrelid = c.oid and i.indisvalid and i.indpred is null)
)::text
from pg_class c join pg_namespace s on s.oid = c.relnamespace
where s.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'c')";

impl Existing {
    /// The relation of this name, whatever it is.
    pub(super) fn read(client: &mut Client, target: &Target) -> Result<Option<Self>, Error> {
        let row = client.query_opt(EXISTING, &[&target.schema, &target.name])?;
        let Some(row) = row else {
            return Ok(None);
        };
        let mut existing: Self =
            serde_json::from_str(row.get(0)).expect("the query above makes what is read here");
        let readable = !existing.lacking.iter().any(|p| p == "SELECT");
        if existing.is_table() && readable {
            let sql = format!("select exists (select 1 from {})", target.sql());
            existing.has_rows = client.query_one(&sql, &[])?.get(0);
        }
        Ok(Some(existing))
    }

    pub(super) fn is_table(&self) -> bool {
        self.kind == "r" || self.kind == "p"
    }

    pub(super) fn column(&self, name: &str) -> Option<&ExistingColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl Facts {
    /// Looks at a table and at who keeps it. `own` is whether the tables of our own are there.
    pub(super) fn gather(
        client: &mut Client,
        marks: &Marks,
        own: bool,
        pipeline: &str,
        target: &Target,
        row: Option<&MarkRow>,
    ) -> Result<Self, Error> {
        let keeper: Option<String> = if own {
            let sql = format!(
                "select pipeline from {} where schema_name = $1 and table_name = $2",
                marks.tables()
            );
            let row = client.query_opt(&sql, &[&target.schema, &target.name])?;
            row.map(|row| row.get(0))
        } else {
            None
        };
        let schema = client.query_one(
            "select current_user::text, to_regnamespace($1) is not null,
                    coalesce(has_schema_privilege(to_regnamespace($1), 'create'), false),
                    has_database_privilege(current_database(), 'temporary')",
            &[&quoted(&target.schema)],
        )?;
        Ok(Self {
            existing: Existing::read(client, target)?,
            kept_by_us: keeper.as_deref() == Some(pipeline),
            keeper,
            has_mark: row.is_some_and(|row| row.mark.is_some()),
            role: schema.get(0),
            other_lanes: None,
            schema_exists: schema.get(1),
            may_create: schema.get(2),
            may_stage: schema.get(3),
        })
    }
}
