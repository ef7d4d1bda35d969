//! Tables that somebody alters while a pipeline writes them.
//!
//! A binary COPY carries no types: PostgreSQL reads each value as what its column is by now, and if
//! the width fits, takes whatever comes of it. So a transaction that copies into a table first locks
//! it against being altered, as COPY itself would a moment later, and looks at its columns. Where they
//! are not those that the rows were made for, nothing is written, the tables are looked at as by a
//! start, and the epoch is made anew for what they are now, or refused.

use postgres::{Client, Error, SimpleQueryMessage};

use super::admit;
use super::destination::{Postgres, first_of};
use super::facts::Facts;
use super::marks::literal;
use super::plan::Plan;
use crate::connector::ConnectorError;

/// Whether the columns that are written are what they were when the plan was made. They stay so until
/// the transaction ends.
pub(super) fn is_as_planned(client: &mut Client, plan: &Plan) -> Result<bool, Error> {
    let table = plan.spec.target.sql();
    let sql = format!(
        "lock table only {table} in row exclusive mode;
         select attname, format_type(atttypid, atttypmod) from pg_attribute
         where attrelid = {}::regclass and attnum > 0 and not attisdropped",
        literal(&table)
    );
    let answers = client.simple_query(&sql)?;
    let mut columns = Vec::new();
    for answer in &answers {
        if let SimpleQueryMessage::Row(row) = answer {
            columns.extend(row.get(0).zip(row.get(1)));
        }
    }
    let is_there =
        |(name, declared): &(String, String)| columns.contains(&(name.as_str(), declared.as_str()));
    Ok(plan.columns.iter().all(is_there))
}

impl Postgres {
    /// The table of plan `at` is not as planned: plans how to write all of them as they are now. Says
    /// why the epoch has to be made again, or what is against it.
    pub(super) fn plan_again(&mut self, at: usize) -> ConnectorError {
        match self.planned_again() {
            Ok(Ok(())) => ConnectorError::Transient(format!(
                "table `{}` was altered: the rows are made again, for what it is now",
                self.tenure().plans[at].spec.target
            )),
            Ok(Err(refusal)) => refusal,
            Err(error) => {
                self.session = None;
                self.error("read", &error)
            }
        }
    }

    fn planned_again(&mut self) -> Result<Result<(), ConnectorError>, Error> {
        let (Some(tenure), Some(session)) = (&mut self.tenure, &mut self.session) else {
            unreachable!("it was found in a transaction of this start");
        };
        let client = &mut session.client;
        let row = tenure.marks.peek(client)?;
        for (at, plan) in tenure.plans.iter_mut().enumerate() {
            let (marks, target) = (&tenure.marks, &plan.spec.target);
            let facts = Facts::gather(client, marks, true, &self.pipeline, target, row.as_ref())?;
            if let Err(refusals) = admit::admit(&plan.spec, &facts) {
                return Ok(Err(first_of(refusals)));
            }
            *plan = Plan::new(plan.spec.clone(), &facts.existing.unwrap_or_default(), at);
        }
        Ok(Ok(()))
    }
}
