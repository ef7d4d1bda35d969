//! The functions that queries can call: DataFusion's scalar functions, ours where PostgreSQL's
//! meaning differs, and our aggregates.

mod aggregates;
pub mod arithmetic;
mod around;
mod bounded;
pub mod casts;
mod folded;
pub mod intervals;
mod json;
mod json_steps;
pub mod lists;
mod marked;
mod modulo;
pub mod or_null;
pub mod parts;
mod patterns;
pub mod ranged;
pub mod regexes;
mod to_char;
mod whole;
pub mod zones;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, Volatility, WindowUDF};

#[cfg(test)]
pub use aggregates::aggregate_names;
pub use aggregates::{ORDER_DEPENDENT, function_of};
pub use json::JsonPlanner;
pub use parts::TimePlanner;

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
            .chain(json::all())
            .chain([
                Arc::new(ScalarUDF::from(modulo::Modulo::default())),
                Arc::new(ScalarUDF::from(parts::DateField::default())),
                Arc::new(ScalarUDF::from(zones::Timezone::default())),
            ])
            .filter(|function| !LEFT_OUT.contains(&function.name()))
            // What is not a function of the row (now, random, uuid) is refused by name.
            .filter(|function| function.signature().volatility == Volatility::Immutable)
            .map(|function| {
                let ours = OURS.iter().find_map(|ours| ours(&function));
                ours.unwrap_or(function)
            });
        let higher_order = datafusion_functions_nested::all_default_higher_order_functions();
        let window = datafusion_functions_window::all_default_window_functions();
        // The analyser makes `grouping` a reading of the number of a set.
        let grouping = datafusion_functions_aggregate::grouping::grouping_udaf();
        let aggregates = aggregates::all().into_iter().chain([grouping]);
        Self {
            scalar: by_name(scalar, |f| f.name(), |f| f.aliases()),
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

/// What makes a function of DataFusion's ours, if it is one that has to be.
type Ours = fn(&Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>>;

const OURS: [Ours; 6] = [
    to_char::ToChar::around,
    regexes::regex,
    ranged::ranged,
    lists::length,
    whole::whole,
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
    (&["age"], "subtract: a - b"),
    (
        &["date_diff", "datediff", "timestampdiff"],
        "subtract: extract(epoch FROM (a - b)), or for whole days CAST(a AS DATE) - CAST(b AS DATE)",
    ),
    (
        &["make_timestamp", "make_timestamptz"],
        "write CAST('2026-03-01 09:00:00' AS TIMESTAMP)",
    ),
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
    (&["sign"], "write signum(x)"),
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
            "jsonb_array_length",
            "json_array_length",
            "jsonb_array_elements",
            "json_array_elements",
            "jsonb_array_elements_text",
        ],
        "declare the column as a list, such as items STRUCT<sku TEXT>[], and use cardinality(..) \
         or CROSS JOIN UNNEST(..)",
    ),
    (
        &[
            "jsonb_each",
            "json_each",
            "jsonb_object_keys",
            "jsonb_typeof",
            "json_typeof",
        ],
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
