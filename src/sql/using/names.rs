//! What columns a query yields, as far as its text tells: their names, for joins by the names that
//! both sides have.
//!
//! A name is told where it is written: a column, an alias, or the `*` of tables whose columns are known. What
//! an expression without an alias is called is not.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of queries, those whose columns have names are named"
)]

use std::collections::BTreeMap;

use datafusion_sql::sqlparser::ast::{
    Cte, Expr, Ident, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    TableAlias, TableFactor, WildcardAdditionalOptions,
};

use super::{From, Joins, Relation};
use crate::sql::normalise;

/// Columns, if their names are known.
pub type Names = Option<Vec<String>>;

/// What the WITH of one query names.
pub type Frame = BTreeMap<String, Names>;

impl Joins<'_> {
    /// What the WITH of a query names.
    pub fn frame(&mut self, query: &Query) -> Frame {
        self.with.push(Frame::new());
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = normalise(&table.alias.name);
            let columns = self.columns_of_cte(table);
            // Inside of itself a name is still what it was outside.
            let is_other = self.catalog.contains(&name);
            let frame = self.with.last_mut().expect("it was pushed before");
            frame.insert(name, columns.filter(|_| !is_other));
        }
        self.with.pop().expect("it was pushed before")
    }

    fn columns_of_cte(&mut self, table: &Cte) -> Names {
        renamed(Some(&table.alias)).or_else(|| self.columns_of(&table.query))
    }

    /// The columns of something in FROM, whose own name is `own`.
    pub fn columns_of_factor(
        &mut self,
        factor: &TableFactor,
        own: Option<&Ident>,
        alias: Option<&TableAlias>,
    ) -> Names {
        if let Some(columns) = renamed(alias) {
            return Some(columns);
        }
        if let TableFactor::Derived { subquery, .. } = factor {
            return self.columns_of(subquery);
        }
        let name = normalise(own?);
        let with = self.with.iter().rev().find_map(|frame| frame.get(&name));
        match with {
            Some(columns) => columns.clone(),
            None => self.catalog.columns(&name),
        }
    }

    fn columns_of(&mut self, query: &Query) -> Names {
        let frame = self.frame(query);
        self.with.push(frame);
        let columns = self.columns_of_body(&query.body);
        self.with.pop();
        columns
    }

    fn columns_of_body(&mut self, body: &SetExpr) -> Names {
        match body {
            SetExpr::Select(select) => self.columns_of_select(select),
            SetExpr::Query(query) => self.columns_of(query),
            // Those of the first of them.
            SetExpr::SetOperation { left, .. } => self.columns_of_body(left),
            _ => None,
        }
    }

    fn columns_of_select(&mut self, select: &Select) -> Names {
        let mut sources = None;
        let mut columns = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => columns.push(normalise(name)),
                SelectItem::ExprWithAlias { alias, .. } => columns.push(normalise(alias)),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(path)) => {
                    let sources = sources.get_or_insert_with(|| self.sources(select));
                    let [table, column] = path.as_slice() else {
                        return None;
                    };
                    // It may be a field of a STRUCT.
                    find(sources, table)?;
                    columns.push(normalise(column));
                }
                SelectItem::Wildcard(options) if is_plain(options) => {
                    let sources = sources.get_or_insert_with(|| self.sources(select));
                    for from in sources {
                        columns.extend(from.names()?);
                    }
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(table),
                    options,
                ) if is_plain(options) => {
                    let sources = sources.get_or_insert_with(|| self.sources(select));
                    let table = table.0.last().and_then(|part| part.as_ident())?;
                    columns.extend(find(sources, table)?.columns.clone()?);
                }
                _ => return None,
            }
        }
        Some(columns)
    }

    fn sources(&mut self, select: &Select) -> Vec<From> {
        // What is wrong with it is said when the walk comes there.
        let wrong = self.wrong.take();
        let sources = select.from.iter().map(|from| self.joined(from).0).collect();
        self.wrong = wrong;
        sources
    }
}

/// The table of FROM that is called so.
fn find<'a>(sources: &'a [From], table: &Ident) -> Option<&'a Relation> {
    let relations = sources.iter().flat_map(|from| &from.relations);
    let name = normalise(table);
    let is_it =
        |relation: &&Relation| matches!(&relation.name, Some(own) if normalise(own) == name);
    relations.into_iter().find(is_it)
}

fn renamed(alias: Option<&TableAlias>) -> Names {
    let columns = &alias?.columns;
    let names = columns.iter().map(|column| normalise(&column.name));
    (!columns.is_empty()).then(|| names.collect())
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    let plain = WildcardAdditionalOptions {
        wildcard_token: options.wildcard_token.clone(),
        ..Default::default()
    };
    plain == *options
}

impl From {
    /// The columns of SELECT *.
    fn names(&self) -> Names {
        if self.left_alone {
            return None;
        }
        let mut names: Vec<String> = self.merged.iter().map(|it| it.name.clone()).collect();
        for relation in &self.relations {
            let columns = relation.columns.as_ref()?.iter();
            names.extend(
                columns
                    .filter(|column| !relation.merged.contains(column))
                    .cloned(),
            );
        }
        Some(names)
    }
}
