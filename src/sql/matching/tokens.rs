//! MATCH_RECOGNIZE as the parser knows it, from what people write.
//!
//! | written | parsed |
//! |---|---|
//! | `PATTERN (..) WITHIN INTERVAL '1' MINUTE DEFINE ..` | `PATTERN (..) DEFINE within AS INTERVAL '1' MINUTE, ..` |
//! | `A?` | the sign of a placeholder, which PostgreSQL's `?` is not |
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of all tokens, those of patterns are named"
)]

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// What an interval stands under among the definitions.
pub const WITHIN: &str = " within";

/// Rewrites the tokens of a statement.
pub fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|token| is(token, "match_recognize")) {
        return tokens;
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 3);
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let is_pattern =
            is(&token, "pattern") && rest.peek().is_some_and(|next| next.token == Token::LParen);
        out.push(token);
        if !is_pattern {
            continue;
        }
        let mut depth = 0;
        for token in rest.by_ref() {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            signs(token, &mut out);
            if depth == 0 {
                break;
            }
        }
        if rest.peek().is_some_and(|next| is(next, "within")) {
            let within = rest.next().expect("it was looked at");
            let interval: Vec<_> =
                std::iter::from_fn(|| rest.next_if(|token| !is(token, "define"))).collect();
            out.extend(rest.next());
            let span = within.span;
            let word = |token: Token| TokenWithSpan { token, span };
            out.push(word(Token::make_word(WITHIN, Some('"'))));
            out.push(word(Token::make_keyword("AS")));
            out.extend(interval);
            out.push(word(Token::Comma));
        }
    }
    out
}

/// A token of a pattern, as the parser wants it.
fn signs(token: TokenWithSpan, out: &mut Vec<TokenWithSpan>) {
    let span = token.span;
    let optional = || Token::Placeholder("?".to_owned());
    let tokens = match token.token {
        Token::Question => vec![optional()],
        Token::QuestionPipe => vec![optional(), Token::Pipe],
        Token::CustomBinaryOperator(signs) => signs
            .chars()
            .map(|sign| match sign {
                '?' => optional(),
                '*' => Token::Mul,
                '+' => Token::Plus,
                '|' => Token::Pipe,
                other => Token::Char(other),
            })
            .collect(),
        other => vec![other],
    };
    out.extend(
        tokens
            .into_iter()
            .map(|token| TokenWithSpan { token, span }),
    );
}

fn is(token: &TokenWithSpan, wanted: &str) -> bool {
    matches!(&token.token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}
