//! Asks a PostgreSQL database while a pipeline writes it: for people who watch.

use std::path::Path;
use std::time::Duration;

use postgres::SimpleQueryMessage;

use super::address::{Address, Surroundings};
use super::destination::unreached;
use super::error;
use super::options::is_private;
use super::session::{self, Limits};
use crate::connector::{Answer, ConnectorError};

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the database at `url` answers, for who would otherwise wait for it unseen.
pub fn reach(url: &str) -> Result<(), ConnectorError> {
    read(url, "SELECT 1").map(drop).map_err(unreached)
}

/// Asks `query` of the database at `url`. What it sees is one commit.
pub fn read(url: &str, query: &str) -> Result<Answer, ConnectorError> {
    let surroundings = Surroundings {
        variable: &|name| std::env::var(name).ok(),
        file: &|path: &Path| std::fs::read_to_string(path).ok(),
        private: &is_private,
    };
    let address = Address::parse(url, &[], &surroundings)
        .map_err(|problem| ConnectorError::permanent(problem.to_string()))?;
    let limits = Limits {
        statement: PATIENCE,
        lock: PATIENCE,
    };
    let mut client = session::connect(&address, limits, "watch")?.client;
    let messages = client
        .simple_query(query)
        .map_err(|error| error::converted("read", &address, &error))?;
    let mut answer = Answer::default();
    for message in messages {
        if let SimpleQueryMessage::RowDescription(columns) = &message {
            answer.columns = columns.iter().map(|c| c.name().to_owned()).collect();
        }
        if let SimpleQueryMessage::Row(row) = &message {
            let cells = (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned());
            answer.rows.push(cells.collect());
        }
    }
    Ok(answer)
}
