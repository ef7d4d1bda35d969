//! `CREATE TABLE` to `plan::Table`: types, constraints, event time, computed columns, options.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Column as Named, DFSchema, ScalarValue, TableReference};
use datafusion_expr::expr::Cast;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator, binary_expr, lit};
use datafusion_sql::sqlparser::ast::{self, Ident, Spanned};

use crate::plan::{Check, Column, Computed, OptionValue, Place, Role, Table, WatermarkFor};

use super::catalog::Catalog;
use super::errors::{list, of_datafusion};
use super::functions::intervals::holds_interval;
use super::lower::expression::{Positional, substitute};
use super::problem::{Problem, did_you_mean};
use super::statement::{ColumnDefinition, OptionDefinition, TableDefinition};
use super::types::{field_of, length_limit, name_of};
use super::window::interval_microseconds;
use super::{normalise, place_of, query, types};

/// Field metadata of a column that holds the whole record as JSON text.
const WHOLE_RECORD: (&str, &str) = ("tidemark.record", "true");

/// Field metadata of a column that comes with the record and not out of it; the value says what.
pub const WITH_RECORD: &str = "tidemark.metadata";

/// Field metadata of a column whose name has another spelling in the file: that one.
const AS_WRITTEN: &str = "tidemark.written";

/// What can come with a record, and the type to declare it with.
const METADATA: &[(&str, &str)] = &[
    ("record", "JSON"),
    ("key", "TEXT"),
    ("partition", "INT"),
    ("offset", "BIGINT"),
    ("timestamp", "TIMESTAMP(3)"),
    ("headers", "JSON"),
    ("topic", "TEXT"),
    ("tombstone", "BOOLEAN"),
];

/// Option names of other engines that mean the same.
const SYNONYMS: &[(&str, &str)] = &[
    ("kafka.bootstrap.servers", "bootstrap.servers"),
    ("properties.bootstrap.servers", "bootstrap.servers"),
    ("properties.group.id", "group.id"),
    ("properties.security.protocol", "security.protocol"),
    ("properties.sasl.mechanism", "sasl.mechanism"),
    ("scan.startup.timestamp-millis", "scan.startup.timestamp"),
    ("scan.startup.specific-offsets", "scan.startup.offsets"),
    (
        "scan.topic-partition-discovery.interval",
        "partition.discovery",
    ),
    ("value.format", "format"),
    ("key.fields", "key"),
    ("table-name", "table"),
    ("dbtable", "table"),
];

/// The table, or everything that is wrong with it.
pub fn declare(definition: TableDefinition, catalog: &Catalog) -> Result<Table, Vec<Problem>> {
    let mut problems = Vec::new();
    let name = normalise(&definition.name);
    let place = place_of(definition.name.span);
    let fields = fields(&definition, &mut problems);
    let primary_key = primary_key(&definition, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut declaring = Declaring {
        catalog,
        name: &name,
        definition: &definition,
        fields,
        problems,
    };
    let computed = declaring.computed();
    let watermark = declaring.watermark();
    declaring.not_null(&primary_key, watermark.as_ref());
    let computed = declaring.compile_computed(computed);
    declaring.no_intervals(&primary_key);
    let checks = declaring.checks();
    let Declaring {
        fields,
        mut problems,
        ..
    } = declaring;
    let (connector, options) = options(&definition.options, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let columns = fields.into_iter().zip(computed).zip(&definition.columns);
    Ok(Table {
        columns: columns
            .map(|((field, computed), written)| Column {
                field: Arc::new(field),
                computed,
                place: place_of(written.name.span),
            })
            .collect(),
        name,
        role: Role::Unused,
        takes_letters: false,
        primary_key,
        checks,
        watermark,
        connector,
        options,
        place,
    })
}

/// Names and types; a computed column without a type is NULL's until its expression is known.
fn fields(definition: &TableDefinition, problems: &mut Vec<Problem>) -> Vec<Field> {
    let mut names = BTreeSet::new();
    let mut fields = Vec::new();
    for column in &definition.columns {
        let name = normalise(&column.name);
        let place = place_of(column.name.span);
        if !names.insert(name.clone()) {
            problems.push(Problem::at(
                place,
                format!("two columns are called `{name}`"),
            ));
        }
        match column.data_type.as_ref().map(field_of) {
            Some(Ok(field)) => fields.push(field_of_column(field, name, column, problems)),
            Some(Err((message, hint))) => problems.push(Problem::at(place, message).hint(hint)),
            None => fields.push(Field::new(name, DataType::Null, true)),
        }
    }
    if definition.columns.is_empty() {
        let name = normalise(&definition.name);
        let place = place_of(definition.name.span);
        problems.push(
            Problem::at(place, format!("`{name}` has no columns")).hint(format!(
                "write CREATE TABLE {name} (id BIGINT, ..) WITH (..)"
            )),
        );
    }
    fields
}

fn field_of_column(
    field: FieldRef,
    name: String,
    column: &ColumnDefinition,
    problems: &mut Vec<Problem>,
) -> Field {
    let field = field
        .as_ref()
        .clone()
        .with_name(name)
        .with_nullable(!column.not_null);
    let Some((what, place)) = &column.metadata else {
        return with_written_name(field, &column.name);
    };
    let what = if what == "value" {
        "record"
    } else {
        what.as_str()
    };
    let Some((_, written)) = METADATA.iter().find(|(name, _)| *name == what) else {
        let names: Vec<&str> = METADATA.iter().map(|(name, _)| *name).collect();
        let hint = did_you_mean(what, names.iter().copied())
            .unwrap_or_else(|| format!("there are {}; the whole record is `record`", list(&names)));
        problems.push(Problem::at(*place, format!("there is no metadata `{what}`")).hint(hint));
        return field;
    };
    let fits = match what {
        "partition" => field.data_type() == &DataType::Int32,
        "offset" => field.data_type() == &DataType::Int64,
        "timestamp" => matches!(field.data_type(), DataType::Timestamp(_, _)),
        "key" => matches!(field.data_type(), DataType::Utf8 | DataType::Binary),
        "tombstone" => field.data_type() == &DataType::Boolean,
        _ => field.data_type() == &DataType::Utf8,
    };
    if !fits {
        let message = match what {
            "record" => "the whole record is text".to_owned(),
            _ => format!("the metadata `{what}` is {written}"),
        };
        let hint = format!("write {} {written} METADATA FROM '{what}'", field.name());
        problems.push(Problem::at(*place, message).hint(hint));
    }
    let mut metadata: HashMap<String, String> = field.metadata().clone();
    match what {
        "record" => metadata.insert(WHOLE_RECORD.0.to_owned(), WHOLE_RECORD.1.to_owned()),
        _ => metadata.insert(WITH_RECORD.to_owned(), what.to_owned()),
    };
    field.with_metadata(metadata)
}

/// Records are not SQL: `VendorID` without quotes is `vendorid` in a query, and a header line or a
/// JSON object that people copied the name from has it as they wrote it.
fn with_written_name(field: Field, name: &Ident) -> Field {
    if name.quote_style.is_some() || name.value == *field.name() {
        return field;
    }
    let mut metadata = field.metadata().clone();
    metadata.insert(AS_WRITTEN.to_owned(), name.value.clone());
    field.with_metadata(metadata)
}

fn primary_key(definition: &TableDefinition, problems: &mut Vec<Problem>) -> Vec<usize> {
    let Some(columns) = &definition.primary_key else {
        return Vec::new();
    };
    let mut key = Vec::new();
    for column in columns {
        match find(definition, column) {
            Ok(at) if key.contains(&at) => problems.push(Problem::at(
                place_of(column.span),
                format!("`{}` stands twice in the PRIMARY KEY", column.value),
            )),
            Ok(at) => key.push(at),
            Err(problem) => problems.push(problem),
        }
    }
    key
}

/// The position of a column that a constraint names.
fn find(definition: &TableDefinition, column: &Ident) -> Result<usize, Problem> {
    let name = normalise(column);
    let names: Vec<String> = definition
        .columns
        .iter()
        .map(|c| normalise(&c.name))
        .collect();
    names
        .iter()
        .position(|known| *known == name)
        .ok_or_else(|| {
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            let hint = did_you_mean(&name, known.iter().copied())
                .unwrap_or_else(|| format!("there are {}", list(&known)));
            Problem::at(place_of(column.span), format!("column `{name}` not found")).hint(hint)
        })
}

/// A table whose names and types are known and whose expressions are being planned.
struct Declaring<'a> {
    catalog: &'a Catalog,
    name: &'a str,
    definition: &'a TableDefinition,
    fields: Vec<Field>,
    problems: Vec<Problem>,
}

impl Declaring<'_> {
    /// The columns for which `wanted` holds, as an expression may name them.
    fn schema(&self, wanted: impl Fn(usize) -> bool) -> Option<DFSchema> {
        let qualifier = Some(TableReference::bare(self.name));
        let fields = self
            .fields
            .iter()
            .enumerate()
            .filter(|(at, _)| wanted(*at))
            .map(|(_, field)| (qualifier.clone(), Arc::new(field.clone())));
        DFSchema::new_with_metadata(fields.collect(), HashMap::new()).ok()
    }

    fn expression(&mut self, sql: &ast::Expr, schema: &DFSchema, place: Place) -> Option<Expr> {
        let mut refused = super::refusals::of_expression(sql, self.catalog);
        if !refused.is_empty() {
            self.problems.append(&mut refused);
            return None;
        }
        match query::expression(self.catalog, sql.clone(), schema) {
            Ok(expr) => Some(expr),
            Err(error) => {
                self.problems.push(of_datafusion(&error).or_at(place));
                None
            }
        }
    }

    /// The expressions of computed columns; their types become known.
    fn computed(&mut self) -> Vec<Option<Expr>> {
        let definition = self.definition;
        let is_plain = |at: usize| definition.columns[at].computed.is_none();
        let Some(schema) = self.schema(is_plain) else {
            return vec![None; definition.columns.len()];
        };
        let mut out = Vec::new();
        for (at, column) in definition.columns.iter().enumerate() {
            let place = place_of(column.name.span);
            let expr = column.computed.as_ref().and_then(|sql| {
                let expr = self.expression(sql, &schema, place)?;
                self.typed(at, expr, &schema, place)
            });
            out.push(expr);
        }
        out
    }

    /// Gives a computed column its type, or casts the expression to the declared one.
    fn typed(&mut self, at: usize, expr: Expr, schema: &DFSchema, place: Place) -> Option<Expr> {
        let field = match expr.to_field(schema) {
            Ok((_, field)) => field,
            Err(error) => {
                self.problems.push(of_datafusion(&error).or_at(place));
                return None;
            }
        };
        let declared = &self.fields[at];
        if self.definition.columns[at].data_type.is_none() {
            let (data_type, name) = (types::storable(field.data_type()), declared.name());
            let own = field
                .as_ref()
                .clone()
                .with_name(name)
                .with_data_type(data_type);
            self.fields[at] = own;
        }
        let declared = &self.fields[at];
        if declared.data_type() == field.data_type() {
            return Some(expr);
        }
        let target = Arc::new(declared.clone().with_nullable(true));
        Some(Expr::Cast(Cast::new_from_field(Box::new(expr), target)))
    }

    /// `ts` or `ts - INTERVAL '..'`.
    fn watermark(&mut self) -> Option<WatermarkFor> {
        let (name, sql) = self.definition.watermark.as_ref()?;
        let place = place_of(name.span);
        let column = match find(self.definition, name) {
            Ok(column) => column,
            Err(problem) => {
                self.problems.push(problem);
                return None;
            }
        };
        let field = &self.fields[column];
        if !matches!(field.data_type(), DataType::Timestamp(_, _)) {
            let message = format!(
                "`{}` is {}: a WATERMARK FOR column is TIMESTAMP or TIMESTAMPTZ",
                field.name(),
                name_of(field.data_type())
            );
            self.problems.push(Problem::at(place, message).hint(format!(
                "add a computed column: event_time AS to_timestamp({})",
                field.name()
            )));
            return None;
        }
        let schema = self.schema(|_| true)?;
        let expr = self.expression(sql, &schema, place_of(sql.span()))?;
        let name = field_name(&self.fields[column]);
        let Some(bound_us) = bound(&expr, &name) else {
            self.problems.push(
                Problem::at(
                    place,
                    format!("the watermark of `{name}` is not `{name} - INTERVAL '..'`"),
                )
                .hint(format!(
                    "write WATERMARK FOR {name} AS {name} - INTERVAL '5' SECOND"
                )),
            );
            return None;
        };
        Some(WatermarkFor { column, bound_us })
    }

    /// A key has a value, and a row without event time cannot be placed in time.
    fn not_null(&mut self, primary_key: &[usize], watermark: Option<&WatermarkFor>) {
        let written = self.definition.columns.iter().enumerate();
        let written: Vec<usize> = written
            .filter(|(_, c)| c.not_null)
            .map(|(at, _)| at)
            .collect();
        let event_time = watermark.map(|watermark| watermark.column);
        for at in primary_key.iter().copied().chain(written).chain(event_time) {
            self.fields[at] = self.fields[at].clone().with_nullable(false);
        }
    }

    /// Keys are compared by their bytes, and intervals are not (see `by_interval`).
    fn no_intervals(&mut self, primary_key: &[usize]) {
        for at in primary_key {
            if holds_interval(self.fields[*at].data_type()) {
                let column = &self.definition.columns[*at].name;
                let message = format!("`{}` is INTERVAL, which is no key", column.value);
                let problem = Problem::at(place_of(column.span), message);
                let hint = "declare it BIGINT or NUMERIC, and insert extract(epoch FROM ..)";
                self.problems.push(problem.hint(hint));
            }
        }
    }

    fn compile(&mut self, expr: &Expr, place: Place) -> Option<crate::plan::Expression> {
        let schema = self.schema(|_| true)?;
        let fields: Vec<FieldRef> = self.fields.iter().cloned().map(Arc::new).collect();
        // What a source sends is checked by these very expressions: nothing is known yet.
        let nullable: Vec<FieldRef> = fields
            .iter()
            .map(|field| Arc::new(field.as_ref().clone().with_nullable(true)))
            .collect();
        let compiled = Positional::new(&nullable, &vec![false; nullable.len()]).and_then(|over| {
            let by: Vec<Expr> = (0..fields.len()).map(|at| over.column(at)).collect();
            over.compile(&substitute(expr.clone(), &schema, &by)?)
        });
        match compiled {
            Ok((expression, _)) => Some(expression),
            Err(error) => {
                self.problems.push(of_datafusion(&error).or_at(place));
                None
            }
        }
    }

    fn compile_computed(&mut self, computed: Vec<Option<Expr>>) -> Vec<Option<Computed>> {
        let places: Vec<Place> = self
            .definition
            .columns
            .iter()
            .map(|c| place_of(c.name.span))
            .collect();
        let columns = computed.into_iter().zip(places);
        columns
            .map(|(expr, place)| self.compile(&expr?, place).map(Computed))
            .collect()
    }

    fn checks(&mut self) -> Vec<Check> {
        let mut out = Vec::new();
        let Some(schema) = self.schema(|_| true) else {
            return out;
        };
        for (sql, column) in &self.definition.checks {
            let place = place_of(sql.span());
            let Some(expr) = self.expression(sql, &schema, place) else {
                continue;
            };
            match expr.get_type(&schema) {
                Ok(DataType::Boolean | DataType::Null) => {}
                Ok(other) => {
                    let message = format!("a CHECK is true or false, not {}", name_of(&other));
                    self.problems.push(Problem::at(place, message));
                    continue;
                }
                Err(error) => {
                    self.problems.push(of_datafusion(&error).or_at(place));
                    continue;
                }
            }
            if let Some(mut predicate) = self.compile(&expr, place) {
                // What a row is rejected for reads as it was written.
                predicate.text = sql.to_string();
                let column = column.as_ref().map(normalise);
                out.push(Check { predicate, column });
            }
        }
        for (at, column) in self.definition.columns.iter().enumerate() {
            let limit = column.data_type.as_ref().and_then(length_limit);
            let limit = limit.and_then(|limit| i64::try_from(limit).ok());
            if let Some(limit) = limit {
                let field = field_name(&self.fields[at]);
                let qualifier = Some(TableReference::bare(self.name));
                let value = Expr::Column(Named::new(qualifier, field.clone()));
                let length = datafusion_functions::unicode::character_length().call(vec![value]);
                let length = Expr::Cast(Cast::new(Box::new(length), DataType::Int64));
                let fits = binary_expr(length, Operator::LtEq, lit(limit));
                if let Some(predicate) = self.compile(&fits, place_of(column.name.span)) {
                    let column = Some(field);
                    out.push(Check { predicate, column });
                }
            }
        }
        out
    }
}

fn field_name(field: &Field) -> String {
    field.name().clone()
}

/// The microseconds of `column - INTERVAL '..'`, 0 of the column itself.
fn bound(expr: &Expr, column: &str) -> Option<i64> {
    if let Expr::Column(found) = expr {
        return (found.name == column).then_some(0);
    }
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Minus,
        right,
    }) = expr
    else {
        return None;
    };
    let (Expr::Column(found), Expr::Literal(bound, _)) = (left.as_ref(), right.as_ref()) else {
        return None;
    };
    let ScalarValue::IntervalMonthDayNano(Some(bound)) = bound else {
        return None;
    };
    let bound = interval_microseconds(bound.months, bound.days, bound.nanoseconds)?;
    (found.name == column && bound >= 0).then_some(bound)
}

/// The connector and the other options, by their canonical names.
fn options(
    written: &[OptionDefinition],
    problems: &mut Vec<Problem>,
) -> (String, BTreeMap<String, OptionValue>) {
    let mut connector = None;
    let mut options = BTreeMap::new();
    for option in written {
        let name = option.name.to_lowercase();
        let synonym = SYNONYMS.iter().find(|(known, _)| *known == name);
        let name = synonym.map_or(name, |(_, canonical)| (*canonical).to_owned());
        let place = option.place;
        let twice = if name == "connector" {
            connector.replace(option.value.to_lowercase()).is_some()
        } else {
            let text = option.value.clone();
            options
                .insert(name.clone(), OptionValue { text, place })
                .is_some()
        };
        if twice {
            problems.push(Problem::at(
                place,
                format!("the option `{name}` stands twice"),
            ));
        }
    }
    (connector.unwrap_or_default(), options)
}
