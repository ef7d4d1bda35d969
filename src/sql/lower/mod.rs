//! DataFusion's optimised logical plan to nodes of the pipeline's graph.
//!
//! ```text
//!   LogicalPlan ──▶ Rows { node, columns, window } ──▶ Graph
//! ```
//!
//! A plan of columns only makes no node: `Rows::columns` says where each column of the logical
//! plan is found in the node. So columns that nobody reads any more may still be there; `narrow`
//! drops them before something that copies or moves rows. The two columns of a window are kept
//! past projections that leave them out, because the aggregate above needs both.
//!
//! Whatever the dataflow cannot do exactly is a problem that says what to write. There is no arm
//! that drops anything.

mod aggregate;
mod asof;
mod calls;
pub mod expression;
mod framed;
mod grouping;
mod interval;
mod join;
mod lookup;
mod matched;
mod merged;
mod momentary;
mod over;
mod panes;
mod present;
mod running;
mod scan;
mod session;
mod sides;
mod text;
mod windowed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::DFSchema;
use datafusion_expr::{Expr, LogicalPlan};

use crate::plan::{Assign, Expression, NodeId, Operator, Place, Table, TableId, WindowKind};

use super::asof::AsofJoin;
use super::errors::of_datafusion;
use super::graph::Graph;
use super::matching::MatchRecognize;
use super::problem::Problem;
use super::window::WindowAssign;
use expression::{Positional, conjuncts, identity, is_always_true, plain_column, substitute};

use asof::is_of_asof;
use momentary::Changing;
use present::columns_not_null;

pub use scan::uses;
use session::Session;
pub use text::text;

type Result<T> = std::result::Result<T, Problem>;

/// Where the rows of a logical plan are.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The node that yields them.
    pub node: NodeId,
    /// For each column of the logical plan, its position in the node.
    pub columns: Vec<usize>,
    /// The window columns, where the rows have them, even if the logical plan left them out.
    window: Option<WindowColumns>,
    /// The event time, where an aggregate above asked for it.
    time: Option<usize>,
    /// What the aggregate above is to make sessions of.
    session: Option<Session>,
}

/// The window columns of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WindowColumns {
    kind: WindowKind,
    assign: Assign,
    start: usize,
    end: usize,
    /// How long after its end a window stays open, in microseconds.
    open_us: i64,
    /// Whether the rows are groups of the windows: each is one row, whatever reads it.
    of_groups: bool,
}

/// What the plan above wants of the rows.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Why every row must be final, if it must; else groups may come out whenever they change.
    pub finality: Option<Finality>,
    /// Whether groups of a window come once, when it closes, though groups may come whenever they
    /// change: what is above keeps state, and has less of it then.
    pub windows_close: bool,
    /// A column of the logical plan of which no number above this is wanted.
    pub first: Option<(usize, u64)>,
    /// How windows are to be assigned.
    pub assign: Assign,
    /// Whether the window columns are to be kept: an aggregate above needs both.
    pub window: bool,
    /// Whether the event time is to be kept: an aggregate above takes its order from it.
    pub time: bool,
    /// Whether an aggregate above makes sessions of rows.
    pub session: bool,
}

impl Ask {
    /// Of what keeps rows by themselves: any row, and no window of theirs.
    pub fn of_rows(finality: Option<Finality>) -> Self {
        Self {
            finality,
            windows_close: true,
            first: None,
            assign: Assign::Windows,
            window: false,
            time: false,
            session: false,
        }
    }
}

/// What lowering knows of the file.
#[derive(Debug)]
pub struct Lowering<'a> {
    pub graph: &'a mut Graph,
    pub tables: &'a [Table],
    /// The columns that the whole pipeline reads of each source.
    pub sources: &'a BTreeMap<TableId, BTreeSet<usize>>,
    pub lateness_us: i64,
    /// Where the INSERT stands, and where it and its views name each table.
    pub place: Place,
    pub mentions: &'a BTreeMap<String, Place>,
    /// The sink, for messages.
    pub sink: &'a str,
}

/// Why rows that change cannot go where they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// The sink has no PRIMARY KEY.
    AppendOnly,
    /// The INSERT says EMIT ON WINDOW CLOSE.
    Asked,
    /// The sink keeps the last row per key of an append stream.
    Latest,
    /// An operator above cannot take rows back.
    Above(&'static str),
}

impl Lowering<'_> {
    /// The rows of `plan`.
    pub fn rows(&mut self, plan: &LogicalPlan, ask: Ask) -> Result<Rows> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan, ask),
            LogicalPlan::SubqueryAlias(alias) => self.rows(&alias.input, ask),
            LogicalPlan::Projection(projection) => {
                let ask = Ask {
                    first: over::through(projection, ask.first),
                    ..ask
                };
                let rows = self.rows(&projection.input, ask)?;
                self.project(
                    rows,
                    projection.input.schema(),
                    &projection.expr,
                    &projection.schema,
                )
            }
            LogicalPlan::Filter(filter) if is_of_asof(filter) => self.above_asof(filter, ask),
            LogicalPlan::Filter(filter) => {
                let bound = over::bound(&filter.predicate, filter.input.schema());
                let ask = Ask {
                    first: bound.or(ask.first),
                    ..ask
                };
                let rows = self.rows(&filter.input, ask)?;
                if is_always_true(&filter.predicate) {
                    return Ok(rows);
                }
                self.filter(rows, filter.input.schema(), &filter.predicate)
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, ask),
            LogicalPlan::Join(join) => self.join(join, ask),
            LogicalPlan::Union(union) => self.union(union, ask),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest, ask),
            LogicalPlan::Extension(extension) => {
                let node = extension.node.as_any();
                if let Some(node) = node.downcast_ref::<MatchRecognize>() {
                    return self.matched(node);
                }
                if let Some(node) = node.downcast_ref::<AsofJoin>() {
                    return self.asof(node, ask);
                }
                match node.downcast_ref::<WindowAssign>() {
                    Some(window) => self.window(window, ask),
                    None => Err(self.cannot(&format!("compute {}", extension.node.name()))),
                }
            }
            LogicalPlan::Distinct(_) => Err(self.cannot("compute DISTINCT ON")),
            LogicalPlan::Window(window) => self.over(window, ask),
            LogicalPlan::Sort(sort) => self.sorted(sort, 0, ask),
            LogicalPlan::Limit(limit) => self.limit(limit, ask),
            LogicalPlan::Subquery(_) => Err(self.cannot("compute a query inside an expression")),
            LogicalPlan::RecursiveQuery(_) => Err(self.cannot("compute a recursive query")),
            LogicalPlan::EmptyRelation(_) => Err(Problem::at(
                self.place,
                "this query yields no rows of a stream",
            )
            .hint("read FROM a table")),
            LogicalPlan::Values(_) => Err(self
                .cannot("insert constant rows")
                .hint("read FROM a table; rows of a file come with connector = 'file'")),
            LogicalPlan::Repartition(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_) => Err(self.cannot("run this statement")),
        }
    }

    /// "this cannot be done yet", at the INSERT.
    fn cannot(&self, what: &str) -> Problem {
        Problem::at(self.place, format!("a pipeline cannot {what} yet"))
    }

    /// A problem of DataFusion's, at the INSERT unless it knows better.
    fn datafusion(&self, error: &datafusion_common::DataFusionError) -> Problem {
        of_datafusion(error).or_at(self.place)
    }

    /// The columns of `rows`, by position in its node.
    fn positional(&self, rows: &Rows) -> Result<Positional> {
        let facts = self.graph.facts(rows.node);
        let over = Positional::new(&self.graph.fields(rows.node), &facts.not_null)
            .map_err(|error| self.datafusion(&error))?;
        Ok(over.with_present(facts.present.clone()))
    }

    /// `expr` over the columns of a logical plan, as one over the columns of its rows.
    fn resolve(
        &self,
        expr: &Expr,
        schema: &DFSchema,
        rows: &Rows,
        over: &Positional,
    ) -> Result<Expr> {
        let by: Vec<Expr> = rows.columns.iter().map(|at| over.column(*at)).collect();
        substitute(expr.clone(), schema, &by).map_err(|error| self.datafusion(&error))
    }

    fn compile(&self, expr: &Expr, over: &Positional) -> Result<(Expression, Field)> {
        over.compile(expr).map_err(|error| self.datafusion(&error))
    }

    fn filter(&mut self, rows: Rows, schema: &DFSchema, predicate: &Expr) -> Result<Rows> {
        let rows = self.narrow(rows)?;
        let over = self.positional(&rows)?;
        let predicate = self.resolve(predicate, schema, &rows, &over)?;
        let mut rows = rows;
        if let Some(predicate) = self.filter_of_sessions(&mut rows, predicate)? {
            rows.node = self.keep_if(rows.node, &predicate, &over)?;
        }
        Ok(rows)
    }

    /// A filter node; `predicate` is over `over`, the columns of `input`.
    fn keep_if(&mut self, input: NodeId, predicate: &Expr, over: &Positional) -> Result<NodeId> {
        self.refuse_momentary(input, over, [predicate])?;
        let mut facts = self.graph.facts(input).clone();
        for part in conjuncts(predicate) {
            if let Expr::IsNotNull(inner) = part {
                facts.present.insert(identity(inner));
            }
        }
        for column in columns_not_null(predicate) {
            if let Some(at) = position(&column.name) {
                facts.not_null[at] = true;
            }
        }
        let text = format!("filter {input}: {}", identity(predicate));
        let (predicate, _) = self.compile(predicate, over)?;
        let operator = Operator::Filter { input, predicate };
        let fields = self.graph.fields(input);
        Ok(self.graph.add(text, operator, fields, facts, self.place))
    }

    /// Refuses what would fail on many rows of a changing stream; `exprs` are over `over`.
    fn refuse_momentary<'e>(
        &self,
        input: NodeId,
        over: &Positional,
        exprs: impl IntoIterator<Item = &'e Expr>,
    ) -> Result<()> {
        if !self.graph.nodes[input].changing {
            return Ok(());
        }
        let changing = Changing {
            schema: over.schema(),
            facts: self.graph.facts(input),
        };
        let mut exprs = exprs.into_iter();
        match exprs.find_map(|expr| changing.refusal(expr)) {
            Some(problem) => Err(problem.or_at(self.place)),
            None => Ok(()),
        }
    }

    /// Columns that are only passed on make no node.
    fn project(
        &mut self,
        rows: Rows,
        schema: &DFSchema,
        exprs: &[Expr],
        output: &DFSchema,
    ) -> Result<Rows> {
        let plain: Option<Vec<usize>> = exprs
            .iter()
            .map(|expr| plain_column(expr, schema).map(|at| rows.columns[at]))
            .collect();
        if let Some(columns) = plain {
            return Ok(Rows { columns, ..rows });
        }
        let over = self.positional(&rows)?;
        let mut resolved = Vec::with_capacity(exprs.len());
        for expr in exprs {
            resolved.push(self.resolve(expr, schema, &rows, &over)?);
        }
        let names: Vec<&str> = output.fields().iter().map(|f| f.name().as_str()).collect();
        self.compute(&rows, &over, &resolved, &names)
    }

    /// A projection node of these expressions over `over`, then the window columns of `rows`
    /// that are not among them.
    fn compute(
        &mut self,
        rows: &Rows,
        over: &Positional,
        exprs: &[Expr],
        names: &[&str],
    ) -> Result<Rows> {
        self.refuse_momentary(rows.node, over, exprs)?;
        let mut exprs = exprs.to_vec();
        let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let count = exprs.len();
        let mut keep = |at: usize, name: &str| -> usize {
            let column = over.column(at);
            let found = exprs
                .iter()
                .position(|e| e.clone().unalias_nested().data == column);
            found.unwrap_or_else(|| {
                exprs.push(column);
                names.push(name.to_owned());
                exprs.len() - 1
            })
        };
        let window = rows.window.map(|window| WindowColumns {
            start: keep(window.start, "window_start"),
            end: keep(window.end, "window_end"),
            ..window
        });
        let time = rows.time.map(|time| keep(time, "event_time"));
        let session = rows
            .session
            .as_ref()
            .map(|session| session.moved(&mut keep));
        let (mut columns, mut fields) = (Vec::new(), Vec::<FieldRef>::new());
        let mut text = format!("project {}:", rows.node);
        let facts = self.graph.facts(rows.node);
        let (pairs, never_null) = (facts.merged.clone(), facts.either.clone());
        let either = exprs.iter().map(|expr| merged::either(expr, over.schema()));
        let either: Vec<Option<(usize, usize)>> = either.collect();
        for ((expr, name), either) in exprs.iter().zip(&names).zip(&either) {
            let (mut column, field) = self.compile(expr, over)?;
            column.nullable &= !either.is_some_and(|pair| never_null.contains(&pair));
            let name = name_of(name, &column.text);
            text += &format!(" [{} AS {name}]", identity(expr));
            fields.push(Arc::new(
                field.with_name(name).with_nullable(column.nullable),
            ));
            columns.push(column);
        }
        let mut facts = self.graph.facts_through(rows.node, &columns);
        facts.keys.extend(merged::keys(&pairs, &either));
        let operator = Operator::Project {
            input: rows.node,
            columns,
        };
        Ok(Rows {
            node: self.graph.add(text, operator, fields, facts, self.place),
            columns: (0..count).collect(),
            window,
            time,
            session,
        })
    }

    /// The same rows with exactly the columns of the logical plan, in its order, and the window
    /// columns after them.
    fn exact(&mut self, rows: Rows, output: &DFSchema) -> Result<Rows> {
        let width = self.graph.fields(rows.node).len();
        let bare = rows.window.is_none() && rows.time.is_none() && rows.session.is_none();
        if bare && rows.columns.iter().copied().eq(0..width) {
            return Ok(rows);
        }
        let over = self.positional(&rows)?;
        let exprs: Vec<Expr> = rows.columns.iter().map(|at| over.column(*at)).collect();
        let names: Vec<&str> = output.fields().iter().map(|f| f.name().as_str()).collect();
        self.compute(&rows, &over, &exprs, &names)
    }

    /// A node with exactly the columns of the logical plan.
    pub fn visible(&mut self, rows: Rows, output: &DFSchema) -> Result<NodeId> {
        let rows = Rows {
            window: None,
            time: None,
            session: None,
            ..rows
        };
        Ok(self.exact(rows, output)?.node)
    }

    /// Drops the columns that nobody above reads, before something that copies rows.
    fn narrow(&mut self, rows: Rows) -> Result<Rows> {
        let window = rows
            .window
            .iter()
            .flat_map(|window| [window.start, window.end]);
        let kept: BTreeSet<usize> = rows
            .columns
            .iter()
            .copied()
            .chain(window)
            .chain(rows.time)
            .chain(rows.session.iter().flat_map(Session::columns))
            .collect();
        let fields = self.graph.fields(rows.node);
        if kept.len() == fields.len() {
            return Ok(rows);
        }
        let over = self.positional(&rows)?;
        let exprs: Vec<Expr> = kept.iter().map(|at| over.column(*at)).collect();
        let names: Vec<&str> = kept.iter().map(|at| fields[*at].name().as_str()).collect();
        let narrowed = self.compute(&rows, &over, &exprs, &names)?;
        let moved = |at: &usize| kept.range(..at).count();
        Ok(Rows {
            columns: rows.columns.iter().map(moved).collect(),
            ..narrowed
        })
    }

    fn union(&mut self, union: &datafusion_expr::Union, ask: Ask) -> Result<Rows> {
        let ask = Ask {
            assign: Assign::Windows,
            first: None,
            ..ask
        };
        let mut inputs = Vec::new();
        for input in &union.inputs {
            let rows = self.rows(input, ask)?;
            self.refuse_sessions(&rows, "UNION ALL")?;
            inputs.push(self.exact(rows, &union.schema)?);
        }
        let windows: Vec<_> = inputs.iter().map(|rows| rows.window).collect();
        let window = windows[0].filter(|first| windows.iter().all(|w| *w == Some(*first)));
        if window.is_none() && windows.iter().any(Option::is_some) {
            return Err(self
                .cannot("put rows of different windows together")
                .hint("write UNION ALL first, then one TUMBLE over it"));
        }
        Ok(Rows {
            columns: inputs[0].columns.clone(),
            node: self.graph.union_of(
                &inputs.iter().map(|rows| rows.node).collect::<Vec<_>>(),
                self.place,
            ),
            window,
            time: inputs[0].time,
            session: None,
        })
    }

    fn unnest(&mut self, unnest: &datafusion_expr::logical_plan::Unnest, ask: Ask) -> Result<Rows> {
        let [(at, list)] = unnest.list_type_columns.as_slice() else {
            return Err(self
                .cannot("unnest several lists, or a STRUCT, at once")
                .hint("unnest one list per query; a field of a STRUCT is (column).field"));
        };
        if list.depth != 1 || !unnest.struct_type_columns.is_empty() {
            return Err(self
                .cannot("unnest lists of lists at once")
                .hint("unnest once per level, each in its own query"));
        }
        let ask = Ask {
            assign: Assign::Windows,
            first: None,
            ..ask
        };
        let rows = self.rows(&unnest.input, ask)?;
        self.refuse_sessions(&rows, "unnest")?;
        let rows = self.exact(rows, unnest.input.schema())?;
        let column = rows.columns[*at];
        let mut fields = self.graph.fields(rows.node);
        let DataType::List(item) = fields[column].data_type() else {
            return Err(self.cannot(&format!(
                "unnest {}",
                super::types::name_of(fields[column].data_type())
            )));
        };
        let item = item
            .as_ref()
            .clone()
            .with_name(unnested_name(fields[column].name()));
        fields[column] = Arc::new(item.with_nullable(true));
        let mut facts = self.graph.facts(rows.node).clone();
        facts.not_null[column] = false;
        facts.keys.clear();
        facts.sets = None;
        facts.key_text = None;
        facts.present.clear();
        let operator = Operator::Unnest {
            input: rows.node,
            column,
        };
        let text = format!("unnest {} at {column}", rows.node);
        Ok(Rows {
            node: self.graph.add(text, operator, fields, facts, self.place),
            ..rows
        })
    }
}

/// What a computed column is called: as the query says, or as it reads where DataFusion made the
/// name up.
fn name_of<'a>(name: &'a str, text: &'a str) -> &'a str {
    let is_made_up = name.starts_with("__common_expr") || name.contains('(');
    if is_made_up { text } else { name }
}

/// DataFusion calls the list of `unnest(t.tags)` `__unnest_placeholder(t.tags)`.
fn unnested_name(name: &str) -> &str {
    let inner = name
        .strip_prefix("__unnest_placeholder(")
        .and_then(|n| n.strip_suffix(')'));
    inner.map_or(name, |inner| inner.rsplit('.').next().unwrap_or(inner))
}

/// The position in a `name#position`.
fn position(name: &str) -> Option<usize> {
    name.rsplit_once('#')?.1.parse().ok()
}
