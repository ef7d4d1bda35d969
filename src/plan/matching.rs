//! MATCH_RECOGNIZE: patterns over the rows of a partition, in the order of their event time.

use super::{AggregateCall, Expression};

/// What is looked for, and what is said of it.
#[derive(Clone, Debug)]
pub struct Matching {
    /// How many of the input's columns, from the first, are the partition.
    pub partition: usize,
    /// Position of the event time in the input: a timestamp in microseconds.
    pub time: usize,
    /// What conditions and measures read of the rows.
    pub navigations: Vec<Navigation>,
    /// The pattern variables.
    pub variables: Vec<Variable>,
    /// Over the navigations, of whole matches.
    pub measures: Vec<Expression>,
    /// In terms of the variables.
    pub pattern: Pattern,
    /// Where the search goes on after a match.
    pub after: AfterMatch,
    /// The last row of a match is less than this after the first, in microseconds.
    pub within_us: Option<i64>,
    /// How far before the watermark a row may be that is not late, in microseconds.
    pub open_us: i64,
}

/// A pattern variable.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// A boolean over the navigations, of a row that is about to be taken; none takes any row.
    pub condition: Option<Expression>,
    /// The navigations that it reads.
    pub reads: Vec<usize>,
}

/// A value that is taken from the rows of a match.
#[derive(Clone, Debug)]
pub struct Navigation {
    /// The variable whose rows count; none counts all rows of the match.
    pub variable: Option<usize>,
    /// What of them.
    pub what: Navigated,
    /// How it reads.
    pub text: String,
}

/// What a navigation takes.
#[derive(Clone, Debug)]
pub enum Navigated {
    /// A column of one row.
    Row {
        /// Position in the input.
        column: usize,
        /// From which end the rows are counted.
        from: RowsFrom,
        /// How many of them are passed over.
        skip: usize,
        /// How many rows of the partition it goes back from there.
        back: usize,
    },
    /// Something of all rows.
    Aggregate(Box<AggregateCall>),
}

/// An end of the rows of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsFrom {
    /// The earliest first.
    First,
    /// The latest first.
    Last,
}

/// Rows that follow each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// One row, as this variable.
    Row(usize),
    /// One after the other.
    Then(Vec<Pattern>),
    /// One of them; those to the left are preferred.
    Either(Vec<Pattern>),
    /// One several times.
    Repeat {
        /// What.
        inner: Box<Pattern>,
        /// How often at least.
        least: u32,
        /// How often at most.
        most: Option<u32>,
        /// Whether more is preferred to less.
        greedy: bool,
    },
}

/// Where the search goes on after a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AfterMatch {
    /// After its last row.
    PastLastRow,
    /// At the row after its first.
    ToNextRow,
    /// At the first row of a variable, if that is not where the match began.
    ToFirst(usize),
    /// At the last row of a variable, if that is not where the match began.
    ToLast(usize),
}

impl Matching {
    /// How many rows before the first one of a match may be read.
    #[must_use]
    pub fn looks_back(&self) -> usize {
        let before = |variable: usize| self.pattern.before(variable).unwrap_or(0);
        let variables = self.variables.iter().enumerate();
        let of_conditions = variables.flat_map(|(defined, variable)| {
            variable
                .reads
                .iter()
                .map(move |read| (Some(defined), *read))
        });
        let all = (0..self.navigations.len()).map(|read| (None, read));
        let needed = of_conditions.chain(all).map(|(defined, read)| {
            let navigation = &self.navigations[read];
            let Navigated::Row { from, back, .. } = navigation.what else {
                return 0;
            };
            let after = match (navigation.variable, from, defined) {
                (Some(variable), ..) => before(variable),
                (None, RowsFrom::Last, Some(defined)) => before(defined),
                (None, RowsFrom::First, _) => 0,
                (None, RowsFrom::Last, None) => self.pattern.least().saturating_sub(1),
            };
            back.saturating_sub(after)
        });
        needed.max().unwrap_or(0)
    }
}

impl Matching {
    /// Whether a match may stay open for ever, and the rows of its partition with it.
    #[must_use]
    pub fn waits_for_ever(&self) -> bool {
        self.within_us.is_none() && self.pattern.most() != Some(1)
    }

    /// Whether an open match may take rows without end.
    #[must_use]
    pub fn grows(&self) -> bool {
        self.within_us.is_none() && self.pattern.most().is_none()
    }
}

impl Pattern {
    /// How many rows it has at most; `None` if there is no bound.
    #[must_use]
    pub fn most(&self) -> Option<u64> {
        match self {
            Self::Row(_) => Some(1),
            Self::Then(parts) => parts.iter().map(Self::most).sum(),
            Self::Either(parts) => {
                let most: Option<Vec<u64>> = parts.iter().map(Self::most).collect();
                Some(most?.into_iter().max().unwrap_or(0))
            }
            Self::Repeat { inner, most, .. } => {
                Some(inner.most()?.saturating_mul(u64::from((*most)?)))
            }
        }
    }

    /// How many rows it has at least.
    #[must_use]
    pub fn least(&self) -> usize {
        match self {
            Self::Row(_) => 1,
            Self::Then(parts) => parts.iter().map(Self::least).sum(),
            Self::Either(parts) => parts.iter().map(Self::least).min().unwrap_or(0),
            Self::Repeat { inner, least, .. } => inner.least() * *least as usize,
        }
    }

    /// How many rows stand before a variable's first row at least; `None` if it does not occur.
    #[must_use]
    pub fn before(&self, variable: usize) -> Option<usize> {
        match self {
            Self::Row(row) => (*row == variable).then_some(0),
            Self::Then(parts) => {
                let mut passed = 0;
                parts.iter().find_map(|part| {
                    let found = part.before(variable).map(|at| passed + at);
                    passed += part.least();
                    found
                })
            }
            Self::Either(parts) => parts.iter().filter_map(|part| part.before(variable)).min(),
            Self::Repeat { inner, .. } => inner.before(variable),
        }
    }

    /// Whether every match has a row of a variable.
    #[must_use]
    pub fn always_has(&self, variable: usize) -> bool {
        match self {
            Self::Row(row) => *row == variable,
            Self::Then(parts) => parts.iter().any(|part| part.always_has(variable)),
            Self::Either(parts) => parts.iter().all(|part| part.always_has(variable)),
            Self::Repeat { inner, least, .. } => *least > 0 && inner.always_has(variable),
        }
    }

    /// How it reads.
    #[must_use]
    pub fn text(&self, variables: &[Variable]) -> String {
        let each = |parts: &[Self], between: &str| {
            let parts: Vec<String> = parts.iter().map(|part| part.text(variables)).collect();
            parts.join(between)
        };
        match self {
            Self::Row(row) => variables[*row].name.clone(),
            Self::Then(parts) => each(parts, " "),
            Self::Either(parts) => format!("({})", each(parts, " | ")),
            Self::Repeat {
                inner,
                least,
                most,
                greedy,
            } => {
                let inner = match inner.as_ref() {
                    Self::Then(_) | Self::Repeat { .. } => format!("({})", inner.text(variables)),
                    Self::Row(_) | Self::Either(_) => inner.text(variables),
                };
                let often = match (least, most) {
                    (0, None) => "*".to_owned(),
                    (1, None) => "+".to_owned(),
                    (0, Some(1)) => "?".to_owned(),
                    (least, None) => format!("{{{least},}}"),
                    (least, Some(most)) => format!("{{{least},{most}}}"),
                };
                format!("{inner}{often}{}", if *greedy { "" } else { "?" })
            }
        }
    }
}
