//! The functions that queries can call: DataFusion's scalar functions, ours where PostgreSQL's
//! meaning differs, and our aggregates.

mod age;
pub mod aggregates;
pub mod arithmetic;
mod around;
mod binary;
mod binned;
mod bounded;
pub mod captures;
pub mod casts;
pub mod converted;
pub mod days;
pub mod either;
mod elements;
mod encoded;
mod folded;
mod identifiers;
mod instants;
pub mod intervals;
mod json;
mod json_kinds;
mod json_steps;
pub mod like_any;
pub mod lists;
mod literals;
pub mod made;
mod marked;
mod modulo;
pub mod numerics;
pub mod or_null;
pub mod parts;
mod patterns;
pub mod precision;
pub mod ranged;
pub mod regexes;
pub mod rounded;
pub mod scaled;
pub mod texts;
mod to_char;
mod truncated;
mod whole;
pub mod zipped;
pub mod zones;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, plan_datafusion_err};
use datafusion_expr::type_coercion::functions::fields_with_udf;
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, Volatility, WindowUDF};

#[cfg(test)]
pub use aggregates::aggregate_names;
pub use aggregates::{ORDER_DEPENDENT, function_of};
pub use elements::ElementPlanner;
pub use json::JsonPlanner;
pub use literals::LiteralPlanner;
pub use parts::TimePlanner;

use super::types::name_of;

/// Every function by each of its names.
#[derive(Debug)]
pub struct Functions {
    pub scalar: HashMap<String, Arc<ScalarUDF>>,
    pub higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    pub aggregate: HashMap<String, Arc<AggregateUDF>>,
    pub window: HashMap<String, Arc<WindowUDF>>,
}

impl Default for Functions {
    fn default() -> Self {
        let scalar = datafusion_functions::all_default_functions()
            .into_iter()
            .chain(datafusion_functions_nested::all_default_nested_functions())
            // Ours go by the names of DataFusion's.
            .filter(|function| function.name() != "regexp_match")
            .chain(json::all())
            .chain(json_kinds::all())
            .chain(captures::all())
            .chain(encoded::all())
            .chain(like_any::all())
            .chain(zipped::all())
            .chain([
                Arc::new(ScalarUDF::from(age::Age::default())),
                Arc::new(ScalarUDF::from(modulo::Modulo::default())),
                Arc::new(ScalarUDF::from(precision::Rounded::default())),
                Arc::new(ScalarUDF::from(parts::DateField::default())),
                Arc::new(ScalarUDF::from(lists::Dimensions::default())),
                Arc::new(ScalarUDF::from(zones::Timezone::default())),
                made::make_interval(),
            ])
            .filter(|function| !LEFT_OUT.contains(&function.name()))
            // What is not a function of the row (now, random, uuid) is refused by name.
            .filter(|function| function.signature().volatility == Volatility::Immutable)
            .map(|function| {
                let ours = OURS.iter().find_map(|ours| ours(&function));
                elements::of_one_type(ours.unwrap_or(function))
            });
        let higher_order = datafusion_functions_nested::all_default_higher_order_functions();
        let window = datafusion_functions_window::all_default_window_functions();
        // The analyser makes `grouping` a reading of the number of a set.
        let grouping = datafusion_functions_aggregate::grouping::grouping_udaf();
        let aggregates = aggregates::all().into_iter().chain([grouping]);
        let mut scalar = by_name(scalar, |f| f.name(), |f| f.aliases());
        for (name, known) in RENAMED {
            let function = Arc::clone(&scalar[known]);
            scalar.insert(name.to_owned(), function);
        }
        Self {
            scalar,
            higher_order: by_name(higher_order, |f| f.name(), |f| f.aliases()),
            aggregate: by_name(aggregates, |f| f.name(), |f| f.aliases()),
            window: by_name(window, |f| f.name(), |f| f.aliases()),
        }
    }
}

fn by_name<T>(
    functions: impl IntoIterator<Item = Arc<T>>,
    name: impl Fn(&T) -> &str,
    aliases: impl Fn(&T) -> &[String],
) -> HashMap<String, Arc<T>> {
    let mut out = HashMap::new();
    for function in functions {
        for alias in aliases(&function) {
            out.insert(alias.clone(), Arc::clone(&function));
        }
        out.insert(name(&function).to_owned(), function);
    }
    out
}

/// The types that a function takes for arguments of these, by its own signature.
fn coerced(function: &ScalarUDF, arguments: &[DataType]) -> Result<Vec<DataType>> {
    let fields = arguments.iter().map(|data_type| {
        let field = Field::new("argument", data_type.clone(), true);
        Arc::new(field)
    });
    let fields: Vec<FieldRef> = fields.collect();
    let taken = fields_with_udf(&fields, function).map_err(|_| {
        let given: Vec<String> = arguments.iter().map(name_of).collect();
        plan_datafusion_err!("there is no {}({})", function.name(), given.join(", "))
    })?;
    Ok(taken
        .iter()
        .map(|field| field.data_type().clone())
        .collect())
}

/// PostgreSQL's names, and what DataFusion calls the function: its own `array_remove` and
/// `array_replace` go by the first element that they find.
const RENAMED: [(&str, &str); 6] = [
    ("array_remove", "array_remove_all"),
    ("list_remove", "array_remove_all"),
    ("array_replace", "array_replace_all"),
    ("list_replace", "array_replace_all"),
    ("ceiling", "ceil"),
    ("sign", "signum"),
];

/// What makes a function of DataFusion's ours, if it is one that has to be.
type Ours = fn(&Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>>;

const OURS: [Ours; 11] = [
    instants::to_timestamp,
    to_char::ToChar::around,
    regexes::regex,
    ranged::ranged,
    lists::counted,
    whole::whole,
    binary::of_bytes,
    binned::binned,
    truncated::truncated,
    either::either,
    bounded::bounded,
];

/// Functions of DataFusion's that make types which PostgreSQL does not have, such as a timestamp of
/// another zone than UTC.
const LEFT_OUT: [&str; 3] = ["arrow_cast", "arrow_try_cast", "to_local_time"];

/// The functions OVER a partition that say where a row stands in it.
pub const NUMBERS_OVER: [&str; 6] = [
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
];

/// Those that say a value of another row of it. All others are aggregates.
pub const VALUES_OVER: [&str; 5] = ["lag", "lead", "first_value", "last_value", "nth_value"];

/// Functions that are not a function of the input, and what to write instead.
pub const VOLATILE: &[(&[&str], &str)] = &[
    (
        &[
            "now",
            "current_timestamp",
            "current_date",
            "current_time",
            "localtime",
            "localtimestamp",
            "today",
            "clock_timestamp",
            "statement_timestamp",
            "transaction_timestamp",
            "proctime",
            "sysdate",
            "getdate",
        ],
        "use a time that is in the rows, such as the WATERMARK FOR column",
    ),
    (&["version"], "leave it out: `tidemark --version` says it"),
    (
        &["random", "rand"],
        "for a sample write a condition on a column, such as mod(id, 100) = 0",
    ),
    (
        &[
            "uuid",
            "gen_random_uuid",
            "uuid_generate_v4",
            "uuidv4",
            "uuidv7",
        ],
        "make an identifier of what is in the rows, such as md5(concat(a, '-', b))",
    ),
];

/// Functions of other engines, and what to write for them.
pub const INSTEAD: &[(&[&str], &str)] = &[
    (
        &[
            "user",
            "current_user",
            "session_user",
            "current_role",
            "current_catalog",
        ],
        "for a column of that name write it in quotes: \"user\"",
    ),
    (
        &["date_diff", "datediff", "timestampdiff"],
        "subtract: extract(epoch FROM (a - b)), or for whole days CAST(a AS DATE) - CAST(b AS DATE)",
    ),
    // Flink's and Spark's, where `mm` is a minute and `MM` a month.
    (
        &["date_format"],
        "write to_char(at, 'YYYY-MM-DD HH24:MI:SS'), where MM is the month and MI the minute",
    ),
    (
        &[
            "year",
            "quarter",
            "month",
            "week",
            "day",
            "hour",
            "minute",
            "second",
            "dayofmonth",
        ],
        "write extract(hour FROM at), or date_trunc('hour', at)",
    ),
    (&["unix_timestamp"], "write extract(epoch FROM at)"),
    (
        &["last_day"],
        "write date_trunc('month', at) + INTERVAL '1 month' - INTERVAL '1 day'",
    ),
    (&["regexp_extract"], "write (regexp_match(x, 'pattern'))[1]"),
    (
        &["split_index"],
        "write split_part(x, ',', n), which counts from 1",
    ),
    (
        &["make_timestamp", "make_timestamptz"],
        "write CAST('2026-03-01 09:00:00' AS TIMESTAMP)",
    ),
    (
        &["make_interval"],
        "its parts are years, months, weeks, days, hours, mins and secs: make_interval(days => n)",
    ),
    (
        &["justify_hours", "justify_days", "justify_interval"],
        "go by the seconds: extract(epoch FROM x)",
    ),
    (&["any_value"], "write min(x) or max(x)"),
    (
        &["arrow_cast", "arrow_try_cast"],
        "write CAST(x AS TYPE), or TRY_CAST(x AS TYPE)",
    ),
    (
        &["to_local_time", "convert_timezone", "from_utc_timestamp"],
        "write at AT TIME ZONE 'Europe/Berlin'",
    ),
    (
        &["if", "iif"],
        "write CASE WHEN condition THEN a ELSE b END",
    ),
    (
        &["decode"],
        "write CASE x WHEN a THEN .. END; for bytes, CAST(x AS BYTEA)",
    ),
    (
        &["div"],
        "write a / b: of whole numbers it is a whole number",
    ),
    (
        &["width_bucket"],
        "write CAST(floor((x - low) * buckets / (high - low)) AS INT) + 1",
    ),
    (&["format", "printf"], "write a || '-' || b, or concat(..)"),
    (&["hash", "hashtext"], "write md5(x) or sha256(x)"),
    (&["max_by", "arg_max"], "write last_value(x ORDER BY y)"),
    (&["min_by", "arg_min"], "write first_value(x ORDER BY y)"),
    (
        &["mode", "histogram", "topk", "approx_top_k"],
        "GROUP BY the value too, and count(*)",
    ),
    (
        &[
            "jsonb_array_elements",
            "json_array_elements",
            "jsonb_array_elements_text",
        ],
        "declare the column as a list, such as items STRUCT<sku TEXT>[], and use cardinality(..) \
         or CROSS JOIN UNNEST(..)",
    ),
    (
        &["jsonb_each", "json_each", "jsonb_object_keys"],
        "take the values out by name, with ->> and #>>",
    ),
    (
        &["jsonb_extract_path"],
        "write body -> 'a' -> 'b', or body #> '{a,b}'",
    ),
    (
        &[
            "jsonb_extract_path_text",
            "get_json_object",
            "json_extract",
            "json_extract_scalar",
            "json_value",
            "json_query",
        ],
        "write body -> 'a' ->> 'b', or body #>> '{a,b}'",
    ),
    (
        &[
            "jsonb_agg",
            "json_agg",
            "collect_list",
            "group_concat",
            "listagg",
            "collect_set",
        ],
        "write array_agg(x ORDER BY y) or string_agg(x, ',' ORDER BY y)",
    ),
    (
        &[
            "jsonb_build_object",
            "json_build_object",
            "json_object",
            "to_json",
            "to_jsonb",
            "row_to_json",
            "json_object_agg",
            "jsonb_object_agg",
        ],
        "insert the columns by themselves; a sink with format = 'json' writes an object of them",
    ),
];
