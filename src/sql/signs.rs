//! Signs that the tokenizer takes together and PostgreSQL does not: `a<-1` is `a < -1`, `j->-1` is
//! `j -> -1`. There an operator of several signs ends with a plus or a minus only if it has one of
//! `~ ! @ # % ^ & | ?` too.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of all tokens, those of operators are named"
)]

use datafusion_sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

/// Takes a plus or a minus off the end of operators.
pub fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(tokens.len());
    for token in tokens {
        match apart(&token) {
            Some(parts) => out.extend(parts),
            None => out.push(token),
        }
    }
    out
}

fn apart(token: &TokenWithSpan) -> Option<[TokenWithSpan; 2]> {
    let Token::CustomBinaryOperator(written) = &token.token else {
        return None;
    };
    let (sign, operator) = match written.strip_suffix('-') {
        Some(operator) => (Token::Minus, operator),
        None => (Token::Plus, written.strip_suffix('+')?),
    };
    let operator = match operator {
        "<" => Token::Lt,
        ">" => Token::Gt,
        "<=" => Token::LtEq,
        ">=" => Token::GtEq,
        "<>" => Token::Neq,
        "->" => Token::Arrow,
        "->>" => Token::LongArrow,
        _ => return None,
    };
    let Span { start, end } = token.span;
    let mut between = end;
    between.column = between.column.saturating_sub(1);
    let at = |token, start, end| TokenWithSpan {
        token,
        span: Span { start, end },
    };
    Some([at(operator, start, between), at(sign, between, end)])
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::tokenizer::Tokenizer;

    use super::*;
    use crate::sql::dialect::TidemarkDialect;

    #[test]
    fn a_minus_belongs_to_the_number_behind_it() {
        let dialect = TidemarkDialect::default();
        let tokens = |sql: &str| -> Vec<Token> {
            let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location();
            let tokens = rewrite(tokens.unwrap())
                .into_iter()
                .map(|token| token.token);
            tokens
                .filter(|token| !matches!(token, Token::Whitespace(_)))
                .collect()
        };

        for sign in ["<", ">", "<=", ">=", "<>", "->", "->>", "="] {
            assert_eq!(
                tokens(&format!("a{sign}-1")),
                tokens(&format!("a {sign} - 1")),
                "{sign}"
            );
        }
    }
}
