//! What conditions and measures read: `x.price`, `PREV(x.price)`, `FIRST(x.price)`,
//! `sum(x.price)`. Each becomes a column of its own, and the expression one over these columns.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of SQL, what reads rows of a match is named"
)]

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DFSchema, DFSchemaRef};
use datafusion_expr::planner::RelationPlannerContext;
use datafusion_expr::{Expr, ExprSchemable};
use datafusion_sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned, Value, VisitorMut,
};

use super::pattern::Variables;
use crate::plan::Place;
use crate::plan::aggregate_types::result_type;
use crate::sql::functions::function_of;
use crate::sql::problem::Problem;
use crate::sql::{normalise, place_of, query, walk};

/// The aggregates that are computed over rows of a match.
const AGGREGATES: [&str; 5] = ["count", "sum", "avg", "min", "max"];

/// Functions that have a meaning in MATCH_RECOGNIZE only.
pub const NAVIGATIONS: [&str; 6] = [
    "first",
    "last",
    "prev",
    "next",
    "classifier",
    "match_number",
];

/// A value that is taken from rows of a match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Read {
    pub variable: Option<usize>,
    pub what: What,
    pub text: String,
}

/// What of those rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// An argument, of one row.
    Row {
        argument: usize,
        first: bool,
        skip: usize,
        back: usize,
    },
    /// An aggregate of all rows.
    Aggregate {
        function: String,
        distinct: bool,
        argument: Option<usize>,
    },
}

/// What has been read so far.
pub struct Reads<'c> {
    pub context: &'c mut dyn RelationPlannerContext,
    pub config: Arc<ConfigOptions>,
    pub input: DFSchemaRef,
    pub variables: Variables,
    pub place: Place,
    /// Over the input.
    pub arguments: Vec<Expr>,
    pub reads: Vec<Read>,
    fields: Vec<Arc<Field>>,
}

type Result<T> = std::result::Result<T, datafusion_common::DataFusionError>;

impl<'c> Reads<'c> {
    /// Nothing yet.
    pub fn new(
        context: &'c mut dyn RelationPlannerContext,
        config: Arc<ConfigOptions>,
        input: DFSchemaRef,
        variables: Variables,
        place: Place,
    ) -> Self {
        Self {
            context,
            config,
            input,
            variables,
            place,
            arguments: Vec::new(),
            reads: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// An expression over what it reads, whose columns are called as they read.
    pub fn expression(&mut self, mut expr: ast::Expr) -> Result<Expr> {
        let mut replace = Replace {
            reads: self,
            error: None,
        };
        let _ = walk::rewrite(&mut expr, &mut replace);
        if let Some(error) = replace.error {
            return Err(error);
        }
        let schema = self.schema()?;
        let planned = self.context.sql_to_expr(expr, &schema)?;
        query::coerced(&self.config, planned, &schema)
    }

    /// The columns that expressions are over.
    pub fn schema(&self) -> Result<DFSchema> {
        let fields = self.fields.iter().map(|field| (None, Arc::clone(field)));
        DFSchema::new_with_metadata(fields.collect(), Default::default())
    }

    /// What stands for an expression that reads rows, if it does.
    fn replacement(&mut self, expr: &ast::Expr) -> Result<Option<ast::Expr>> {
        let read = match expr {
            ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) => self.last_row(expr)?,
            ast::Expr::Function(function) => match self.function(function)? {
                Some(read) => read,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let name = Ident::with_quote('"', &read.text);
        if !self.reads.contains(&read) {
            let data_type = self.type_of(&read)?;
            self.fields
                .push(Arc::new(Field::new(&read.text, data_type, true)));
            self.reads.push(read);
        }
        Ok(Some(ast::Expr::Identifier(name)))
    }

    fn type_of(&self, read: &Read) -> Result<DataType> {
        let of = |argument: usize| self.arguments[argument].get_type(&self.input);
        match &read.what {
            What::Row { argument, .. } => of(*argument),
            What::Aggregate {
                function, argument, ..
            } => {
                let types = argument.map(of).transpose()?;
                let known = function_of(function).expect("it is one of those that are computed");
                result_type(&known, types.as_slice())
                    .map_err(|message| Problem::at(self.place, message).into())
            }
        }
    }

    fn function(&mut self, function: &ast::Function) -> Result<Option<Read>> {
        let name = function.name.to_string().to_lowercase();
        let place = place_of(function.name.span());
        let wrong = |message: String, hint: &str| {
            let problem = Problem::at(place, message).hint(hint);
            datafusion_common::DataFusionError::from(problem)
        };
        let arguments = match &function.args {
            FunctionArguments::List(list) => list.args.as_slice(),
            FunctionArguments::None | FunctionArguments::Subquery(_) => &[],
        };
        match name.as_str() {
            "first" | "last" | "prev" => self.navigation(&name, arguments, place).map(Some),
            "next" => Err(wrong(
                "a pipeline cannot look at rows that come later".to_owned(),
                "define the later row as a variable of its own, and compare with PREV",
            )),
            "classifier" | "match_number" => Err(wrong(
                format!("a pipeline cannot compute {name} yet"),
                "leave it out: count(x.column) says how many rows a variable has",
            )),
            name if AGGREGATES.contains(&name) => {
                if function.filter.is_some() || function.over.is_some() {
                    return Err(wrong(
                        format!("a pipeline cannot compute {name} with FILTER or OVER in a match"),
                        "give the rows a variable of their own",
                    ));
                }
                let distinct = match &function.args {
                    FunctionArguments::List(list) => {
                        list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct)
                    }
                    FunctionArguments::None | FunctionArguments::Subquery(_) => false,
                };
                self.aggregate(name, distinct, arguments, place).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn aggregate(
        &mut self,
        name: &str,
        distinct: bool,
        arguments: &[FunctionArg],
        place: Place,
    ) -> Result<Read> {
        let (variable, argument, text) = match arguments {
            [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] => (None, None, "*".to_owned()),
            [FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(of))] => {
                let of = of.to_string().to_lowercase();
                let Some(variable) = self.variables.find(&of) else {
                    return Err(self.unknown(&of, place).into());
                };
                (Some(variable), None, format!("{of}.*"))
            }
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => {
                let (variable, argument, text) = self.argument(expr)?;
                (variable, Some(argument), text)
            }
            _ => {
                return Err(Problem::at(place, format!("{name} takes one argument"))
                    .hint(format!("write {name}(x.column)"))
                    .into());
            }
        };
        let each = if distinct { "distinct " } else { "" };
        Ok(Read {
            variable,
            what: What::Aggregate {
                function: name.to_owned(),
                distinct,
                argument,
            },
            text: format!("{name}({each}{text})"),
        })
    }

    /// `FIRST(x [, n])`, `LAST(x [, n])`, `PREV(x [, n])`, and `PREV` of the other two.
    fn navigation(&mut self, name: &str, arguments: &[FunctionArg], place: Place) -> Result<Read> {
        let call = name.to_uppercase();
        let usage = || {
            let message = format!("{name} takes a column, and how many rows it goes");
            let hint = format!("write {call}(x.column) or {call}(x.column, 2)");
            Problem::at(place, message).hint(hint)
        };
        let expr = |at: usize| match arguments.get(at) {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => Some(expr),
            _ => None,
        };
        let (Some(of), true) = (expr(0), arguments.len() <= 2) else {
            return Err(usage().into());
        };
        let given = match expr(1) {
            None if arguments.len() > 1 => return Err(usage().into()),
            None => None,
            Some(number) => Some(whole(number).ok_or_else(usage)?),
        };
        if name == "prev" {
            return match self.previous(of, given.unwrap_or(1))? {
                Some(read) => Ok(read),
                None => Err(usage().into()),
            };
        }
        let (variable, argument, text) = self.argument(of)?;
        let (skip, first) = (given.unwrap_or(0), name == "first");
        let text = match (skip, first) {
            (0, false) => text,
            (0, true) => format!("first({text})"),
            (skip, _) => format!("{name}({text}, {skip})"),
        };
        let what = What::Row {
            argument,
            first,
            skip,
            back: 0,
        };
        Ok(Read {
            variable,
            what,
            text,
        })
    }

    /// An expression over the last row of its variable.
    fn last_row(&mut self, of: &ast::Expr) -> Result<Read> {
        let (variable, argument, text) = self.argument(of)?;
        let what = What::Row {
            argument,
            first: false,
            skip: 0,
            back: 0,
        };
        Ok(Read {
            variable,
            what,
            text,
        })
    }

    /// So many rows of the partition before a row; `None` if `of` is not of a row.
    fn previous(&mut self, of: &ast::Expr, back: usize) -> Result<Option<Read>> {
        let inner = match of {
            ast::Expr::Function(function) => self.function(function)?,
            _ => None,
        };
        let inner = match inner {
            Some(inner) => inner,
            None => self.last_row(of)?,
        };
        let What::Row {
            argument,
            first,
            skip,
            back: 0,
        } = inner.what
        else {
            return Ok(None);
        };
        Ok(Some(Read {
            variable: inner.variable,
            what: What::Row {
                argument,
                first,
                skip,
                back,
            },
            text: match back {
                1 => format!("prev({})", inner.text),
                back => format!("prev({}, {back})", inner.text),
            },
        }))
    }

    /// What is read of a row: whose rows, which argument, and how it reads.
    fn argument(&mut self, expr: &ast::Expr) -> Result<(Option<usize>, usize, String)> {
        let mut stripped = expr.clone();
        let mut strip = Strip {
            variables: &self.variables,
            found: Vec::new(),
            nested: None,
        };
        let _ = walk::rewrite(&mut stripped, &mut strip);
        let place = Some(place_of(expr.span())).filter(|at| at.line > 0);
        let place = place.unwrap_or(self.place);
        if let Some(name) = strip.nested {
            return Err(Problem::at(place, format!("{name} inside a function that reads rows"))
                .hint("write it by itself: PREV(x.column) + 1 instead of LAST(PREV(x.column) + 1)")
                .into());
        }
        let mut found = strip.found;
        found.sort_unstable();
        found.dedup();
        let variable = match found.as_slice() {
            [] => None,
            [only] => *only,
            _ => {
                return Err(Problem::at(
                    place,
                    format!("`{expr}` reads rows of several variables"),
                )
                .hint("read each by itself: sum(a.n) + sum(b.n)")
                .into());
            }
        };
        let planned = self.context.sql_to_expr(stripped, &self.input)?;
        let planned = query::coerced(&self.config, planned, &self.input)?;
        let known = self.arguments.iter().position(|known| *known == planned);
        let argument = known.unwrap_or_else(|| {
            self.arguments.push(planned);
            self.arguments.len() - 1
        });
        Ok((variable, argument, expr.to_string()))
    }

    fn unknown(&self, name: &str, place: Place) -> Problem {
        Problem::at(place, format!("`{name}` is no variable of the pattern")).hint(format!(
            "its variables are {}",
            self.variables.names.join(", ")
        ))
    }
}

/// A whole number as written.
fn whole(expr: &ast::Expr) -> Option<usize> {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.parse().ok().filter(|number| *number <= 10_000),
            _ => None,
        },
        _ => None,
    }
}

/// Replaces what reads rows.
struct Replace<'r, 'c> {
    reads: &'r mut Reads<'c>,
    error: Option<datafusion_common::DataFusionError>,
}

impl VisitorMut for Replace<'_, '_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        match self.reads.replacement(expr) {
            Ok(Some(column)) => *expr = column,
            Ok(None) => {}
            Err(error) => {
                self.error = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

/// Takes the variables off columns.
struct Strip<'v> {
    variables: &'v Variables,
    /// The variable of each column.
    found: Vec<Option<usize>>,
    nested: Option<String>,
}

impl VisitorMut for Strip<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        match expr {
            ast::Expr::Identifier(_) => self.found.push(None),
            ast::Expr::CompoundIdentifier(parts) => {
                let variable = self.variables.find(&normalise(&parts[0]));
                self.found.push(variable);
                if variable.is_some() {
                    parts.remove(0);
                    if let [only] = parts.as_slice() {
                        *expr = ast::Expr::Identifier(only.clone());
                        // It is visited no more: it has no parts.
                    }
                }
            }
            ast::Expr::Function(function) => {
                let name = function.name.to_string().to_lowercase();
                if NAVIGATIONS.contains(&name.as_str()) || AGGREGATES.contains(&name.as_str()) {
                    self.nested = Some(name);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
