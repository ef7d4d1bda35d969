//! What a node of the plan does.

use arrow::datatypes::{FieldRef, SchemaRef};

use super::aggregate::{AggregateCall, AggregateWindow, Emit};
use super::asof::Asof;
use super::frame::OverFunction;
use super::interval::Within;
use super::join::{JoinKind, JoinType};
use super::matching::Matching;
use super::{Expression, Place, TableId};

/// Index into `Pipeline::nodes`.
pub type NodeId = usize;

/// One operator, its output and where it came from.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub operator: Operator,
    /// What it yields.
    pub schema: SchemaRef,
    /// Whether it also retracts. A stream that only inserts is an append stream.
    pub changing: bool,
    /// Where the INSERT or view that asked for it stands.
    pub place: Place,
}

/// The operators. Whatever stands between sources and the first stateful operator (`Source`,
/// `Filter`, `Project`, `Union`, `Unnest`, `Lookup`, `Window`, `OnTime`) runs on the source's worker and
/// decides there what is late and what is rejected.
#[derive(Clone, Debug)]
pub enum Operator {
    /// Reads a source. `columns` are positions in the table's columns, ascending; all scans of
    /// one table in a pipeline are one node.
    Source {
        /// The table.
        table: TableId,
        /// What is decoded of it.
        columns: Vec<usize>,
        /// Whether its rows come with counts: the table is read again and again, and these are
        /// what was different. A changing stream then, and what stands above is behind state.
        counted: bool,
    },
    /// Keeps the rows for which the predicate is true.
    Filter {
        /// The input.
        input: NodeId,
        /// A boolean.
        predicate: Expression,
    },
    /// Computes columns.
    Project {
        /// The input.
        input: NodeId,
        /// One per output column.
        columns: Vec<Expression>,
    },
    /// All rows of all inputs; the schemas agree.
    Union {
        /// The inputs.
        inputs: Vec<NodeId>,
    },
    /// One row per element of a list column; the other columns repeat. A NULL or empty list
    /// yields no row.
    Unnest {
        /// The input.
        input: NodeId,
        /// The list column. In the output it has the element's type, at the same position.
        column: usize,
    },
    /// Looks up a reference table by key: output is the input's columns, then the reference's.
    Lookup {
        /// The stream.
        input: NodeId,
        /// The reference table, all its columns.
        table: TableId,
        /// Key of the stream, one expression per column of `reference_keys`, of the same type.
        keys: Vec<Expression>,
        /// Positions in the reference's columns; unique in it together.
        reference_keys: Vec<usize>,
        /// Inner drops a row without a match, left keeps it with NULLs.
        kind: JoinKind,
        /// A further condition over input columns and then reference columns.
        residual: Option<Expression>,
    },
    /// Assigns windows: output is the input's columns, then `window_start` and `window_end`.
    /// Rows that are late for all their windows are turned away here.
    Window {
        /// The input.
        input: NodeId,
        /// The event time: a timestamp in microseconds that comes from a `WATERMARK FOR` column.
        time: Expression,
        /// The shape.
        kind: WindowKind,
        /// Whether the two columns hold each window, or the pane that windows are made of.
        assign: Assign,
    },
    /// Turns away rows that happened, and were late, before the watermark of their own partition
    /// less the allowed lateness: for what reads event time without a window.
    OnTime {
        /// An append stream.
        input: NodeId,
        /// Position of the event time, which comes from a `WATERMARK FOR` column.
        time: usize,
    },
    /// Groups and aggregates. Output: the key columns, then the aggregates, then, where `window`
    /// is given, `window_start` and `window_end`.
    Aggregate {
        /// Any stream; with a window, an append stream.
        input: NodeId,
        /// The group key, without window columns. Empty groups everything of a window together.
        keys: Vec<Expression>,
        /// What is computed per group; over a changing stream, nothing that is an estimate of
        /// how many values differ.
        aggregates: Vec<AggregateCall>,
        /// State by window, freed when the window closes; `None` keeps every group for ever.
        window: Option<AggregateWindow>,
        /// When rows come out.
        emit: Emit,
    },
    /// Finds patterns in the rows of each partition, in the order of their event time and then of
    /// their places in the input. Output: an append stream of the partition's columns and the
    /// measures, a row per match.
    Match {
        /// An append stream.
        input: NodeId,
        /// What is looked for.
        matching: Box<Matching>,
    },
    /// Keeps the last row per key of an append stream by (event time, source position): a
    /// changing stream whose key is `keys`. Output: the input's columns.
    Latest {
        /// An append stream.
        input: NodeId,
        /// Positions of the key columns.
        keys: Vec<usize>,
        /// What "last" means; ties go to the later source position.
        by: Expression,
    },
    /// Joins two streams. Output: the left's columns and then the right's, or the left's alone.
    /// It keeps changing if an input does, or if a row may stand without a match for a while.
    Join {
        /// One stream.
        left: NodeId,
        /// The other; it may be the same.
        right: NodeId,
        /// Columns that must be equal: of the left, of the right. None compares every row with
        /// every row.
        keys: Vec<(usize, usize)>,
        /// Whether NULL equals NULL there.
        nulls_match: bool,
        /// Which rows come out.
        kind: JoinType,
        /// A further condition over the left's columns and then the right's.
        residual: Option<Expression>,
    },
    /// Joins two append streams whose times, or `state.ttl`, bound each other, so that the watermark
    /// says when a row can match no more: it is let go then, and comes out alone if its kind of join
    /// shows it and it never matched. Always an append stream. Output: as that of `Join`.
    IntervalJoin {
        /// An append stream.
        left: NodeId,
        /// The other; it may be the same.
        right: NodeId,
        /// Columns that must be equal, and not NULL: of the left, of the right. At least one.
        keys: Vec<(usize, usize)>,
        /// Which rows come out.
        kind: JoinType,
        /// What bounds them.
        within: Within,
        /// A further condition over the left's columns and then the right's.
        residual: Option<Expression>,
    },
    /// Joins each row of an append stream with the one row of another that is the newest at its
    /// time, under the same key. A row comes out when the watermark says that no newer one is to
    /// come. Always an append stream. Output: the left's columns and then the right's.
    AsofJoin {
        /// An append stream.
        left: NodeId,
        /// The other; it may be the same.
        right: NodeId,
        /// Columns that must be equal, and not NULL: of the left, of the right. None compares
        /// every row with all.
        keys: Vec<(usize, usize)>,
        /// Inner drops a left row without a match, left keeps it with NULLs.
        kind: JoinKind,
        /// By which times.
        asof: Asof,
    },
    /// Functions over the rows of a partition in an order: a changing stream. Output: the
    /// input's columns, then what the calls yield.
    Over {
        /// The input.
        input: NodeId,
        /// Positions of the columns that make a partition.
        partition: Vec<usize>,
        /// The order; what it leaves open goes by the rows' own columns.
        order: Vec<SortKey>,
        /// What is computed per row.
        calls: Vec<OverCall>,
        /// Rows that the first call gives a greater number are left out.
        first: Option<u64>,
    },
    /// Functions over the rows of a partition in the order of their event time: an append stream.
    /// A row comes out when no row that is still to come can change what is said of it. Output: as
    /// that of `Over`.
    Running {
        /// An append stream.
        input: NodeId,
        /// Positions of the columns that make a partition.
        partition: Vec<usize>,
        /// The order, by the time first; what it leaves open goes by the rows' own columns.
        order: Vec<SortKey>,
        /// What is computed per row. No frame reaches to the end of the partition.
        calls: Vec<OverCall>,
        /// Position of the time, which is never NULL.
        time: usize,
        /// How far before the watermark a row may still come, in microseconds.
        behind_us: i64,
    },
    /// Keeps each record for a time, as event time counts, and then takes it back: a changing
    /// stream. Output: the input's columns.
    Keep {
        /// Records: an append stream that nothing before it holds.
        input: NodeId,
        /// For how long, in microseconds: `state.ttl`.
        ttl_us: i64,
    },
}

impl Operator {
    /// The nodes it reads.
    #[must_use]
    pub fn inputs(&self) -> Vec<NodeId> {
        match self {
            Self::Source { .. } => Vec::new(),
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::Unnest { input, .. }
            | Self::Lookup { input, .. }
            | Self::Window { input, .. }
            | Self::Aggregate { input, .. }
            | Self::Match { input, .. }
            | Self::OnTime { input, .. }
            | Self::Latest { input, .. }
            | Self::Over { input, .. }
            | Self::Running { input, .. }
            | Self::Keep { input, .. } => vec![*input],
            Self::Union { inputs } => inputs.clone(),
            Self::Join { left, right, .. }
            | Self::IntervalJoin { left, right, .. }
            | Self::AsofJoin { left, right, .. } => vec![*left, *right],
        }
    }

    /// The same, to be changed.
    pub fn inputs_mut(&mut self) -> Vec<&mut NodeId> {
        match self {
            Self::Source { .. } => Vec::new(),
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::Unnest { input, .. }
            | Self::Lookup { input, .. }
            | Self::Window { input, .. }
            | Self::Aggregate { input, .. }
            | Self::Match { input, .. }
            | Self::OnTime { input, .. }
            | Self::Latest { input, .. }
            | Self::Over { input, .. }
            | Self::Running { input, .. }
            | Self::Keep { input, .. } => vec![input],
            Self::Union { inputs } => inputs.iter_mut().collect(),
            Self::Join { left, right, .. }
            | Self::IntervalJoin { left, right, .. }
            | Self::AsofJoin { left, right, .. } => vec![left, right],
        }
    }

    /// The table that it reads by itself, and not by way of another node.
    #[must_use]
    pub fn table(&self) -> Option<TableId> {
        match self {
            Self::Source { table, .. } | Self::Lookup { table, .. } => Some(*table),
            Self::Filter { .. }
            | Self::Project { .. }
            | Self::Union { .. }
            | Self::Unnest { .. }
            | Self::Keep { .. }
            | Self::Window { .. }
            | Self::Aggregate { .. }
            | Self::Latest { .. }
            | Self::Match { .. }
            | Self::OnTime { .. }
            | Self::Join { .. }
            | Self::IntervalJoin { .. }
            | Self::AsofJoin { .. }
            | Self::Over { .. }
            | Self::Running { .. } => None,
        }
    }

    /// Whether it also retracts, given that of the nodes it reads.
    pub fn is_changing(&self, changes: impl Fn(NodeId) -> bool) -> bool {
        match self {
            Self::Aggregate { emit, .. } => *emit == Emit::Changes,
            Self::Latest { .. } | Self::Over { .. } | Self::Keep { .. } => true,
            Self::Source { counted, .. } => *counted,
            Self::Match { .. }
            | Self::Running { .. }
            | Self::IntervalJoin { .. }
            | Self::AsofJoin { .. } => false,
            Self::Join {
                left, right, kind, ..
            } => {
                let shows_alone = kind.shows_alone(0) || kind.shows_alone(1);
                changes(*left) || changes(*right) || shows_alone
            }
            Self::Filter { .. }
            | Self::Project { .. }
            | Self::Union { .. }
            | Self::Unnest { .. }
            | Self::Lookup { .. }
            | Self::OnTime { .. }
            | Self::Window { .. } => self.inputs().into_iter().any(changes),
        }
    }

    /// Whether it holds state, so that what stands before it is decided at the source.
    #[must_use]
    pub fn is_stateful(&self) -> bool {
        match self {
            Self::Aggregate { .. }
            | Self::Match { .. }
            | Self::Latest { .. }
            | Self::Join { .. }
            | Self::IntervalJoin { .. }
            | Self::AsofJoin { .. }
            | Self::Over { .. }
            | Self::Running { .. }
            | Self::Keep { .. } => true,
            Self::Source { .. }
            | Self::Filter { .. }
            | Self::Project { .. }
            | Self::Union { .. }
            | Self::Unnest { .. }
            | Self::Lookup { .. }
            | Self::OnTime { .. }
            | Self::Window { .. } => false,
        }
    }
}

/// One function over the rows of a partition.
#[derive(Clone)]
pub struct OverCall {
    /// Which.
    pub function: OverFunction,
    /// Name and type of the result.
    pub output: FieldRef,
    /// How it reads.
    pub text: String,
}

/// The shape of windows. All sizes are in microseconds and positive; windows are aligned to
/// 1970-01-01 00:00:00 UTC, as in Flink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// Every row in one window.
    Tumble {
        /// Length.
        size_us: i64,
    },
    /// Windows of `size_us` that start every `slide_us`; `size_us` is a multiple of `slide_us`.
    Hop {
        /// Distance of starts.
        slide_us: i64,
        /// Length.
        size_us: i64,
    },
    /// Windows that start together every `size_us` and end `step_us` apart; `size_us` is a
    /// multiple of `step_us`.
    Cumulate {
        /// Distance of ends.
        step_us: i64,
        /// Length of the longest.
        size_us: i64,
    },
    /// The rows of a partition, cut where nothing happens for `gap_us`: a row is in the session of
    /// another one that is less than `gap_us` away. A session ends `gap_us` after its last row.
    /// The `Window` node gives every row a session of its own; the aggregate joins them.
    Session {
        /// How long nothing happens before a session ends.
        gap_us: i64,
        /// How many of the aggregate's keys, from the first, are the partition.
        partition: usize,
    },
}

/// What the two columns of a `Window` hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Assign {
    /// One output row per window that the row belongs to and is not late for.
    Windows,
    /// One output row per input row. `window_start` holds the start of its pane (of `slide_us`
    /// or `step_us`), `window_end` the end of the first window of that pane that the row is not
    /// late for. Only an `Aggregate` may read them; it makes windows of panes when they close.
    Panes,
}

/// As of `AggregateCall`.
impl std::fmt::Debug for OverCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple(&self.text).field(&self.function).finish()
    }
}

/// One key of an order.
#[derive(Clone, Debug)]
pub struct SortKey {
    /// What is compared.
    pub expression: Expression,
    /// DESC.
    pub descending: bool,
    /// NULLS FIRST.
    pub nulls_first: bool,
}
