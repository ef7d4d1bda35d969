//! A text that is written out beside a UUID is that UUID: in capitals, or without hyphens, it would
//! be equal to none of those that a column holds.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those that compare are named"
)]

use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::expr::InList;
use datafusion_expr::{Between, BinaryExpr, Expr, ExprSchemable};

use super::lists::EQUALS_ANY;
use super::marked::{self, Unfit};
use crate::sql::comparisons::compares;
use crate::sql::types::{EXTENSION, UUID};

/// Whether an expression compares UUIDs with texts that are written out.
pub fn any(expr: &Expr, schema: &DFSchema) -> bool {
    let is_uuid = |side: &Expr| {
        let field = side.to_field(schema);
        field.is_ok_and(|(_, field)| field.metadata().get(EXTENSION).is_some_and(|it| it == UUID))
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
            (is_text(right) && is_uuid(left)) || (is_text(left) && is_uuid(right))
        }
        Expr::Between(Between {
            expr, low, high, ..
        }) => (is_text(low) || is_text(high)) && is_uuid(expr),
        Expr::InList(InList { expr, list, .. }) => list.iter().any(is_text) && is_uuid(expr),
        Expr::ScalarFunction(call) if [EQUALS_ANY, "array_has"].contains(&call.func.name()) => {
            match call.args.as_slice() {
                [Expr::ScalarFunction(list), sought] => {
                    let is_list = list.func.name() == "make_array";
                    is_list && list.args.iter().any(is_text) && is_uuid(sought)
                }
                _ => false,
            }
        }
        _ => false,
    }
}

/// The same with UUIDs for these texts.
pub fn read(mut expr: Expr) -> Expr {
    match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => {
            as_uuid(left);
            as_uuid(right);
        }
        Expr::Between(Between { low, high, .. }) => {
            as_uuid(low);
            as_uuid(high);
        }
        Expr::InList(InList { list, .. }) => list.iter_mut().for_each(as_uuid),
        Expr::ScalarFunction(call) => {
            if let Some(Expr::ScalarFunction(list)) = call.args.first_mut() {
                list.args.iter_mut().for_each(as_uuid);
            }
        }
        _ => {}
    }
    expr
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)), None))
}

fn as_uuid(expr: &mut Expr) {
    if is_text(expr) {
        let (Ok(made) | Err(made)) = marked::cast(UUID, std::mem::take(expr), Unfit::Error);
        *expr = made;
    }
}
