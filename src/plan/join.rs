//! Which rows a join yields: pairs that match, and rows of either side that match nothing. And how
//! joins read.

use super::{NodeId, Operator, Pipeline};

/// Which rows of the stream a lookup keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Those with a match.
    Inner,
    /// All; those without a match with NULLs.
    Left,
}

/// Which rows a join of two streams yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinType {
    /// Pairs that match.
    Inner,
    /// Also rows of the left without a match, with NULLs.
    Left,
    /// Also rows of the right without a match, with NULLs.
    Right,
    /// Both.
    Full,
    /// Rows of the left that have a match, by themselves.
    Semi,
    /// Rows of the left that have none.
    Anti,
}

impl JoinKind {
    /// As people know it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Inner => "inner",
            Self::Left => "left",
        }
    }
}

impl JoinType {
    /// As people know it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Inner => "inner",
            Self::Left => "left",
            Self::Right => "right",
            Self::Full => "full",
            Self::Semi => "semi",
            Self::Anti => "anti",
        }
    }

    /// Whether the columns of the left side are all that comes out, and not pairs.
    #[must_use]
    pub fn is_left_only(self) -> bool {
        match self {
            Self::Semi | Self::Anti => true,
            Self::Inner | Self::Left | Self::Right | Self::Full => false,
        }
    }

    /// Whether rows of a side, 0 for the left and 1 for the right, come out because they match
    /// nothing.
    #[must_use]
    pub fn shows_alone(self, side: usize) -> bool {
        match self {
            Self::Inner | Self::Semi => false,
            Self::Left | Self::Anti => side == 0,
            Self::Right => side == 1,
            Self::Full => true,
        }
    }
}

/// A lookup for people, and for the fingerprint.
pub(super) fn lookup_text(pipeline: &Pipeline, operator: &Operator) -> String {
    let Operator::Lookup {
        table,
        keys,
        reference_keys,
        kind,
        residual,
        ..
    } = operator
    else {
        panic!("only asked of lookups")
    };
    let table = &pipeline.tables[*table];
    let kind = kind.name();
    let on: Vec<String> = reference_keys
        .iter()
        .zip(keys)
        .map(|(at, key)| {
            let name = table.columns[*at].field.name();
            format!("{}.{name} = {}", table.name, key.text)
        })
        .collect();
    let residual = residual
        .as_ref()
        .map(|r| format!(" and {}", r.text))
        .unwrap_or_default();
    format!(
        "lookup {} ({kind}) on {}{residual}",
        table.name,
        on.join(" and ")
    )
}

/// A join for people, and for the fingerprint.
pub(super) fn text(pipeline: &Pipeline, operator: &Operator) -> String {
    let Operator::Join {
        left,
        right,
        keys,
        nulls_match,
        kind,
        residual,
    } = operator
    else {
        panic!("only asked of joins")
    };
    let equals = if *nulls_match {
        "IS NOT DISTINCT FROM"
    } else {
        "="
    };
    let mut on = compared(pipeline, [*left, *right], keys, equals);
    on.extend(residual.iter().map(|residual| residual.text.clone()));
    let kind = kind.name();
    match on.as_slice() {
        [] => format!("join ({kind}), every row with every row"),
        on => format!("join ({kind}) on {}", on.join(" and ")),
    }
}

/// The columns of two nodes that are compared.
pub(super) fn compared(
    pipeline: &Pipeline,
    [left, right]: [NodeId; 2],
    keys: &[(usize, usize)],
    equals: &str,
) -> Vec<String> {
    let pair = |(l, r): &(usize, usize)| {
        let (l, r) = (
            pipeline.column_name(left, *l),
            pipeline.column_name(right, *r),
        );
        format!("{l} {equals} {r}")
    };
    keys.iter().map(pair).collect()
}
