//! What it means that the mark's row is not ours any more: somebody has taken over, or the database is
//! one from before we did (a backup was restored, a replica took over that had not heard of us).
//!
//! Who takes over counts the row's generation on, and `--fresh` begins another life. A row of our life
//! with a generation below ours is neither: it is how we found it, or older. No row at all is what one
//! sees while a database is being restored: whatever comes of it is waited for, though not for ever.

use std::sync::atomic::{AtomicU32, Ordering};

use postgres::Client;
use serde::Deserialize;

use super::destination::Postgres;
use super::marks::MarkRow;
use crate::connector::ConnectorError;
use crate::types::Epoch;

/// How often a row that is not there is looked for, a second apart but for the first: a minute and a half.
/// Then it was deleted for good, and the pipeline begins again, as with a database that is new.
const LOOKS: u32 = 100;

/// How often a row was not there when it was looked for.
#[derive(Debug, Default)]
pub(super) struct Missing(AtomicU32);

/// A start's place in the history of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) generation: i64,
    /// None as long as there is no mark.
    pub(super) life: Option<u64>,
}

impl Hold {
    pub(super) fn of(row: &MarkRow) -> Self {
        #[derive(Deserialize)]
        struct Lived {
            #[serde(default)]
            life: u64,
        }
        let mark = row.mark.as_deref();
        // A mark that cannot be read is somebody else's.
        let lived = mark.and_then(|text| serde_json::from_str::<Lived>(text).ok());
        Self {
            generation: row.generation,
            life: lived.map(|lived| lived.life),
        }
    }

    /// Whether `found` is from before.
    fn is_after(self, found: Self) -> bool {
        found.generation < self.generation && found.life.is_some() && found.life == self.life
    }
}

impl Postgres {
    /// As `unheld`, with the connection that found no row of ours.
    pub(super) fn no_row(&mut self, epoch: Epoch) -> ConnectorError {
        self.roll_back();
        // Whichever it is, this start is over.
        match self.session.take() {
            Some(mut session) => self.unheld(&mut session.client, epoch),
            None => ConnectorError::Transient(format!("lost the connection to `{}`", self.address)),
        }
    }

    /// No row is ours: why.
    pub(super) fn unheld(&self, client: &mut Client, epoch: Epoch) -> ConnectorError {
        let tenure = self.tenure();
        match tenure.marks.peek(client) {
            Ok(Some(row)) if tenure.hold.is_after(Hold::of(&row)) => ConnectorError::Rewound {
                destination: self.address.to_string(),
                acknowledged: tenure.acknowledged.unwrap_or(Epoch(0)),
                found: row.epoch.unwrap_or(Epoch(0)),
            },
            Ok(Some(_)) => ConnectorError::Fenced {
                destination: self.address.to_string(),
                epoch,
            },
            Ok(None) if tenure.missing.0.fetch_add(1, Ordering::Relaxed) >= LOOKS => {
                ConnectorError::Rewound {
                    destination: self.address.to_string(),
                    acknowledged: tenure.acknowledged.unwrap_or(Epoch(0)),
                    found: Epoch(0),
                }
            }
            // Who restores a dump makes the tables first; who begins afresh deletes, and then begins.
            Ok(None) => ConnectorError::Transient(format!(
                "`{}` has no mark of pipeline `{}` any more: it is being restored, or was deleted",
                self.address, self.pipeline
            )),
            Err(error) => self.error("read", &error),
        }
    }
}
