//! Parses `CREATE TABLE | SOURCE | SINK`: PostgreSQL's columns and constraints, Flink's
//! `WATERMARK FOR`, computed columns and `METADATA FROM`, and options under any quoting.

use datafusion_sql::sqlparser::ast::{ColumnOption, Expr, Ident, Spanned};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::Token;

use super::place_of;
use super::problem::Problem;
use super::statement::{
    ColumnDefinition, Failure, OptionDefinition, TableDefinition, dotted_name, literal_text,
    single_name, word,
};

/// The definition, or `None` (and nothing consumed) if this is another statement.
pub fn parse(parser: &mut Parser) -> Result<Option<TableDefinition>, Failure> {
    if !starts(parser)? {
        return Ok(None);
    }
    // Optional words that change nothing here.
    let _ = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let name = single_name(&parser.parse_object_name(false)?)?;
    let mut definition = TableDefinition {
        name,
        columns: Vec::new(),
        primary_key: None,
        checks: Vec::new(),
        watermark: None,
        options: Vec::new(),
    };
    if let Token::Word(next) = &parser.peek_token_ref().token
        && matches!(next.keyword, Keyword::AS | Keyword::LIKE)
    {
        let place = place_of(parser.peek_token_ref().span);
        return Err(
            Problem::at(place, "a table is declared with its columns and types")
                .hint("for a named query write CREATE VIEW name AS SELECT ..")
                .into(),
        );
    }
    if parser.consume_token(&Token::LParen) && !parser.consume_token(&Token::RParen) {
        loop {
            element(parser, &mut definition)?;
            if parser.consume_token(&Token::RParen) {
                break;
            }
            comma(parser)?;
        }
    }
    if parser.parse_keyword(Keyword::WITH) {
        parser.expect_token(&Token::LParen)?;
        while !parser.consume_token(&Token::RParen) {
            definition.options.push(option(parser)?);
            if parser.consume_token(&Token::RParen) {
                break;
            }
            comma(parser)?;
        }
    }
    Ok(Some(definition))
}

fn comma(parser: &mut Parser) -> Result<(), ParserError> {
    if parser.consume_token(&Token::Comma) {
        return Ok(());
    }
    let found = parser.peek_token();
    parser.expected("`,` or `)`", found)
}

/// Consumes `CREATE [TEMPORARY] TABLE | SOURCE | SINK`.
fn starts(parser: &mut Parser) -> Result<bool, ParserError> {
    let found = parser.maybe_parse(|parser| {
        parser.expect_keyword(Keyword::CREATE)?;
        let _ = parser.parse_one_of_keywords(&[Keyword::TEMPORARY, Keyword::TEMP]);
        if word(parser, "table") || word(parser, "source") || word(parser, "sink") {
            Ok(())
        } else {
            Err(ParserError::ParserError(String::new()))
        }
    })?;
    Ok(found.is_some())
}

/// One column or constraint.
fn element(parser: &mut Parser, definition: &mut TableDefinition) -> Result<(), Failure> {
    let place = place_of(parser.peek_token_ref().span);
    if let Some(watermark) = watermark(parser)? {
        if definition.watermark.is_some() {
            return Err(Problem::at(place, "a table has one WATERMARK FOR").into());
        }
        definition.watermark = Some(watermark);
        return Ok(());
    }
    let constraint = parser.peek_token_ref().clone();
    if parser.parse_keyword(Keyword::CONSTRAINT) {
        parser.parse_identifier()?;
    }
    if parser.parse_keywords(&[Keyword::PRIMARY, Keyword::KEY]) {
        let columns = parser.parse_parenthesized_column_list(
            datafusion_sql::sqlparser::parser::IsOptional::Mandatory,
            false,
        )?;
        let _ = parser.parse_keywords(&[Keyword::NOT, Keyword::ENFORCED]);
        return primary_key(definition, columns, place);
    }
    if parser.parse_keyword(Keyword::CHECK) {
        parser.expect_token(&Token::LParen)?;
        let check = parser.parse_expr()?;
        parser.expect_token(&Token::RParen)?;
        definition.checks.push((check, None));
        return Ok(());
    }
    let refused = [Keyword::UNIQUE, Keyword::FOREIGN];
    if let Some(keyword) = parser.parse_one_of_keywords(&refused) {
        return Err(refuse_constraint(&format!("{keyword:?}"), place).into());
    }
    if matches!(&constraint.token, Token::Word(word) if word.keyword == Keyword::CONSTRAINT) {
        let found = parser.peek_token();
        return Ok(parser.expected("PRIMARY KEY or CHECK", found)?);
    }
    column(parser, definition)
}

fn primary_key(
    definition: &mut TableDefinition,
    columns: Vec<Ident>,
    place: crate::plan::Place,
) -> Result<(), Failure> {
    if definition.primary_key.is_some() {
        return Err(Problem::at(place, "a table has one PRIMARY KEY")
            .hint("for a key of several columns write PRIMARY KEY (a, b)")
            .into());
    }
    definition.primary_key = Some(columns);
    Ok(())
}

fn refuse_constraint(what: &str, place: crate::plan::Place) -> Problem {
    Problem::at(
        place,
        format!("{what} constraints cannot be kept by a stream"),
    )
    .hint("a table takes NOT NULL, CHECK and, for sinks and lookup tables, PRIMARY KEY")
}

/// `WATERMARK FOR column AS expression`. A column may still be called `watermark`.
fn watermark(parser: &mut Parser) -> Result<Option<(Ident, Expr)>, ParserError> {
    let is_it = parser.maybe_parse(|parser| {
        if word(parser, "watermark") && parser.parse_keyword(Keyword::FOR) {
            Ok(())
        } else {
            Err(ParserError::ParserError(String::new()))
        }
    })?;
    if is_it.is_none() {
        return Ok(None);
    }
    let column = parser.parse_identifier()?;
    // `WATERMARK FOR ts` alone: rows come in order.
    let expression = if parser.parse_keyword(Keyword::AS) {
        parser.parse_expr()?
    } else {
        Expr::Identifier(column.clone())
    };
    Ok(Some((column, expression)))
}

/// `name TYPE options`, `name AS expression`, `name TYPE METADATA FROM 'what'`.
fn column(parser: &mut Parser, definition: &mut TableDefinition) -> Result<(), Failure> {
    if matches!(&parser.peek_nth_token_ref(1).token, Token::Word(word) if word.keyword == Keyword::AS)
    {
        let name = parser.parse_identifier()?;
        parser.expect_keyword(Keyword::AS)?;
        let computed = Some(parser.parse_expr()?);
        definition.columns.push(ColumnDefinition {
            name,
            data_type: None,
            not_null: false,
            computed,
            metadata: None,
        });
        return Ok(());
    }
    let parsed = parser.parse_column_def()?;
    let mut column = ColumnDefinition {
        name: parsed.name,
        data_type: Some(parsed.data_type),
        not_null: false,
        computed: None,
        metadata: None,
    };
    for option in parsed.options {
        column_option(option.option, &mut column, definition)?;
    }
    let place = place_of(parser.peek_token_ref().span);
    if word(parser, "metadata") {
        let what = if parser.parse_keyword(Keyword::FROM) {
            parser.parse_literal_string()?
        } else {
            column.name.value.clone()
        };
        word(parser, "virtual");
        column.metadata = Some((what, place));
        if parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]) {
            column.not_null = true;
        }
    }
    definition.columns.push(column);
    Ok(())
}

fn column_option(
    option: ColumnOption,
    column: &mut ColumnDefinition,
    definition: &mut TableDefinition,
) -> Result<(), Failure> {
    let place = place_of(column.name.span);
    let name = column.name.clone();
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "sqlparser's list of every engine's column options: all others are refused"
    )]
    match option {
        ColumnOption::Null | ColumnOption::Comment(_) => {}
        ColumnOption::NotNull => column.not_null = true,
        ColumnOption::PrimaryKey(_) => primary_key(definition, vec![name], place)?,
        ColumnOption::Check(check) => definition.checks.push((*check.expr, Some(name))),
        ColumnOption::Generated {
            generation_expr: Some(expression),
            ..
        } => column.computed = Some(expression),
        other => {
            let place = Some(place_of(other.span()))
                .filter(|p| p.line > 0)
                .unwrap_or(place);
            return Err(refuse_constraint(&format!("`{other}`"), place).into());
        }
    }
    Ok(())
}

/// `name = 'value'`.
fn option(parser: &mut Parser) -> Result<OptionDefinition, ParserError> {
    let place = place_of(parser.peek_token_ref().span);
    let name = dotted_name(parser)?;
    parser.expect_token(&Token::Eq)?;
    let value = literal_text(parser)?;
    Ok(OptionDefinition { name, value, place })
}
