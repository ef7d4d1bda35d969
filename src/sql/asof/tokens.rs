//! ASOF JOIN as the parser knows it, from what people write.
//!
//! | written | parsed |
//! |---|---|
//! | `a ASOF LEFT JOIN b MATCH_CONDITION (c) ON ..` | `a ASOF JOIN b MATCH_CONDITION (left(c)) ON ..` |
//! | `a ASOF JOIN b ON a.k = b.k AND c` | `a ASOF JOIN b MATCH_CONDITION (on) ON a.k = b.k AND c` |
//!
//! Both names are ones that nobody types.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of all tokens, those of a join are named"
)]

use std::collections::BTreeMap;

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// What the condition of a left join is an argument of.
pub const LEFT: &str = " left";
/// What stands for a condition that is among those of ON.
pub const ON: &str = " on";

/// What comes in the place of a token, by its number.
type Edits = BTreeMap<usize, Vec<Token>>;

/// Rewrites the tokens of a statement.
pub fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut edits = Edits::new();
    for at in 0..tokens.len() {
        if is(&tokens, at, "asof") {
            join(&tokens, at, &mut edits);
        }
    }
    if edits.is_empty() {
        return tokens;
    }
    let mut out = Vec::with_capacity(tokens.len() + 4);
    for (at, token) in tokens.into_iter().enumerate() {
        let span = token.span;
        match edits.remove(&at) {
            Some(edit) => out.extend(edit.into_iter().map(|token| TokenWithSpan { token, span })),
            None => out.push(token),
        }
    }
    out
}

/// The edits of the join whose ASOF is at `asof`, if it is one.
fn join(tokens: &[TokenWithSpan], asof: usize, edits: &mut Edits) {
    let is_left = is(tokens, asof + 1, "left");
    let words = match () {
        () if is_left && is(tokens, asof + 2, "outer") => 2,
        () if is_left || is(tokens, asof + 1, "inner") => 1,
        () => 0,
    };
    if !is(tokens, asof + 1 + words, "join") {
        return;
    }
    edits.extend((asof + 1..=asof + words).map(|at| (at, Vec::new())));
    let word = |name: &str| Token::make_word(name, Some('"'));
    let Some(at) = condition(tokens, asof + 2 + words) else {
        return;
    };
    if is(tokens, at, "match_condition") {
        let close = closing(tokens, at + 1);
        if let (true, Some(close)) = (is_left, close) {
            edits.insert(at + 1, vec![Token::LParen, word(LEFT), Token::LParen]);
            edits.insert(close, vec![Token::RParen, Token::RParen]);
        }
        return;
    }
    let mut condition = vec![Token::make_keyword("MATCH_CONDITION"), Token::LParen];
    match is_left {
        true => condition.extend([word(LEFT), Token::LParen, word(ON), Token::RParen]),
        false => condition.push(word(ON)),
    }
    condition.extend([Token::RParen, tokens[at].token.clone()]);
    edits.insert(at, condition);
}

/// Where the condition of a join begins whose table begins at `from`.
fn condition(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        let begins = || {
            let words = ["match_condition", "on", "using"];
            words.iter().any(|word| is(tokens, at, word))
        };
        if depth < 0 || (depth == 0 && begins()) {
            return (depth == 0).then_some(at);
        }
    }
    None
}

/// Where the bracket closes that opens at `open`.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        if depth <= 0 {
            return (at > open).then_some(at);
        }
    }
    None
}

fn is(tokens: &[TokenWithSpan], at: usize, wanted: &str) -> bool {
    matches!(tokens.get(at).map(|token| &token.token), Some(Token::Word(word))
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}
