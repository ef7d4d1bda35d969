//! Expressions of PostgreSQL's that sqlparser does not read, or not all of.
//!
//! | written | read as |
//! |---|---|
//! | `trim(leading 'x' from t)`, `trim(from t)`, `trim(leading t, 'x')` | `ltrim(t, 'x')`, `btrim(t)`, `ltrim(t, 'x')` |
//! | `x BETWEEN SYMMETRIC a AND b` | `(x BETWEEN a AND b OR x BETWEEN b AND a)` |

use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::Token;

use super::grouped_windows::call_of;

/// A call of `trim` with its words, if one comes next.
pub fn trim(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let is_trim = matches!(&parser.peek_token_ref().token, Token::Word(word)
        if word.quote_style.is_none() && word.keyword == Keyword::TRIM);
    if !is_trim || parser.peek_nth_token_ref(1).token != Token::LParen {
        return None;
    }
    parser.advance_token();
    parser.advance_token();
    Some(trimmed(parser))
}

fn trimmed(parser: &mut Parser) -> Result<Expr, ParserError> {
    const SIDES: [(Keyword, &str); 3] = [
        (Keyword::LEADING, "ltrim"),
        (Keyword::TRAILING, "rtrim"),
        (Keyword::BOTH, "btrim"),
    ];
    let side = SIDES.iter().find(|(word, _)| parser.parse_keyword(*word));
    let function = side.map_or("btrim", |(_, function)| function);
    let arguments = if parser.parse_keyword(Keyword::FROM) {
        parser.parse_comma_separated(Parser::parse_expr)?
    } else {
        let mut first = parser.parse_comma_separated(Parser::parse_expr)?;
        if first.len() == 1 && parser.parse_keyword(Keyword::FROM) {
            let what = first.remove(0);
            let mut arguments = parser.parse_comma_separated(Parser::parse_expr)?;
            arguments.push(what);
            arguments
        } else {
            first
        }
    };
    parser.expect_token(&Token::RParen)?;
    Ok(call_of(function, arguments))
}

/// `BETWEEN SYMMETRIC`, and `ASYMMETRIC`, which is the same as none, if it comes next.
pub fn between_symmetric(
    parser: &mut Parser,
    left: &Expr,
    precedence: u8,
) -> Option<Result<Expr, ParserError>> {
    const FORMS: [(&[Keyword], bool, bool); 4] = [
        (&[Keyword::BETWEEN, Keyword::SYMMETRIC], false, true),
        (
            &[Keyword::NOT, Keyword::BETWEEN, Keyword::SYMMETRIC],
            true,
            true,
        ),
        (&[Keyword::BETWEEN, Keyword::ASYMMETRIC], false, false),
        (
            &[Keyword::NOT, Keyword::BETWEEN, Keyword::ASYMMETRIC],
            true,
            false,
        ),
    ];
    let mut forms = FORMS.iter();
    let (_, negated, either_way) = forms.find(|(words, ..)| parser.parse_keywords(words))?;
    Some(bounds(parser, precedence).map(|(low, high)| {
        let within = |low: &Expr, high: &Expr| Expr::Between {
            expr: Box::new(left.clone()),
            negated: *negated && !*either_way,
            low: Box::new(low.clone()),
            high: Box::new(high.clone()),
        };
        if !either_way {
            return within(&low, &high);
        }
        let either = Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(within(&low, &high)),
            op: BinaryOperator::Or,
            right: Box::new(within(&high, &low)),
        }));
        match negated {
            false => either,
            true => Expr::Nested(Box::new(Expr::UnaryOp {
                op: UnaryOperator::Not,
                expr: Box::new(either),
            })),
        }
    }))
}

fn bounds(parser: &mut Parser, precedence: u8) -> Result<(Expr, Expr), ParserError> {
    let low = parser.parse_subexpr(precedence)?;
    parser.expect_keyword(Keyword::AND)?;
    Ok((low, parser.parse_subexpr(precedence)?))
}
