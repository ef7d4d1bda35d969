//! `--fresh`: forgets everything that a pipeline keeps in a database, in one transaction.

use postgres::{Client, Error};

use super::admit;
use super::destination::Postgres;
use super::facts::{Existing, Facts};
use super::marks::{self, Marks};
use super::plan::Target;
use super::session::Connected;
use crate::connector::ConnectorError;

/// Removes the pipeline's rows and its mark. A table that the pipeline made itself and that is not
/// as declared any more is dropped, so that the next start makes it anew. All destinations of the
/// pipeline in one database do the same: between two of them no row is without its mark.
pub(super) fn empty(sink: &Postgres) -> Result<(), ConnectorError> {
    let Connected {
        mut client, schema, ..
    } = sink.connect()?;
    let marks = Marks::new(&schema, &sink.pipeline, None);
    let failed = |e| sink.error("empty", &e);
    if !marks.exist(&mut client).map_err(failed)? {
        return Ok(());
    }
    client.batch_execute(marks::begin(true)).map_err(failed)?;
    // The mark first, as always: whoever publishes ends before, or finds none.
    marks.forget(&mut client).map_err(failed)?;
    remove(&mut client, sink, &marks, &schema).map_err(failed)?;
    marks::commit(&mut client).map_err(failed)
}

fn remove(client: &mut Client, sink: &Postgres, marks: &Marks, schema: &str) -> Result<(), Error> {
    client.batch_execute("set local statement_timeout = 0")?;
    let tables = marks.tables();
    let kept = client.query(
        &format!(
            "delete from {tables} where pipeline = $1
             returning schema_name, table_name, created_by_pipeline"
        ),
        &[&sink.pipeline],
    )?;
    for row in kept {
        let target = Target {
            schema: row.get(0),
            name: row.get(1),
        };
        let Some(existing) = Existing::read(client, &target)? else {
            continue;
        };
        if !existing.is_table() {
            continue;
        }
        let declared = sink.specs.iter().chain(&sink.beside);
        let declared = declared.map(|spec| spec.within(schema));
        let fits = declared
            .filter(|spec| spec.target == target)
            .any(|spec| admit::differences(&spec, &existing, &Facts::default()).is_empty());
        let created: bool = row.get(2);
        let verb = if created && !fits {
            "drop table"
        } else {
            "delete from"
        };
        client.batch_execute(&format!("{verb} {}", target.sql()))?;
    }
    Ok(())
}
