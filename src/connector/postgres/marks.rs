//! The two tables of our own: how far each pipeline got, and which tables it keeps.
//!
//! A row is only ever taken over, confirmed or moved by an UPDATE. It waits for a commit in flight
//! and then sees its outcome; a SELECT may be stale.

use postgres::{Client, Error, Row, SimpleQueryMessage};

use super::quoted;
use crate::types::{Epoch, Mark};

/// The tables of our own in one schema, for one pipeline.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    marks: String,
    tables: String,
    pipeline: String,
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
    /// The statement that mends it, but for the role.
    pub(super) what: String,
    pub(super) role: String,
}

const COLUMNS: &str = "generation, epoch, mark::text";

impl Marks {
    pub(super) fn new(schema: &str, pipeline: &str) -> Self {
        let own = |name: &str| format!("{}.{name}", quoted(schema));
        Self {
            marks: own("tidemark_marks"),
            tables: own("tidemark_tables"),
            pipeline: pipeline.to_owned(),
        }
    }

    /// The name of the table of tables, as SQL.
    pub(super) fn tables(&self) -> &str {
        &self.tables
    }

    pub(super) fn exist(&self, client: &mut Client) -> Result<bool, Error> {
        let sql = "select to_regclass($1) is not null and to_regclass($2) is not null";
        Ok(client.query_one(sql, &[&self.marks, &self.tables])?.get(0))
    }

    /// Makes the tables, if they are missing. Two starts at once take turns.
    pub(super) fn create(&self, client: &mut Client) -> Result<(), Error> {
        if self.exist(client)? {
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
        ))
    }

    /// The row as it was a moment ago, for whoever only looks.
    pub(super) fn peek(&self, client: &mut Client) -> Result<Option<MarkRow>, Error> {
        if !self.exist(client)? {
            return Ok(None);
        }
        let sql = format!("select {COLUMNS} from {} where pipeline = $1", self.marks);
        let row = client.query_opt(&sql, &[&self.pipeline])?;
        Ok(row.as_ref().map(MarkRow::new))
    }

    /// What the role lacks to keep a mark: the privilege, and on what.
    pub(super) fn lacking(&self, client: &mut Client, schema: &str) -> Result<Lacking, Error> {
        let sql =
            "select coalesce(has_table_privilege(m, 'insert') and has_table_privilege(m, 'select')
                        and has_table_privilege(m, 'update') and has_table_privilege(m, 'delete')
                        and has_table_privilege(t, 'insert') and has_table_privilege(t, 'select')
                        and has_table_privilege(t, 'delete'), has_schema_privilege($3, 'create')),
                     m is not null and t is not null, current_user::text
                   from (select to_regclass($1) m, to_regclass($2) t) own";
        let row = client.query_one(sql, &[&self.marks, &self.tables, &schema])?;
        let exist: bool = row.get(1);
        Ok(Lacking {
            nothing: row.get(0),
            what: if exist {
                format!(
                    "GRANT INSERT, SELECT, UPDATE, DELETE ON {}, {}",
                    self.marks, self.tables
                )
            } else {
                format!("GRANT CREATE ON SCHEMA {}", quoted(schema))
            },
            role: row.get(2),
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
        let sql = format!(
            "insert into {} as m (pipeline, generation, incarnation) values ($1, 1, $2)
             on conflict (pipeline) do update
             set generation = m.generation + 1, incarnation = excluded.incarnation
             where $3 or m.incarnation <> excluded.incarnation
             returning {COLUMNS}",
            self.marks
        );
        let row = client.query_opt(&sql, &[&self.pipeline, &incarnation, &again])?;
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
            "update {} set epoch = epoch where pipeline = $1 and incarnation = $2
             returning {COLUMNS}",
            self.marks
        );
        let row = client.query_opt(&sql, &[&self.pipeline, &incarnation])?;
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
            "{} update {} set epoch = {}, mark = {} where pipeline = {} and incarnation = {}",
            begin(synchronous),
            self.marks,
            mark.epoch.0,
            literal(&text),
            literal(&self.pipeline),
            literal(incarnation),
        );
        let answers = client.simple_query(&sql)?;
        let last = answers.into_iter().next_back();
        Ok(matches!(last, Some(SimpleQueryMessage::CommandComplete(1))))
    }

    /// Forgets the row; a process that still publishes matches none any more.
    pub(super) fn forget(&self, client: &mut Client) -> Result<(), Error> {
        let sql = format!("delete from {} where pipeline = $1", self.marks);
        client.execute(&sql, &[&self.pipeline])?;
        Ok(())
    }

    /// Who else holds a lock on the marks, for a message: process id and application.
    pub(super) fn holders(&self, client: &mut Client) -> Result<Vec<String>, Error> {
        let sql = "select format('process %s (%s)', a.pid, a.application_name)
                   from pg_locks l join pg_stat_activity a on a.pid = l.pid
                   where l.relation = to_regclass($1) and l.granted and l.pid <> pg_backend_pid()
                     and l.mode = 'RowExclusiveLock'";
        let rows = client.query(sql, &[&self.marks])?;
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
