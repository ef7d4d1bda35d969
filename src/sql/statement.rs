//! Text to statements: sqlparser, with our own loop in front for what it does not know.
//!
//! ```text
//!   text ──▶ tokens ──▶ variables replaced ──▶ cut at `;` ──▶ one parser per statement
//! ```
//!
//! Ours are `SET`, `CREATE TABLE | SOURCE | SINK` with `WATERMARK FOR`, computed columns and
//! dotted option names, and `EMIT ..`; queries and expressions are sqlparser's. Because each
//! statement has its own parser, a syntax error in one does not hide those in the others.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of tokens and statements of every SQL engine, those of a pipeline are named"
)]

use std::collections::BTreeMap;

use datafusion_sql::sqlparser::ast::{self, Expr, Ident, ObjectName, Query, Spanned};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::plan::{Emit, Place};

use super::dialect::TidemarkDialect;
use crate::types::nearest;

use super::problem::Problem;
use super::window::PARTITION_BY;
use super::{asof, create_table, matching, place_of, variables};

/// A statement and where it starts.
#[derive(Debug)]
pub struct Statement {
    pub kind: Kind,
    pub place: Place,
    /// Its words and signs, variables being replaced: the same for the same meaning, whatever
    /// stands between them.
    pub words: Vec<String>,
}

/// What a pipeline file can say.
#[derive(Debug)]
pub enum Kind {
    /// `SET 'name' = 'value'`.
    Set { name: String, value: String },
    /// `CREATE TABLE`, `CREATE SOURCE` or `CREATE SINK`.
    CreateTable(Box<TableDefinition>),
    /// `CREATE [MATERIALIZED] VIEW`.
    CreateView {
        name: Ident,
        columns: Vec<Ident>,
        query: Box<Query>,
    },
    /// `INSERT INTO .. SELECT ..`.
    Insert {
        table: Ident,
        columns: Vec<Ident>,
        query: Box<Query>,
        emit: Option<Emit>,
    },
    /// A table or view whose declaration does not parse: what names it has no further problem.
    Broken { name: Ident },
}

/// A `CREATE TABLE` as written.
#[derive(Debug)]
pub struct TableDefinition {
    pub name: Ident,
    pub columns: Vec<ColumnDefinition>,
    pub primary_key: Option<Vec<Ident>>,
    /// With the column each was written on, if on one.
    pub checks: Vec<(Expr, Option<Ident>)>,
    pub watermark: Option<(Ident, Expr)>,
    pub options: Vec<OptionDefinition>,
}

/// A column as written.
#[derive(Debug)]
pub struct ColumnDefinition {
    pub name: Ident,
    /// A computed column may leave it to its expression.
    pub data_type: Option<ast::DataType>,
    pub not_null: bool,
    pub computed: Option<Expr>,
    /// `METADATA FROM 'name'`.
    pub metadata: Option<(String, Place)>,
}

/// An option of `WITH (..)` as written.
#[derive(Debug)]
pub struct OptionDefinition {
    pub name: String,
    pub value: String,
    pub place: Place,
}

/// All statements of the text that parse; what does not is added to `problems`.
pub fn parse(
    text: &str,
    given: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> Vec<Statement> {
    let dialect = TidemarkDialect::default();
    let mut tokens = match Tokenizer::new(&dialect, text).tokenize_with_location() {
        Ok(tokens) => tokens,
        Err(error) => {
            let place = Place {
                line: error.location.line,
                column: error.location.column,
            };
            problems.push(Problem::at(place, super::errors::plain(&error.message)));
            return Vec::new();
        }
    };
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    let mut tokens = super::signs::rewrite(tokens);
    variables::replace(&mut tokens, given, problems);
    let mut statements = Vec::new();
    for tokens in tokens.split(|token| token.token == Token::SemiColon) {
        if tokens.is_empty() {
            continue;
        }
        match statement(&dialect, tokens) {
            Ok(statement) => statements.push(statement),
            Err(problem) => {
                problems.push(problem);
                if let Some(name) = declared_name(tokens) {
                    statements.push(Statement {
                        kind: Kind::Broken { name },
                        place: place_of(tokens[0].span),
                        words: Vec::new(),
                    });
                }
            }
        }
    }
    statements
}

/// The name that a statement declares, however wrong the rest of it is.
fn declared_name(tokens: &[TokenWithSpan]) -> Option<Ident> {
    const BEFORE: &[&str] = &[
        "create",
        "or",
        "replace",
        "temporary",
        "temp",
        "materialized",
        "table",
        "source",
        "sink",
        "view",
        "if",
        "not",
        "exists",
    ];
    let mut words = tokens.iter().map_while(|token| match &token.token {
        Token::Word(word) => Some((word, token.span)),
        _ => None,
    });
    let is_before = |word: &str| BEFORE.iter().any(|known| word.eq_ignore_ascii_case(known));
    let (first, _) = words.next()?;
    if !first.value.eq_ignore_ascii_case("create") {
        return None;
    }
    let (name, span) =
        words.find(|(word, _)| word.quote_style.is_some() || !is_before(&word.value))?;
    Some(name.clone().into_ident(span))
}

/// More than any query a person writes; what is deeper would be read by recursion.
const TOKENS_MAX: usize = 20_000;

fn statement(dialect: &TidemarkDialect, tokens: &[TokenWithSpan]) -> Result<Statement, Problem> {
    let place = place_of(tokens[0].span);
    let words = words_of(tokens);
    if tokens.len() > TOKENS_MAX {
        return Err(Problem::at(
            place,
            format!("a statement may have {TOKENS_MAX} words and signs at most"),
        ));
    }
    let (tokens, emit) = take_emit(asof::tokens::rewrite(matching::tokens::rewrite(
        partition_as_argument(&drop_table_in_arguments(tokens)),
    )));
    let end = tokens.last().map_or(place, |token| place_of(token.span));
    let mut parser = Parser::new(dialect).with_tokens_with_locations(tokens);
    let kind = kind(&mut parser, emit.as_ref().map(|(emit, _)| *emit))
        .map_err(|failure| failure.into_problem(end))?;
    let next = parser.peek_token_ref();
    if next.token != Token::EOF {
        let message = format!("expected the end of the statement, found `{}`", next.token);
        let place = place_of(next.span);
        let problem = Problem::at(place, message).hint("statements are separated by `;`");
        return Err(problem.maybe_hint(misspelt_before(&parser)));
    }
    if let (Some((_, place)), Kind::Set { .. } | Kind::CreateTable(_) | Kind::CreateView { .. }) =
        (emit, &kind)
    {
        return Err(Problem::at(place, "EMIT belongs to an INSERT")
            .hint("write it at the end of the INSERT INTO that reads this"));
    }
    Ok(Statement { kind, place, words })
}

fn words_of(tokens: &[TokenWithSpan]) -> Vec<String> {
    let word = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
        other => other.to_string(),
    };
    tokens.iter().map(word).collect()
}

/// What the word before the next one may have been meant to be: `FORM` is taken for the name of a
/// column, and only the word behind it is in the way.
fn misspelt_before(parser: &Parser<'_>) -> Option<String> {
    const MEANT: [&str; 6] = ["FROM", "WHERE", "GROUP", "HAVING", "UNION", "JOIN"];
    let before = (0..parser.index())
        .rev()
        .map(|at| &parser.token_at(at).token);
    let mut words = before.filter_map(|token| match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.as_str()),
        _ => None,
    });
    let word = words.next().filter(|word| word.len() > 3)?;
    let meant = nearest(word, MEANT)?;
    let differs = !word.eq_ignore_ascii_case(meant);
    differs.then(|| format!("did you mean {meant} instead of `{word}`?"))
}

/// What may go wrong while parsing: sqlparser's error, or one that already says it well.
pub enum Failure {
    Parser(ParserError),
    Problem(Box<Problem>),
}

impl From<ParserError> for Failure {
    fn from(error: ParserError) -> Self {
        Self::Parser(error)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl Failure {
    fn into_problem(self, end: Place) -> Problem {
        match self {
            Self::Parser(error) => super::errors::of_parser(&error).or_at(end),
            Self::Problem(problem) => problem.or_at(end),
        }
    }
}

fn kind(parser: &mut Parser, emit: Option<Emit>) -> Result<Kind, Failure> {
    if word(parser, "set") {
        return set(parser);
    }
    if let Some(definition) = create_table::parse(parser)? {
        return Ok(Kind::CreateTable(Box::new(definition)));
    }
    let start = place_of(parser.peek_token_ref().span);
    let is_create = matches!(&parser.peek_token_ref().token,
        Token::Word(word) if word.keyword == Keyword::CREATE);
    match parser.parse_statement()? {
        ast::Statement::CreateView(view) => create_view(view).map_err(Failure::from),
        ast::Statement::Insert(insert) => insert_into(insert, emit).map_err(Failure::from),
        ast::Statement::Query(query) => from_query(*query, emit, start).map_err(Failure::from),
        other => {
            let text = other.to_string();
            let verb: Vec<&str> = text
                .split_whitespace()
                .take(if is_create { 2 } else { 1 })
                .collect();
            let message = format!(
                "{} cannot stand in a pipeline",
                verb.join(" ").to_uppercase()
            );
            Err(Problem::at(start, message)
                .hint("a pipeline has SET, CREATE TABLE, CREATE VIEW and INSERT INTO .. SELECT")
                .into())
        }
    }
}

/// `SET 'a.b' = 'c'`, also bare, dotted and with TO.
fn set(parser: &mut Parser) -> Result<Kind, Failure> {
    let name = dotted_name(parser)?;
    if !(parser.consume_token(&Token::Eq) || parser.parse_keyword(Keyword::TO)) {
        let found = parser.peek_token();
        return Ok(parser.expected("= or TO", found)?);
    }
    let value = literal_text(parser)?;
    Ok(Kind::Set { name, value })
}

/// A name of a setting or an option: `'quoted'`, `"quoted"`, bare or `dotted.bare`.
pub fn dotted_name(parser: &mut Parser) -> Result<String, ParserError> {
    if matches!(
        parser.peek_token_ref().token,
        Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_)
    ) {
        return parser.parse_literal_string();
    }
    let mut name = String::new();
    loop {
        let token = parser.next_token();
        match token.token {
            Token::Word(word) => name.push_str(&word.value),
            found => {
                let found = TokenWithSpan {
                    token: found,
                    span: token.span,
                };
                return parser.expected("a name", found);
            }
        }
        if parser.consume_token(&Token::Period) {
            name.push('.');
        } else if parser.consume_token(&Token::Minus) {
            name.push('-');
        } else {
            return Ok(name);
        }
    }
}

/// The text of a literal: a string without its quotes, a number, a word.
pub fn literal_text(parser: &mut Parser) -> Result<String, ParserError> {
    let sign = if parser.consume_token(&Token::Minus) {
        "-"
    } else {
        ""
    };
    let token = parser.next_token();
    match token.token {
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) if sign.is_empty() => {
            Ok(text)
        }
        Token::Number(text, _) => Ok(format!("{sign}{text}")),
        Token::Word(word) if sign.is_empty() => Ok(word.value),
        found => {
            let found = TokenWithSpan {
                token: found,
                span: token.span,
            };
            parser.expected("a 'text' or a number", found)
        }
    }
}

/// Consumes a bare word that is no keyword of sqlparser's.
pub fn word(parser: &mut Parser, wanted: &str) -> bool {
    let is_it = matches!(&parser.peek_token_ref().token,
        Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted));
    if is_it {
        parser.next_token();
    }
    is_it
}

/// A table's or view's name: one identifier.
pub fn single_name(name: &ObjectName) -> Result<Ident, Problem> {
    match name.0.as_slice() {
        [part] if part.as_ident().is_some() => {
            Ok(part.as_ident().cloned().unwrap_or_else(|| Ident::new("")))
        }
        _ => Err(Problem::at(
            place_of(name.span()),
            format!("`{name}` is not a plain name: tables and views have no schema"),
        )
        .hint("drop what stands before the dot, or quote the whole name")),
    }
}

fn create_view(view: ast::CreateView) -> Result<Kind, Problem> {
    Ok(Kind::CreateView {
        name: single_name(&view.name)?,
        columns: view.columns.into_iter().map(|column| column.name).collect(),
        query: view.query,
    })
}

fn insert_into(insert: ast::Insert, emit: Option<Emit>) -> Result<Kind, Problem> {
    let place = place_of(insert.insert_token.0.span);
    let refused = [
        (insert.on.is_some(), "ON CONFLICT"),
        (insert.returning.is_some(), "RETURNING"),
        (insert.overwrite, "INSERT OVERWRITE"),
        (insert.partitioned.is_some(), "PARTITION"),
        (insert.or.is_some(), "INSERT OR"),
    ];
    if let Some((_, what)) = refused.iter().find(|(given, _)| *given) {
        return Err(
            Problem::at(place, format!("{what} has no meaning in a pipeline"))
                .hint("a sink with a PRIMARY KEY is kept current, one without is appended to"),
        );
    }
    let ast::TableObject::TableName(name) = &insert.table else {
        return Err(Problem::at(place, "INSERT INTO takes the name of a table"));
    };
    let Some(query) = insert.source else {
        return Err(Problem::at(place, "INSERT INTO takes a query")
            .hint("write INSERT INTO t SELECT .. FROM .."));
    };
    Ok(Kind::Insert {
        table: single_name(name)?,
        columns: insert
            .columns
            .iter()
            .map(single_name)
            .collect::<Result<_, _>>()?,
        query,
        emit,
    })
}

/// `WITH .. INSERT INTO ..` is an INSERT; any other query on its own has no sink.
fn from_query(mut query: Query, emit: Option<Emit>, place: Place) -> Result<Kind, Problem> {
    let with = query.with.take();
    if let ast::SetExpr::Insert(ast::Statement::Insert(mut insert)) = *query.body {
        if let (Some(source), Some(with)) = (&mut insert.source, with) {
            if source.with.is_some() {
                return Err(Problem::at(place, "WITH stands twice in this INSERT")
                    .hint("write one WITH with all its queries"));
            }
            source.with = Some(with);
        }
        return insert_into(insert, emit);
    }
    Err(
        Problem::at(place, "a query on its own has nowhere to put its rows")
            .hint("write INSERT INTO a_table SELECT .., or CREATE VIEW a_name AS SELECT .."),
    )
}

/// Takes `EMIT CHANGES` or `EMIT ON WINDOW CLOSE` off the end of a statement. sqlparser would
/// read EMIT as the alias of a table.
fn take_emit(mut tokens: Vec<TokenWithSpan>) -> (Vec<TokenWithSpan>, Option<(Emit, Place)>) {
    const ENDINGS: [(&[&str], Emit); 3] = [
        (&["emit", "changes"], Emit::Changes),
        (&["emit", "on", "window", "close"], Emit::OnClose),
        (&["emit", "final"], Emit::OnClose),
    ];
    for (words, emit) in ENDINGS {
        let Some(start) = tokens.len().checked_sub(words.len()) else {
            continue;
        };
        let matches = tokens[start..].iter().zip(words).all(|(token, wanted)| {
            matches!(&token.token, Token::Word(word)
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
        });
        if matches && start > 0 {
            let place = place_of(tokens[start].span);
            tokens.truncate(start);
            return (tokens, Some((emit, place)));
        }
    }
    (tokens, None)
}

/// Flink's `TUMBLE(TABLE t, ..)` is `TUMBLE(t, ..)`.
fn drop_table_in_arguments(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let is_marker = |at: usize| {
        let before = at.checked_sub(1).map(|at| &tokens[at].token);
        let after = tokens.get(at + 1).map(|token| &token.token);
        matches!(&tokens[at].token, Token::Word(word)
            if word.keyword == Keyword::TABLE && word.quote_style.is_none())
            && matches!(before, Some(Token::LParen | Token::Comma | Token::RArrow))
            && matches!(after, Some(Token::Word(_)))
    };
    tokens
        .iter()
        .enumerate()
        .filter(|(at, _)| !is_marker(*at))
        .map(|(_, token)| token.clone())
        .collect()
}

/// `SESSION(t PARTITION BY k, ..)` is `SESSION(t, partition_by => k, ..)`.
fn partition_as_argument(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let is = |token: &TokenWithSpan, wanted: &str| {
        matches!(&token.token, Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
    };
    // For each open parenthesis, whether it is that of SESSION.
    let mut open: Vec<bool> = Vec::new();
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.iter().peekable();
    while let Some(token) = rest.next() {
        match &token.token {
            Token::LParen => open.push(out.last().is_some_and(|last| is(last, "session"))),
            Token::RParen => drop(open.pop()),
            _ => {}
        }
        let is_clause = open.last() == Some(&true)
            && is(token, "partition")
            && rest.peek().is_some_and(|next| is(next, "by"));
        if !is_clause {
            out.push(token.clone());
            continue;
        }
        let by = rest.next().expect("it was looked at");
        let name = Token::make_word(PARTITION_BY, None);
        for (token, span) in [
            (Token::Comma, token.span),
            (name, token.span),
            (Token::RArrow, by.span),
        ] {
            out.push(TokenWithSpan { token, span });
        }
    }
    out
}
