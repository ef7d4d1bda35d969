//! What PostgreSQL said, as ours: what passes by itself, what does not, and what to type.

use std::error::Error as _;
use std::fmt::Write as _;

use postgres::Error;
use postgres::error::SqlState;

use super::address::Address;
use crate::connector::ConnectorError;

/// What an error means for the connection and for the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The connection is gone, and with it the answer to what was asked last.
    Lost,
    /// The connection is there; the same may work next time.
    Retry,
    /// A value, or a row beside another one, is refused.
    Value,
    /// It will not work.
    Refused,
}

/// Sorts by SQLSTATE.
pub(super) fn class(error: &Error) -> Class {
    let Some(code) = error.code() else {
        return class_without_answer(error);
    };
    let code = code.code();
    match &code[..2] {
        "08" => Class::Lost,
        "57" if code.starts_with("57P") => Class::Lost,
        // It became a standby: the next connection may find the new primary.
        "25" if code == "25006" => Class::Lost,
        "22" | "23" | "21" => Class::Value,
        // Out of memory, disk or connections: someone may make room.
        "53" => Class::Retry,
        _ if matches!(code, "57014" | "40001" | "40P01" | "55P03" | "25P03") => Class::Retry,
        _ => Class::Refused,
    }
}

/// Whether it is that there is no such table.
pub(super) fn is_missing(error: &Error) -> bool {
    error.code() == Some(&SqlState::UNDEFINED_TABLE)
}

/// The client's own errors, and those of the network.
fn class_without_answer(error: &Error) -> Class {
    let source = error.source();
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    match (error.is_closed(), io) {
        // A certificate that is not trusted, a message that is too large.
        (false, Some(io)) if io.kind() == std::io::ErrorKind::InvalidData => Class::Refused,
        (false, Some(io)) if io.kind() == std::io::ErrorKind::InvalidInput => Class::Refused,
        (true, _) | (false, Some(_)) => Class::Lost,
        (false, None) if error.to_string() == "timeout waiting for server" => Class::Lost,
        (false, None) if error.to_string() == "error connecting to server" => Class::Lost,
        (false, None) => Class::Refused,
    }
}

/// The server's words, or those of the network.
pub(super) fn text(error: &Error) -> String {
    let Some(db) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            write!(text, ": {inner}").expect("a String takes all text");
            source = inner.source();
        }
        return text;
    };
    let mut text = db.message().to_owned();
    if let Some(detail) = db.detail() {
        let detail = detail.trim_end_matches('.');
        write!(text, " ({detail})").expect("a String takes all text");
    }
    text
}

/// An error while `doing` something, as in "write to".
pub(super) fn converted(doing: &str, address: &Address, error: &Error) -> ConnectorError {
    let text = text(error);
    match class(error) {
        Class::Lost | Class::Retry => {
            ConnectorError::Transient(format!("could not {doing} `{address}`: {text}"))
        }
        Class::Value | Class::Refused => ConnectorError::Permanent {
            message: format!("cannot {doing} `{address}`: {text}"),
            hint: hint(error),
        },
    }
}

fn hint(error: &Error) -> Option<String> {
    let denied = error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
    let own = denied.then(|| "GRANT the role what it needs, or connect as another one".to_owned());
    let servers = || error.as_db_error()?.hint().map(str::to_owned);
    own.or_else(servers)
}

/// An error while connecting.
pub(super) fn unconnected(address: &Address, error: &Error) -> ConnectorError {
    let user = address.user();
    let code = error.code().map(SqlState::code);
    let (message, hint) = match code {
        Some("28P01") => (
            format!("`{address}` refuses the password of `{user}`"),
            "put the right one into the URL, PGPASSWORD or ~/.pgpass".to_owned(),
        ),
        Some("28000") => (
            format!("`{address}` does not let `{user}` in: {}", text(error)),
            "name another user in `url`, or change the server's pg_hba.conf".to_owned(),
        ),
        Some("3D000") => (
            format!("`{address}`: there is no database `{}`", address.database()),
            format!("CREATE DATABASE {}, or change `url`", address.database()),
        ),
        _ if text(error).contains("password missing") => (
            format!("`{address}` wants a password of `{user}`, and there is none"),
            "put it into the URL, PGPASSWORD or ~/.pgpass".to_owned(),
        ),
        _ if text(error).contains("TLS") || text(error).contains("certificate") => (
            format!("cannot connect to `{address}`: {}", text(error)),
            "see `sslmode` and `sslrootcert`".to_owned(),
        ),
        _ => return converted("connect to", address, error),
    };
    ConnectorError::hinted(message, hint)
}
