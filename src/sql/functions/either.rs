//! `coalesce`, `greatest` and `least` of a text that is written out and something else, which is
//! what the text is then, and of a DATE and a TIMESTAMP, which is a TIMESTAMP. DataFusion counts the
//! latter in nanoseconds, and refuses most of the former.
//!
//! A text that is not written out is refused before: see `sql/comparisons.rs`.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of types, those that stand beside others are named"
)]

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::Result;
use datafusion_expr::ScalarUDF;

use super::around::{Around, wrap};

/// The functions.
pub const EITHER: [&str; 3] = ["coalesce", "greatest", "least"];

/// The function around DataFusion's, if it is one of the three.
pub fn either(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let is_either = EITHER.contains(&function.name());
    is_either.then(|| wrap(function, Either))
}

/// The type of a TIMESTAMP beside a DATE, if there are both.
pub fn moment<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Option<DataType> {
    let (mut is_date, mut zones) = (false, Vec::new());
    for data_type in types {
        match data_type {
            DataType::Date32 => is_date = true,
            DataType::Timestamp(_, zone) => zones.push(zone.clone()),
            DataType::Null | DataType::Utf8 => {}
            _ => return None,
        }
    }
    let is_both = is_date && !zones.is_empty();
    let zone = zones.into_iter().flatten().next();
    is_both.then_some(DataType::Timestamp(TimeUnit::Microsecond, zone))
}

/// The type of what a text stands beside.
fn beside_text(types: &[DataType]) -> Option<DataType> {
    let mut others = types
        .iter()
        .filter(|it| !matches!(it, DataType::Utf8 | DataType::Null));
    let first = others.next()?;
    let alike = others.all(|other| other == first);
    (types.contains(&DataType::Utf8) && alike).then(|| first.clone())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Either;

impl Around for Either {
    const TAKES: bool = true;
    const YIELDS: bool = false;

    fn takes(&self, function: &ScalarUDF, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match moment(arguments).or_else(|| beside_text(arguments)) {
            Some(common) => Ok(vec![common; arguments.len()]),
            None => function.coerce_types(arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_beside_a_timestamp_is_one() {
        let timestamp =
            |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));

        assert_eq!(
            moment(&[DataType::Date32, timestamp(None)]),
            Some(timestamp(None))
        );
        assert_eq!(
            moment(&[timestamp(Some("UTC")), DataType::Utf8, DataType::Date32]),
            Some(timestamp(Some("UTC")))
        );
        assert_eq!(moment(&[DataType::Date32, DataType::Utf8]), None);
        assert_eq!(moment(&[DataType::Date32, DataType::Int32]), None);
    }
}
