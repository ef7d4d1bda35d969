//! The tables of our own: how far each pipeline got, and which tables it keeps.
//!
//! A lane of a table has a row of its own, in a table that is there once somebody has lanes:
//!
//! ```text
//!   tidemark_marks   pipeline                  one row for all tables that move together
//!   tidemark_lanes   pipeline, sink, lane      one row per lane; `lanes` is how many there are
//!   tidemark_tables  schema_name, table_name   which pipeline keeps it
//! ```
//!
//! A row is only ever taken over, confirmed or moved by an UPDATE. It waits for a commit in flight
//! and then sees its outcome; a SELECT may be stale.

use postgres::{Client, Error, Row, SimpleQueryMessage};

use super::plan::Target;
use super::quoted;
use crate::connector::Share;
use crate::types::{Epoch, Mark};

/// The tables of our own in one schema, for one pipeline.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    marks: String,
    lanes: String,
    tables: String,
    pipeline: String,
    lane: Option<Lane>,
}

/// A lane of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// The table's name in the pipeline file.
    pub(super) sink: String,
    pub(super) share: Share,
}

/// How a table has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Whole, with the others of its pipeline.
    Whole,
    /// In so many lanes.
    InLanes(i32),
}

/// The pipeline's row.
#[derive(Debug)]
pub(super) struct MarkRow {
    pub(super) generation: i64,
    /// None until the first publish.
    pub(super) epoch: Option<Epoch>,
    pub(super) mark: Option<String>,
}

impl MarkRow {
    fn new(row: &Row) -> Self {
        let epoch: Option<i64> = row.get(1);
        Self {
            generation: row.get(0),
            epoch: epoch.map(|epoch| Epoch(u64::try_from(epoch).unwrap_or_default())),
            mark: row.get(2),
        }
    }
}

/// What a role may not do with the tables of our own.
pub(super) struct Lacking {
    pub(super) nothing: bool,
    /// The statement that mends it.
    pub(super) mend: String,
    pub(super) role: String,
}

const COLUMNS: &str = "generation, epoch, mark::text";

impl Marks {
    pub(super) fn new(schema: &str, pipeline: &str, lane: Option<&Lane>) -> Self {
        let own = |name: &str| format!("{}.{name}", quoted(schema));
        Self {
            marks: own("tidemark_marks"),
            lanes: own("tidemark_lanes"),
            tables: own("tidemark_tables"),
            pipeline: pipeline.to_owned(),
            lane: lane.cloned(),
        }
    }

    /// The table that our row is in.
    fn own(&self) -> &str {
        match self.lane {
            None => &self.marks,
            Some(_) => &self.lanes,
        }
    }

    /// Which row is ours, as a condition.
    fn ours(&self) -> String {
        let pipeline = literal(&self.pipeline);
        match &self.lane {
            None => format!("pipeline = {pipeline}"),
            Some(Lane { sink, share }) => format!(
                "pipeline = {pipeline} and sink = {} and lane = {}",
                literal(sink),
                share.index + 1
            ),
        }
    }

    /// The name of the table of tables, as SQL.
    pub(super) fn tables(&self) -> &str {
        &self.tables
    }

    /// Whether there are the tables that everybody has.
    pub(super) fn exist(&self, client: &mut Client) -> Result<bool, Error> {
        let sql = "select to_regclass($1) is not null and to_regclass($2) is not null";
        Ok(client.query_one(sql, &[&self.marks, &self.tables])?.get(0))
    }

    /// Whether anybody here has lanes. Those that the role may not see are not of this pipeline.
    fn has_lanes(&self, client: &mut Client) -> Result<bool, Error> {
        let sql = "select coalesce(has_table_privilege(to_regclass($1), 'select'), false)";
        Ok(client.query_one(sql, &[&self.lanes])?.get(0))
    }

    /// How this pipeline has written the sink `sink`, which is `table`, where it is not as now.
    pub(super) fn other_lanes(
        &self,
        client: &mut Client,
        sink: &str,
        table: &Target,
    ) -> Result<Option<Written>, Error> {
        let mut lanes: Option<i32> = None;
        if self.has_lanes(client)? {
            let sql = format!(
                "select lanes from {} where pipeline = $1 and sink = $2 limit 1",
                self.lanes
            );
            let row = client.query_opt(&sql, &[&self.pipeline, &sink])?;
            lanes = row.map(|row| row.get(0));
        }
        let now = self.lane.as_ref().map(|lane| lane.share.of);
        match (lanes, now) {
            (Some(lanes), now) if usize::try_from(lanes).ok() != now => {
                Ok(Some(Written::InLanes(lanes)))
            }
            // The first lane is written down together with the table.
            (None, Some(_)) if self.keeps(client, table)? => Ok(Some(Written::Whole)),
            (Some(_), _) | (None, _) => Ok(None),
        }
    }

    /// Whether this pipeline keeps the table.
    fn keeps(&self, client: &mut Client, table: &Target) -> Result<bool, Error> {
        if !self.exist(client)? {
            return Ok(false);
        }
        let sql = format!(
            "select from {} where schema_name = $1 and table_name = $2 and pipeline = $3",
            self.tables
        );
        let row = client.query_opt(&sql, &[&table.schema, &table.name, &self.pipeline])?;
        Ok(row.is_some())
    }

    /// Makes the tables, if they are missing. Two starts at once take turns.
    pub(super) fn create(&self, client: &mut Client) -> Result<(), Error> {
        if self.exist(client)? && (self.lane.is_none() || self.has_lanes(client)?) {
            return Ok(());
        }
        // Almost empty pages: the row is rewritten at every commit, within its page.
        client.batch_execute(&format!(
            "select pg_advisory_xact_lock(hashtextextended('tidemark', 0));
             create table if not exists {} (
                 pipeline text primary key,
                 generation bigint not null,
                 incarnation text not null,
                 epoch bigint,
                 mark jsonb
             ) with (fillfactor = 10);
             create table if not exists {} (
                 schema_name text not null,
                 table_name text not null,
                 pipeline text not null,
                 created_by_pipeline boolean not null,
                 primary key (schema_name, table_name)
             )",
            self.marks, self.tables
        ))?;
        if self.lane.is_none() {
            return Ok(());
        }
        client.batch_execute(&format!(
            "create table if not exists {} (
                 pipeline text not null,
                 sink text not null,
                 lane int not null,
                 lanes int not null,
                 generation bigint not null,
                 incarnation text not null,
                 epoch bigint,
                 mark jsonb,
                 primary key (pipeline, sink, lane)
             ) with (fillfactor = 10)",
            self.lanes
        ))
    }

    /// The row as it was a moment ago, for whoever only looks.
    pub(super) fn peek(&self, client: &mut Client) -> Result<Option<MarkRow>, Error> {
        if !self.exist(client)? || (self.lane.is_some() && !self.has_lanes(client)?) {
            return Ok(None);
        }
        let sql = format!("select {COLUMNS} from {} where {}", self.own(), self.ours());
        let row = client.query_opt(&sql, &[])?;
        Ok(row.as_ref().map(MarkRow::new))
    }

    /// What the role lacks to keep a mark: the privilege, and on what.
    pub(super) fn lacking(&self, client: &mut Client, schema: &str) -> Result<Lacking, Error> {
        let sql =
            "select coalesce(has_table_privilege(m, 'insert') and has_table_privilege(m, 'select')
                        and has_table_privilege(m, 'update') and has_table_privilege(m, 'delete')
                        and has_table_privilege(t, 'insert') and has_table_privilege(t, 'select')
                        and has_table_privilege(t, 'delete'), has_schema_privilege($3, 'create')),
                     coalesce(row_security_active(m) or row_security_active(t), false),
                     m is not null and t is not null, current_user::text
                   from (select to_regclass($1) m, to_regclass($2) t) own";
        let row = client.query_one(sql, &[&self.own(), &self.tables, &schema])?;
        let (granted, secured, exist): (bool, bool, bool) = (row.get(0), row.get(1), row.get(2));
        let role: String = row.get(3);
        let (own, tables, to) = (self.own(), &self.tables, quoted(&role));
        let mend = match (exist, granted) {
            (true, false) => {
                format!("GRANT INSERT, SELECT, UPDATE, DELETE ON {own}, {tables} TO {to}")
            }
            (true, true) => format!(
                "ALTER TABLE {own} DISABLE ROW LEVEL SECURITY; ALTER TABLE {tables} DISABLE ROW \
                 LEVEL SECURITY"
            ),
            (false, _) => format!("GRANT CREATE ON SCHEMA {} TO {to}", quoted(schema)),
        };
        Ok(Lacking {
            nothing: granted && !secured,
            mend,
            role,
        })
    }

    /// Writes this incarnation into the row: whoever was in it is fenced. None if it is in it
    /// already, and `again` does not say that we may have written it.
    pub(super) fn take_over(
        &self,
        client: &mut Client,
        incarnation: &str,
        again: bool,
    ) -> Result<Option<MarkRow>, Error> {
        let pipeline = literal(&self.pipeline);
        let (columns, values, key) = match &self.lane {
            None => ("pipeline", pipeline, "pipeline"),
            Some(Lane { sink, share }) => (
                "pipeline, sink, lane, lanes",
                format!(
                    "{pipeline}, {}, {}, {}",
                    literal(sink),
                    share.index + 1,
                    share.of
                ),
                "pipeline, sink, lane",
            ),
        };
        let sql = format!(
            "insert into {} as m ({columns}, generation, incarnation) values ({values}, 1, $1)
             on conflict ({key}) do update
             set generation = m.generation + 1, incarnation = excluded.incarnation
             where $2 or m.incarnation <> excluded.incarnation
             returning {COLUMNS}",
            self.own()
        );
        let row = client.query_opt(&sql, &[&incarnation, &again])?;
        Ok(row.as_ref().map(MarkRow::new))
    }

    /// A write that changes nothing: the row as the last commit of this incarnation left it, or
    /// none if it has been taken over.
    pub(super) fn confirm(
        &self,
        client: &mut Client,
        incarnation: &str,
    ) -> Result<Option<MarkRow>, Error> {
        let sql = format!(
            "update {} set epoch = epoch where {} and incarnation = $1
             returning {COLUMNS}",
            self.own(),
            self.ours()
        );
        let row = client.query_opt(&sql, &[&incarnation])?;
        Ok(row.as_ref().map(MarkRow::new))
    }

    /// Begins the transaction of an epoch with its mark, in one round trip. Whether the row was
    /// ours.
    pub(super) fn advance(
        &self,
        client: &mut Client,
        incarnation: &str,
        mark: &Mark,
        synchronous: bool,
    ) -> Result<bool, Error> {
        let text = serde_json::to_string(mark).expect("a mark is plain data");
        let sql = format!(
            "{} update {} set epoch = {}, mark = {} where {} and incarnation = {}",
            begin(synchronous),
            self.own(),
            mark.epoch.0,
            literal(&text),
            self.ours(),
            literal(incarnation),
        );
        let answers = client.simple_query(&sql)?;
        let last = answers.into_iter().next_back();
        Ok(matches!(last, Some(SimpleQueryMessage::CommandComplete(1))))
    }

    /// Forgets the pipeline's rows, those of all lanes too; a process that still publishes matches
    /// none any more.
    pub(super) fn forget(&self, client: &mut Client) -> Result<(), Error> {
        let lanes = self.has_lanes(client)?.then_some(&self.lanes);
        for table in [&self.marks].into_iter().chain(lanes) {
            let sql = format!("delete from {table} where pipeline = $1");
            client.execute(&sql, &[&self.pipeline])?;
        }
        Ok(())
    }

    /// Who else holds a lock on the marks, for a message: process id and application.
    pub(super) fn holders(&self, client: &mut Client) -> Result<Vec<String>, Error> {
        let sql = "select format('process %s (%s)', a.pid, a.application_name)
                   from pg_locks l join pg_stat_activity a on a.pid = l.pid
                   where l.relation = to_regclass($1) and l.granted and l.pid <> pg_backend_pid()
                     and l.mode = 'RowExclusiveLock'";
        let rows = client.query(sql, &[&self.own()])?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

/// The beginning of every transaction. READ COMMITTED, whatever the role has set: a statement
/// that waited must see what it waited for.
pub(super) fn begin(synchronous: bool) -> &'static str {
    if synchronous {
        "begin isolation level read committed read write; set local synchronous_commit = on;"
    } else {
        "begin isolation level read committed read write;"
    }
}

/// Commits. A COMMIT of a failed transaction reports success, but a statement in it does not.
pub(super) fn commit(client: &mut Client) -> Result<(), Error> {
    client.batch_execute("select 1; commit")
}

/// A text as SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
