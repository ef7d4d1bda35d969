//! A row that cannot be used, and why. A reject is data: it is counted and goes where the
//! pipeline says; it never stops the pipeline and never vanishes.

/// Why a record was turned away. The code is stable: people filter dead letters by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The bytes are not a record of the format at all.
    Malformed,
    /// The record is larger than the source's limit.
    TooLong,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A field does not convert to its column's type.
    BadValue,
    /// A NOT NULL column has no value.
    Missing,
    /// A CHECK is false.
    CheckFailed,
    /// The event time is too far ahead to be believed.
    TooFarAhead,
    /// An expression of an INSERT failed on this row: division by zero, a cast out of range.
    Expression,
}

impl Reason {
    /// The short code that stands in the `reason` column of a dead-letter table.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::NotUtf8 => "not_utf8",
            Self::BadValue => "bad_value",
            Self::Missing => "missing",
            Self::CheckFailed => "check_failed",
            Self::TooFarAhead => "too_far_ahead",
            Self::Expression => "expression",
        }
    }
}

/// One record turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The class of failure.
    pub reason: Reason,
    /// What went wrong, for a person: lower case, without a full stop.
    pub message: String,
    /// The column at fault, where there is one.
    pub column: Option<String>,
}

impl Reject {
    /// A reject of the whole record.
    pub fn record(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            column: None,
        }
    }

    /// A reject because a NOT NULL column has no value.
    pub fn missing(column: &str) -> Self {
        let message = format!("NOT NULL column `{column}` has no value");
        Self::column(Reason::Missing, column, message)
    }

    /// A reject because of one column.
    pub fn column(reason: Reason, column: &str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            column: Some(column.to_owned()),
        }
    }
}
