//! Walks through SQL and changes it, whatever by.
//!
//! The parser's visitors are generic: each makes the compiler write the way through all of SQL once more,
//! a hundredth of this program a time. Here the way is written once, and asks the visitor at hand.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, Statement, TableFactor, ValueWithSpan, VisitMut, VisitorMut,
};

/// Leads `by` through all of `sql`.
pub fn rewrite(sql: &mut impl VisitMut, by: &mut dyn VisitorMut<Break = ()>) -> ControlFlow<()> {
    sql.visit(&mut Any(by))
}

/// Hands every expression in `sql` to `each`, those inside of it first.
pub fn expressions(
    sql: &mut impl VisitMut,
    each: &mut dyn FnMut(&mut Expr) -> ControlFlow<()>,
) -> ControlFlow<()> {
    rewrite(sql, &mut Each(each))
}

struct Each<'a>(&'a mut dyn FnMut(&mut Expr) -> ControlFlow<()>);

impl VisitorMut for Each<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        (self.0)(expr)
    }
}

/// Every visitor as one type.
struct Any<'a>(&'a mut dyn VisitorMut<Break = ()>);

impl VisitorMut for Any<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.0.pre_visit_query(query)
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.0.post_visit_query(query)
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.0.pre_visit_select(select)
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.0.post_visit_select(select)
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        self.0.pre_visit_relation(relation)
    }

    fn post_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        self.0.post_visit_relation(relation)
    }

    fn pre_visit_table_factor(&mut self, table_factor: &mut TableFactor) -> ControlFlow<()> {
        self.0.pre_visit_table_factor(table_factor)
    }

    fn post_visit_table_factor(&mut self, table_factor: &mut TableFactor) -> ControlFlow<()> {
        self.0.post_visit_table_factor(table_factor)
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.0.pre_visit_expr(expr)
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.0.post_visit_expr(expr)
    }

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<()> {
        self.0.pre_visit_statement(statement)
    }

    fn post_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<()> {
        self.0.post_visit_statement(statement)
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        self.0.pre_visit_value(value)
    }

    fn post_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        self.0.post_visit_value(value)
    }
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::dialect::GenericDialect;
    use datafusion_sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn inner_expressions_come_before_what_they_stand_in() {
        let mut sql =
            Parser::parse_sql(&GenericDialect {}, "SELECT f(a + 1) FROM t WHERE b").unwrap();
        let mut seen = Vec::new();

        let ended = expressions(&mut sql, &mut |expr| {
            seen.push(expr.to_string());
            ControlFlow::Continue(())
        });

        assert_eq!(ended, ControlFlow::Continue(()));
        assert_eq!(seen, ["a", "1", "a + 1", "f(a + 1)", "b"]);
    }
}
