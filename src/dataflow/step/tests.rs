use arrow::array::{Int64Array, ListArray, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, lit};

use super::*;

fn column(name: &str, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(name, index))
}

fn expression(physical: Arc<dyn PhysicalExpr>, data_type: DataType) -> Expression {
    Expression {
        text: physical.to_string(),
        physical,
        data_type,
        nullable: true,
    }
}

fn numbers(values: Vec<Option<i64>>) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(values)) as ArrayRef)]).unwrap()
}

fn schema(fields: Vec<(&str, DataType)>) -> SchemaRef {
    let fields = fields
        .into_iter()
        .map(|(name, t)| Field::new(name, t, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn run(action: &Action, rows: RecordBatch, schema: &SchemaRef) -> (Piece, Vec<Turned>) {
    let mut turned = Vec::new();
    let piece = Piece::whole(rows);
    let out = action
        .run(&piece, schema, &Passed::nothing(), &mut turned)
        .unwrap();
    (out, turned)
}

#[test]
fn a_filter_keeps_what_is_true_and_remembers_where_it_came_from() {
    let above = BinaryExpr::new(column("n", 0), Operator::Gt, lit(1i64));
    let action = Action::Filter(expression(Arc::new(above), DataType::Boolean));

    let rows = numbers(vec![Some(1), Some(2), None, Some(3)]);
    let (out, turned) = run(&action, rows, &schema(vec![("n", DataType::Int64)]));

    assert_eq!(
        out.rows.column(0).as_primitive::<Int64Type>().values(),
        &[2, 3]
    );
    assert_eq!(out.origin.as_deref(), Some(&[1, 3][..]));
    assert!(turned.is_empty());
}

#[test]
fn an_expression_that_fails_on_one_row_fails_for_that_row_only() {
    let quotient = BinaryExpr::new(lit(12i64), Operator::Divide, column("n", 0));
    let action = Action::Project(vec![expression(Arc::new(quotient), DataType::Int64)]);

    let rows = numbers(vec![Some(1), Some(0), Some(3), Some(0), Some(4)]);
    let (out, turned) = run(&action, rows, &schema(vec![("q", DataType::Int64)]));

    assert_eq!(
        out.rows.column(0).as_primitive::<Int64Type>().values(),
        &[12, 4, 3]
    );
    let failed = |row| Turned::Failed {
        row,
        message: "`12 / n@0 AS q`: division by zero".to_owned(),
    };
    assert_eq!(turned, [failed(1), failed(3)]);
}

#[test]
fn unnest_repeats_the_row_per_element_and_drops_empty_lists() {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(4)]),
    ]);
    let names = StringArray::from(vec!["a", "b", "c", "d"]);
    let rows = RecordBatch::try_from_iter([
        ("name", Arc::new(names) as ArrayRef),
        ("list", Arc::new(lists) as ArrayRef),
    ])
    .unwrap();

    let schema = schema(vec![("name", DataType::Utf8), ("list", DataType::Int64)]);
    let (out, _) = run(&Action::Unnest(1), rows, &schema);

    assert_eq!(
        out.rows.column(0).as_string::<i32>(),
        &StringArray::from(vec!["a", "a", "d"])
    );
    let elements = Int64Array::from(vec![Some(1), None, Some(4)]);
    assert_eq!(out.rows.column(1).as_primitive::<Int64Type>(), &elements);
    assert_eq!(out.origin.as_deref(), Some(&[0, 0, 3][..]));
}

fn names_index() -> Arc<Index> {
    let rows = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        (
            "name",
            Arc::new(StringArray::from(vec!["one", "two"])) as ArrayRef,
        ),
    ])
    .unwrap();
    Arc::new(Index::new(rows, &[0]).unwrap().unwrap())
}

fn lookup(kind: JoinKind, residual: Option<Expression>) -> (Piece, SchemaRef) {
    let keys = vec![expression(column("n", 0), DataType::Int64)];
    let action = Action::Lookup {
        index: names_index(),
        keys,
        kind,
        residual,
    };
    let schema = schema(vec![
        ("n", DataType::Int64),
        ("id", DataType::Int64),
        ("name", DataType::Utf8),
    ]);
    let rows = numbers(vec![Some(2), Some(5), None, Some(1)]);
    (run(&action, rows, &schema).0, schema)
}

#[test]
fn an_inner_lookup_drops_rows_without_a_match() {
    let (out, _) = lookup(JoinKind::Inner, None);

    assert_eq!(
        out.rows.column(2).as_string::<i32>(),
        &StringArray::from(vec!["two", "one"])
    );
    assert_eq!(out.origin.as_deref(), Some(&[0, 3][..]));
}

#[test]
fn a_left_lookup_keeps_them_with_nulls_and_so_does_a_residual_that_is_false() {
    let not_one = BinaryExpr::new(column("name", 2), Operator::NotEq, lit("one"));
    let residual = expression(Arc::new(not_one), DataType::Boolean);

    let (out, _) = lookup(JoinKind::Left, Some(residual));

    let names = StringArray::from(vec![Some("two"), None, None, None]);
    assert_eq!(out.rows.column(2).as_string::<i32>(), &names);
    assert_eq!(out.rows.num_rows(), 4);
}

#[test]
fn a_row_without_event_time_is_turned_away() {
    let time = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    let times = TimestampMicrosecondArray::from(vec![Some(12), None]);
    let rows = RecordBatch::try_from_iter([("ts", Arc::new(times) as ArrayRef)]).unwrap();
    let action = Action::Window {
        time: expression(column("ts", 0), time.clone()),
        kind: WindowKind::Tumble { size_us: 10 },
        assign: Assign::Windows,
        lateness_us: 0,
    };

    let schema = schema(vec![
        ("ts", time.clone()),
        ("window_start", time.clone()),
        ("window_end", time),
    ]);
    let (out, turned) = run(&action, rows, &schema);

    let starts = out
        .rows
        .column(1)
        .as_primitive::<TimestampMicrosecondType>();
    assert_eq!(starts.values(), &[10]);
    assert_eq!(turned.iter().map(Turned::row).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_condition_that_guards_itself_does_not_depend_on_the_batch() {
    // DataFusion evaluates both sides where the rows of a batch disagree about the first.
    let not_zero = Arc::new(BinaryExpr::new(column("n", 0), Operator::NotEq, lit(0i64)));
    let quotient = Arc::new(BinaryExpr::new(
        lit(12i64),
        Operator::Divide,
        column("n", 0),
    ));
    let small = Arc::new(BinaryExpr::new(quotient, Operator::Gt, lit(3i64)));
    let both = BinaryExpr::new(not_zero, Operator::And, small);
    let action = Action::Filter(expression(Arc::new(both), DataType::Boolean));

    let rows = numbers(vec![Some(1), Some(0), Some(3), Some(0), Some(6)]);
    let (out, turned) = run(&action, rows, &schema(vec![("n", DataType::Int64)]));

    let kept = out.rows.column(0).as_primitive::<Int64Type>();
    assert_eq!(kept.values(), &[1, 3]);
    assert!(turned.is_empty());
}
