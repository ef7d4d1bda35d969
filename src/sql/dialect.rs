//! PostgreSQL's dialect, a little widened: `STRUCT<..>` types, and clauses that other engines'
//! users type (`FOR SYSTEM_TIME AS OF`, `MATCH_RECOGNIZE`) parse. So does what PostgreSQL knows and
//! sqlparser does not: see `written`.

use datafusion_sql::sqlparser::ast::Expr;
use datafusion_sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::Token;

use super::written;

/// What pipeline files are written in.
#[derive(Debug, Default)]
pub struct TidemarkDialect(PostgreSqlDialect);

/// Answers that are PostgreSQL's.
macro_rules! like_postgres {
    ($($name:ident),* $(,)?) => {
        $(fn $name(&self) -> bool { self.0.$name() })*
    };
}

impl Dialect for TidemarkDialect {
    // The parser asks "is this PostgreSQL?" in many places that have no method.
    fn dialect(&self) -> std::any::TypeId {
        std::any::TypeId::of::<PostgreSqlDialect>()
    }

    fn supports_struct_literal(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_match_recognize(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    // A name of an argument is a name. To look for an expression there, each argument would be parsed
    // twice, and what is in a call in a call in a call as often as there are.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.0.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.0.is_delimited_identifier_start(ch) || ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        self.0.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.0.is_identifier_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        self.0.is_reserved_for_identifier(keyword)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        ch != '`' && self.0.is_custom_operator_part(ch)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        if is_isnull(parser) {
            return Some(Ok(self.prec_value(Precedence::Is)));
        }
        self.0.get_next_precedence(parser)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        written::trim(parser)
    }

    // PostgreSQL ends the right side of IS DISTINCT FROM before AND and OR; sqlparser takes them in.
    // ISNULL, for IS NULL, it takes for a name.
    fn parse_infix(
        &self,
        parser: &mut Parser,
        left: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        const IS: [Keyword; 3] = [Keyword::IS, Keyword::DISTINCT, Keyword::FROM];
        const IS_NOT: [Keyword; 4] = [Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM];
        if is_isnull(parser) {
            parser.advance_token();
            return Some(Ok(Expr::IsNull(Box::new(left.clone()))));
        }
        let symmetric = written::between_symmetric(parser, left, precedence);
        if symmetric.is_some() {
            return symmetric;
        }
        let made = if parser.parse_keywords(&IS) {
            Expr::IsDistinctFrom
        } else if parser.parse_keywords(&IS_NOT) {
            Expr::IsNotDistinctFrom
        } else {
            return None;
        };
        let right = parser.parse_subexpr(precedence);
        Some(right.map(|right| made(Box::new(left.clone()), Box::new(right))))
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        self.0.prec_value(precedence)
    }

    like_postgres!(
        supports_unicode_string_literal,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_factorial_operator,
        supports_bitwise_shift_operators,
        supports_named_fn_args_with_colon_operator,
        supports_empty_projections,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_numeric_literal_underscores,
        supports_array_typedef_with_brackets,
        supports_notnull_operator,
        supports_interval_options,
        supports_insert_table_alias,
        supports_select_wildcard_with_alias,
        supports_comma_separated_trim,
    );
}

/// Whether `ISNULL` comes next.
fn is_isnull(parser: &Parser) -> bool {
    matches!(&parser.peek_token_ref().token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("isnull"))
}
