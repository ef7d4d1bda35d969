//! The destination: one database, one connection, one transaction per epoch.

use std::sync::{Mutex, PoisonError};

use postgres::{Client, Error};
use tracing::{info, warn};

use super::address::Address;
use super::admit::{self, Admission};
use super::empty;
use super::error::{self, Class};
use super::facts::{Existing, Facts};
use super::hold::{Hold, Missing};
use super::marks::{self, Lane, MarkRow, Marks};
use super::options::refuse_twin;
use super::plan::{Plan, Spec};
use super::rows::Ready;
use super::session::{self, Connected, Limits};
use super::write::{self, Prepared, Unwritten};
use crate::connector::sink::Refusal;
use crate::connector::{ConnectorError, Destination, Finding, TableChanges};
use crate::types::{Epoch, Mark};

/// The tables that one pipeline keeps in one PostgreSQL database.
pub struct Postgres {
    pub(super) address: Address,
    pub(super) limits: Limits,
    pub(super) pipeline: String,
    pub(super) specs: Vec<Spec>,
    /// Tables of this database that the pipeline writes by other connections.
    pub(super) beside: Vec<Spec>,
    lane: Option<Lane>,
    /// What there is once this start has taken over.
    pub(super) tenure: Option<Tenure>,
    /// None while the connection is lost.
    pub(super) session: Option<Session>,
    /// The connection of a look at the mark: who looks is about to take over.
    pub(super) looked: Mutex<Option<Connected>>,
    /// The incarnation that this destination has tried to take over with.
    attempted: Option<u64>,
}

/// This start's hold on the database. It outlives connections.
pub(super) struct Tenure {
    incarnation: String,
    pub(super) marks: Marks,
    pub(super) plans: Vec<Plan>,
    pub(super) hold: Hold,
    pub(super) missing: Missing,
    /// The last epoch that was acknowledged, or found.
    pub(super) acknowledged: Option<Epoch>,
    /// The epoch that was under way when the connection was lost: it may have been applied.
    in_doubt: Option<Epoch>,
}

/// One connection.
pub(super) struct Session {
    pub(super) client: Client,
    prepared: Vec<Prepared>,
    /// The epoch of the mark.
    holds: Option<Epoch>,
}

/// Why an epoch was not written.
enum Fault {
    /// No row of the marks is ours.
    NotOurs,
    /// The table of this plan is not any more what its rows were made for.
    Altered(usize),
    /// At this part of what is written, or at none of them.
    Server(Error, Option<usize>),
    /// The commit itself: its outcome is what the server says, or unknown.
    Commit(Error),
}

impl Postgres {
    /// Touches nothing yet.
    pub(super) fn new(address: Address, limits: Limits, pipeline: &str, specs: Vec<Spec>) -> Self {
        Self {
            address,
            limits,
            pipeline: pipeline.to_owned(),
            specs,
            beside: Vec::new(),
            lane: None,
            tenure: None,
            session: None,
            looked: Mutex::default(),
            attempted: None,
        }
    }

    /// One of several that write to the database.
    pub(super) fn beside(self, beside: Vec<Spec>, lane: Option<Lane>) -> Self {
        Self {
            beside,
            lane,
            ..self
        }
    }

    fn marks(&self, schema: &str) -> Marks {
        Marks::new(schema, &self.pipeline, self.lane.as_ref())
    }

    pub(super) fn connect(&self) -> Result<Connected, ConnectorError> {
        session::connect(&self.address, self.limits, &self.pipeline)
    }

    pub(super) fn error(&self, doing: &str, error: &Error) -> ConnectorError {
        error::converted(doing, &self.address, error)
    }

    /// As `error`, for waiting for the mark's row: says who holds it.
    fn waited(&self, client: &mut Client, marks: &Marks, error: &Error) -> ConnectorError {
        let locked = error.code() == Some(&postgres::error::SqlState::LOCK_NOT_AVAILABLE);
        let plain = self.error("write to", error);
        if !locked || client.batch_execute("rollback").is_err() {
            return plain;
        }
        match marks.holders(client) {
            Ok(holders) if !holders.is_empty() => ConnectorError::Transient(format!(
                "could not write to `{}`: a transaction of {} holds the mark",
                self.address,
                holders.join(" and of ")
            )),
            Ok(_) | Err(_) => plain,
        }
    }

    pub(super) fn parse_mark(&self, text: &str) -> Result<Mark, ConnectorError> {
        serde_json::from_str(text).map_err(|error| {
            ConnectorError::hinted(
                format!(
                    "cannot read the mark of pipeline `{}` in `{}`: {error}",
                    self.pipeline, self.address
                ),
                "it was written by another version, or by hand; start over with --fresh",
            )
        })
    }

    /// Everything that is there about each table, and whether it may be kept.
    fn admissions(
        &self,
        client: &mut Client,
        marks: &Marks,
        schema: &str,
        row: Option<&MarkRow>,
    ) -> Result<Vec<Admitted>, Error> {
        let own = marks.exist(client)?;
        let mut admitted = Vec::with_capacity(self.specs.len());
        for spec in &self.specs {
            let spec = spec.within(schema);
            let pipeline = &self.pipeline;
            let mut facts = Facts::gather(client, marks, own, pipeline, &spec.target, row)?;
            facts.other_lanes = marks.other_lanes(client, &spec.table.name, &spec.target)?;
            admitted.push(Admitted {
                outcome: admit::admit(&spec, &facts),
                spec,
            });
        }
        Ok(admitted)
    }

    /// Takes over within a transaction that is open: what is refused is rolled back with it.
    fn seize(
        &self,
        client: &mut Client,
        schema: &str,
        incarnation: &str,
        again: bool,
    ) -> Result<(MarkRow, Tenure), ConnectorError> {
        let failed = |e| self.error("write to", &e);
        let marks = self.marks(schema);
        let lacking = marks.lacking(client, schema).map_err(failed)?;
        if let Some(refusal) = admit::own_tables(&lacking) {
            return Err(refusal.into_error());
        }
        marks.create(client).map_err(failed)?;
        let row = match marks.take_over(client, incarnation, again) {
            Ok(row) => row.ok_or_else(|| two_names(&self.address))?,
            Err(error) => return Err(self.waited(client, &marks, &error)),
        };
        // Nobody waits for us from here on but whoever would be fenced; an index takes its time.
        client
            .batch_execute("set local statement_timeout = 0")
            .map_err(failed)?;
        let admitted = self
            .admissions(client, &marks, schema, Some(&row))
            .map_err(failed)?;
        let mut specs: Vec<Spec> = Vec::new();
        let mut plans = Vec::with_capacity(admitted.len());
        for (number, admitted) in admitted.into_iter().enumerate() {
            let admission = admitted.outcome.map_err(first_of)?;
            refuse_twin(&specs, &admitted.spec)?;
            specs.push(admitted.spec.clone());
            let spec = admitted.spec;
            let plan = keep(client, &marks, &self.pipeline, spec, admission, number);
            plans.push(plan.map_err(|e| self.error("make a table in", &e))?);
        }
        let acknowledged = row.epoch;
        let tenure = Tenure {
            incarnation: incarnation.to_owned(),
            marks,
            plans,
            hold: Hold::of(&row),
            missing: Missing::default(),
            acknowledged,
            in_doubt: None,
        };
        Ok((row, tenure))
    }

    /// The connection, made again if it is lost. A new one first finds out where the mark is.
    fn session(&mut self, epoch: Epoch) -> Result<&mut Session, ConnectorError> {
        if self.session.is_none() {
            let session = self.reconnect(epoch)?;
            self.session = Some(session);
        }
        Ok(self.session.as_mut().expect("it was put there just now"))
    }

    fn reconnect(&self, epoch: Epoch) -> Result<Session, ConnectorError> {
        let tenure = self.tenure();
        let mut client = self.connect()?.client;
        let row = match tenure.marks.confirm(&mut client, &tenure.incarnation) {
            Ok(Some(row)) => row,
            Ok(None) => return Err(self.unheld(&mut client, epoch)),
            Err(error) if error::is_missing(&error) => {
                return Err(self.unheld(&mut client, epoch));
            }
            Err(error) => return Err(self.waited(&mut client, &tenure.marks, &error)),
        };
        if row.epoch != tenure.acknowledged && row.epoch != tenure.in_doubt {
            return Err(self.rewound(tenure, row.epoch));
        }
        info!(destination = %self.address, epoch = ?row.epoch.map(|e| e.0), "connected again");
        Ok(Session {
            client,
            prepared: tenure.plans.iter().map(|_| Prepared::default()).collect(),
            holds: row.epoch,
        })
    }

    fn rewound(&self, tenure: &Tenure, found: Option<Epoch>) -> ConnectorError {
        match (tenure.acknowledged, found) {
            (Some(acknowledged), found) if found < Some(acknowledged) => ConnectorError::Rewound {
                destination: self.address.to_string(),
                acknowledged,
                found: found.unwrap_or(Epoch(0)),
            },
            (_, found) => ConnectorError::hinted(
                format!(
                    "`{}` is at epoch {}, which this process has not written",
                    self.address,
                    found.map_or(0, |epoch| epoch.0)
                ),
                "somebody changed tidemark_marks; start over with --fresh",
            ),
        }
    }

    pub(super) fn tenure(&self) -> &Tenure {
        self.tenure
            .as_ref()
            .expect("a destination is taken over before it publishes")
    }

    /// Ends a transaction that failed. If even that fails, the connection is of no use.
    pub(super) fn roll_back(&mut self) {
        let ended = self
            .session
            .as_mut()
            .is_some_and(|session| session.client.batch_execute("rollback").is_ok());
        if !ended {
            self.session = None;
        }
    }

    /// What a fault means, having brought the connection into a state to go on from.
    fn after(&mut self, fault: Fault, mark: &Mark, ready: &[Ready]) -> ConnectorError {
        let (error, at, committing) = match fault {
            Fault::NotOurs => return self.no_row(mark.epoch),
            // The mark is what is written first.
            Fault::Server(error, None) if error::is_missing(&error) => {
                return self.no_row(mark.epoch);
            }
            Fault::Altered(table) => {
                self.roll_back();
                return self.plan_again(table);
            }
            Fault::Server(error, at) => (error, at, false),
            Fault::Commit(error) => (error, None, true),
        };
        let class = error::class(&error);
        if class == Class::Lost || committing {
            self.session = None;
            let tenure = self.tenure.as_mut().expect("it publishes");
            tenure.in_doubt = Some(mark.epoch);
            if class == Class::Lost {
                warn!(destination = %self.address, epoch = %mark.epoch, "lost the connection");
            }
            return self.error("write to", &error);
        }
        self.roll_back();
        let (Class::Value, Some(at)) = (class, at) else {
            return self.error("write to", &error);
        };
        // A large epoch has several parts of one table.
        let part = &ready[at];
        let plan = &self.tenure.as_ref().expect("it publishes").plans[part.table];
        let session = self.session.as_mut();
        let blamed = session.and_then(|it| write::blame(&mut it.client, plan, part));
        // A probe may have lost the connection; then the next publish makes a new one.
        refused_value(plan, &error, &blamed.unwrap_or_default())
    }
}

/// A table, and whether it may be kept.
struct Admitted {
    spec: Spec,
    outcome: Result<Admission, Vec<Refusal>>,
}

impl Destination for Postgres {
    fn peek(&self) -> Result<Option<Mark>, ConnectorError> {
        let mut connected = self.connect()?;
        let (client, schema) = (&mut connected.client, &connected.schema);
        let marks = self.marks(schema);
        let failed = |e| self.error("read", &e);
        for spec in &self.specs {
            let (name, target) = (&spec.table.name, &spec.within(schema).target);
            let other = marks.other_lanes(client, name, target);
            if let Some(written) = other.map_err(failed)? {
                return Err(admit::other_lanes(name, written).into_error());
            }
        }
        let row = marks.peek(client).map_err(failed)?;
        let text = row.and_then(|row| row.mark);
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(connected);
        text.map(|text| self.parse_mark(&text)).transpose()
    }

    fn take_over(&mut self, incarnation: u64) -> Result<Option<Mark>, ConnectorError> {
        self.session = None;
        let looked = self.looked.get_mut();
        // If it was lost since, the take-over is tried again, and then with one of its own.
        let looked = looked.unwrap_or_else(PoisonError::into_inner).take();
        let Connected {
            mut client,
            schema,
            standby,
        } = looked.map_or_else(|| self.connect(), Ok)?;
        if standby {
            // In the middle of a failover: the next connection may find the new primary.
            let Refusal { message, hint } = standby_refusal(&self.address);
            return Err(ConnectorError::Away { message, hint });
        }
        client
            .batch_execute(marks::begin(true))
            .map_err(|e| self.error("write to", &e))?;
        let text = format!("{incarnation:016x}");
        let again = self.attempted.replace(incarnation) == Some(incarnation);
        let (row, tenure) = self.seize(&mut client, &schema, &text, again)?;
        // The row is newer than the text in it: it says who writes from now on.
        let generation = u64::try_from(row.generation).expect("generations count from 1");
        let mark = row.mark.map(|text| self.parse_mark(&text)).transpose()?;
        marks::commit(&mut client).map_err(|e| self.error("write to", &e))?;
        self.session = Some(Session {
            client,
            prepared: tenure.plans.iter().map(|_| Prepared::default()).collect(),
            holds: row.epoch,
        });
        self.tenure = Some(tenure);
        Ok(mark.map(|mark| Mark {
            generation,
            incarnation,
            ..mark
        }))
    }

    fn publish(&mut self, mark: &Mark, changes: &[TableChanges]) -> Result<(), ConnectorError> {
        let plans = &self.tenure().plans;
        let ready = changes
            .iter()
            .map(|change| Ready::new(&plans[change.table], change))
            .collect::<Result<Vec<_>, _>>()?;
        let in_doubt = self.tenure().in_doubt == Some(mark.epoch);
        let applied = self.session(mark.epoch)?.holds == Some(mark.epoch);
        if !(in_doubt && applied) {
            let tenure = self.tenure.as_ref().expect("checked above");
            let session = self.session.as_mut().expect("made above");
            if let Err(fault) = commit(tenure, session, mark, &ready) {
                return Err(self.after(fault, mark, &ready));
            }
            session.holds = Some(mark.epoch);
        }
        let tenure = self.tenure.as_mut().expect("checked above");
        tenure.acknowledged = Some(mark.epoch);
        tenure.hold.life = Some(mark.life);
        tenure.in_doubt = None;
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), ConnectorError> {
        let epoch = self.tenure().acknowledged.unwrap_or(Epoch(0));
        self.session(epoch)?;
        let tenure = self.tenure.as_ref().expect("checked above");
        let client = &mut self.session.as_mut().expect("made above").client;
        let outcome = flush(client, tenure);
        match outcome {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.no_row(epoch)),
            Err(error) => {
                // A lost connection is found to be lost once more by the next to use it.
                self.roll_back();
                Err(self.error("write to", &error))
            }
        }
    }

    fn empty(&mut self) -> Result<(), ConnectorError> {
        self.session = None;
        empty::empty(self)
    }

    fn inspect(&self) -> Result<Vec<Finding>, ConnectorError> {
        let Connected {
            mut client,
            schema,
            standby,
        } = match self.connect() {
            Ok(connected) => connected,
            Err(error) => return Err(unreached(error)),
        };
        if standby {
            return Ok(vec![standby_refusal(&self.address).into_finding(0)]);
        }
        let failed = |e| self.error("read", &e);
        let marks = self.marks(&schema);
        let row = marks.peek(&mut client).map_err(failed)?;
        let admitted = self
            .admissions(&mut client, &marks, &schema, row.as_ref())
            .map_err(failed)?;
        let lacking = marks.lacking(&mut client, &schema).map_err(failed)?;
        let own = admit::own_tables(&lacking).map(|refusal| refusal.into_finding(0));
        let mut findings = Vec::from_iter(own);
        for (table, admitted) in admitted.into_iter().enumerate() {
            let refusals = admitted.outcome.err().unwrap_or_default();
            findings.extend(refusals.into_iter().map(|r| r.into_finding(table)));
        }
        Ok(findings)
    }
}

/// The transaction of an epoch.
fn commit(
    tenure: &Tenure,
    session: &mut Session,
    mark: &Mark,
    ready: &[Ready],
) -> Result<(), Fault> {
    let client = &mut session.client;
    // A mark alone says that others may forget what came before it.
    let alone = ready.iter().all(Ready::is_empty);
    let synchronous = alone || session.holds.is_none();
    let ours = tenure
        .marks
        .advance(client, &tenure.incarnation, mark, synchronous)
        .map_err(|error| Fault::Server(error, None))?;
    if !ours {
        return Err(Fault::NotOurs);
    }
    for (at, part) in ready.iter().enumerate() {
        let (plan, prepared) = (&tenure.plans[part.table], &mut session.prepared[part.table]);
        write::write(client, plan, prepared, part).map_err(|unwritten| match unwritten {
            Unwritten::Altered => Fault::Altered(part.table),
            Unwritten::Server(error) => Fault::Server(error, Some(at)),
        })?;
    }
    marks::commit(client).map_err(Fault::Commit)
}

/// A commit that is waited for on the disk, and with it everything before it. It has to write
/// something: a transaction that does not waits for nothing. Whether the row was ours.
fn flush(client: &mut Client, tenure: &Tenure) -> Result<bool, Error> {
    client.batch_execute(marks::begin(true))?;
    if tenure.marks.confirm(client, &tenure.incarnation)?.is_none() {
        return Ok(false);
    }
    marks::commit(client)?;
    Ok(true)
}

/// Makes a table that is missing, notes that this pipeline keeps it, and plans how to write it.
fn keep(
    client: &mut Client,
    marks: &Marks,
    pipeline: &str,
    spec: Spec,
    admission: Admission,
    number: usize,
) -> Result<Plan, Error> {
    if admission == Admission::Create {
        client.batch_execute(&spec.create_table())?;
    }
    client.execute(
        &format!(
            "insert into {} (schema_name, table_name, pipeline, created_by_pipeline)
             values ($1, $2, $3, $4) on conflict do nothing",
            marks.tables()
        ),
        &[
            &spec.target.schema,
            &spec.target.name,
            &pipeline,
            &(admission == Admission::Create),
        ],
    )?;
    let existing = Existing::read(client, &spec.target)?.unwrap_or_default();
    for statement in spec.create_indexes(Some(&existing)) {
        client.batch_execute(&statement)?;
    }
    Ok(Plan::new(spec, &existing, number))
}

/// The marks of two destinations in one row would each vouch for the other's rows.
fn two_names(address: &Address) -> ConnectorError {
    ConnectorError::hinted(
        format!("`{address}` is a database that this pipeline writes to by another name, too"),
        "write the same `url` for all tables of one database",
    )
}

fn standby_refusal(address: &Address) -> Refusal {
    Refusal {
        message: format!("`{address}` is a standby, which cannot be written to"),
        hint: "connect to the primary, or add ?target_session_attrs=read-write".to_owned(),
    }
}

/// Everything that differs is a finding; a start says the first.
pub(super) fn first_of(refusals: Vec<Refusal>) -> ConnectorError {
    let mut refusals = refusals.into_iter();
    let first = refusals.next().expect("a refusal has a reason");
    let more = refusals.len();
    let mut error = first.into_error();
    if let ConnectorError::Permanent {
        hint: Some(hint), ..
    } = &mut error
        && more > 0
    {
        *hint = format!("{hint}; `tidemark check` says {more} more");
    }
    error
}

/// A server that nobody reaches may be there later, or the address is wrong.
pub(super) fn unreached(error: ConnectorError) -> ConnectorError {
    match error {
        ConnectorError::Transient(message) => ConnectorError::Away {
            message,
            hint: "start the server, or change `url`".to_owned(),
        },
        other @ (ConnectorError::Permanent { .. }
        | ConnectorError::Away { .. }
        | ConnectorError::Fenced { .. }
        | ConnectorError::Rewound { .. }) => other,
    }
}

fn refused_value(plan: &Plan, error: &Error, whose: &str) -> ConnectorError {
    let column = error.as_db_error().and_then(|db| db.column());
    let column = column.map_or_else(String::new, |name| format!(" of column `{name}`"));
    ConnectorError::hinted(
        format!(
            "table `{}` refuses a value{column}{whose}: {}",
            plan.spec.target,
            error::text(error)
        ),
        "leave such rows out in the query, or change the table",
    )
}
