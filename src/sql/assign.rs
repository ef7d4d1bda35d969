//! The casts that INSERT makes by itself: those that PostgreSQL makes on assignment.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a pair of types that is not named here needs a cast that is written out"
)]

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_expr::expr::Cast;
use datafusion_expr::{Expr, LogicalPlan};

use crate::plan::{Narrowed, Place, Table, loss};

use super::problem::Problem;
use super::types::{EXTENSION, name_of};

/// `expr` as the sink's column `to` takes it. A text literal converts to any type, as in
/// PostgreSQL, where it has none of its own.
pub fn assign(
    expr: Expr,
    from: &FieldRef,
    to: &FieldRef,
    is_literal: bool,
    place: Place,
) -> Result<Expr, Problem> {
    let (source, target) = (from.data_type(), to.data_type());
    let mark = |field: &FieldRef| field.metadata().get(EXTENSION).cloned();
    let is_text = |data_type: &DataType| {
        matches!(
            data_type,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        )
    };
    let marked_alike = mark(to).is_none() || mark(to) == mark(from);
    let is_uuid = mark(to).as_deref() == Some(super::types::UUID);
    let allowed = source == &DataType::Null
        || (is_literal && is_text(source))
        || (assignable(source, target) && (marked_alike || (!is_text(source) && !is_uuid)));
    if !allowed {
        let type_name = match mark(to).as_deref() {
            Some(super::types::JSON) => "JSON".to_owned(),
            Some(super::types::UUID) => "UUID".to_owned(),
            _ => name_of(target),
        };
        let message = format!(
            "`{}` is {type_name}, but the query yields {}",
            to.name(),
            name_of(source)
        );
        let hint = match is_uuid && !is_text(source) {
            true => "a UUID is made of text".to_owned(),
            false => format!("write CAST(.. AS {type_name})"),
        };
        return Err(Problem::at(place, message).hint(hint));
    }
    if source == target && marked_alike {
        return Ok(expr);
    }
    let target = Arc::new(to.as_ref().clone().with_nullable(true));
    Ok(Expr::Cast(Cast::new_from_field(Box::new(expr), target)))
}

fn assignable(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    if from == to || (from.is_numeric() && to.is_numeric()) {
        return true;
    }
    match (from, to) {
        (T::Utf8View | T::LargeUtf8 | T::Boolean, T::Utf8) => true,
        (from, T::Utf8) if from.is_numeric() => true,
        (T::Date32 | T::Timestamp(_, _) | T::Time64(_) | T::Interval(_), T::Utf8) => true,
        (T::Date32 | T::Date64 | T::Timestamp(_, _), T::Timestamp(_, _) | T::Date32) => true,
        (T::Timestamp(_, _) | T::Time32(_) | T::Time64(_), T::Time64(_)) => true,
        (T::Duration(_) | T::Interval(_), T::Interval(_)) => true,
        (T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_), T::Binary) => true,
        (T::Dictionary(_, value), to) => assignable(value, to),
        (T::List(a) | T::LargeList(a) | T::FixedSizeList(a, _), T::List(b)) => {
            assignable(a.data_type(), b.data_type())
        }
        (T::Struct(a), T::Struct(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| a.name() == b.name() && assignable(a.data_type(), b.data_type()))
        }
        _ => false,
    }
}

/// The columns of the sink that take less than what the query yields.
pub fn narrowed(
    plan: &LogicalPlan,
    sink: &Table,
    targets: &[Option<usize>],
    places: &[Place],
) -> Vec<Narrowed> {
    let columns = sink.columns.iter().zip(targets).zip(places);
    let narrowed = columns.filter_map(|((column, target), place)| {
        let at = (*target)?;
        let (from, to) = (
            plan.schema().field(at).data_type(),
            column.field.data_type(),
        );
        let loss = loss(from, to)?;
        if is_small(plan, at) {
            return None;
        }
        Some(Narrowed {
            column: column.field.name().clone(),
            from: name_of(from),
            to: name_of(to),
            loss,
            place: *place,
            node: 0,
        })
    });
    narrowed.collect()
}

/// Whether a column of the query is a number that anyone sees to be small: a constant, a choice of
/// constants, a part of a date.
fn is_small(plan: &LogicalPlan, at: usize) -> bool {
    fn of(expr: &Expr) -> bool {
        if let Expr::Alias(alias) = expr {
            return of(&alias.expr);
        }
        if let Expr::Cast(cast) = expr {
            return of(&cast.expr);
        }
        if let Expr::Case(case) = expr {
            let then = case.when_then_expr.iter().map(|(_, then)| then);
            return then.chain(&case.else_expr).all(|expr| of(expr));
        }
        matches!(expr, Expr::Literal(..))
            || matches!(expr, Expr::ScalarFunction(call) if call.func.name() == "date_part")
    }
    matches!(plan, LogicalPlan::Projection(projection) if of(&projection.expr[at]))
}

/// Whether a cast keeps different values different.
pub fn is_lossless(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    let digits = |data_type: &DataType| match data_type {
        T::Int8 => Some((3, 0)),
        T::Int16 => Some((5, 0)),
        T::Int32 => Some((10, 0)),
        T::Int64 => Some((19, 0)),
        T::Decimal128(precision, scale) => {
            Some((i16::from(*precision) - i16::from(*scale), i16::from(*scale)))
        }
        _ => None,
    };
    match (from, to) {
        (from, to) if from == to => true,
        // A cast that does not fit fails, so integers stay different, also in a smaller type.
        (from, to) if from.is_integer() && to.is_integer() => true,
        (T::Utf8View | T::LargeUtf8, T::Utf8) => true,
        (T::Timestamp(a, zone_a), T::Timestamp(b, zone_b)) => {
            a == b && zone_a.as_deref().unwrap_or("UTC") == zone_b.as_deref().unwrap_or("UTC")
        }
        (T::Date32, T::Timestamp(_, _)) => true,
        (T::Boolean | T::Date32 | T::Decimal128(_, _), T::Utf8) => true,
        (from, T::Utf8) if from.is_integer() => true,
        (from, to) => match (digits(from), digits(to)) {
            (Some((_, from)), Some((_, to))) => from <= to,
            _ => false,
        },
    }
}
