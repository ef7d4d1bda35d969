//! The functions that queries can call: DataFusion's scalar functions, ours where PostgreSQL's
//! meaning differs, and our aggregates.

mod aggregates;
pub mod arithmetic;
pub mod casts;
mod json;
mod json_steps;
mod marked;
mod modulo;
mod patterns;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, Volatility, WindowUDF};

#[cfg(test)]
pub use aggregates::aggregate_names;
pub use aggregates::{ORDER_DEPENDENT, function_of};
pub use json::JsonPlanner;

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
            .chain([Arc::new(ScalarUDF::from(modulo::Modulo::default()))])
            // What is not a function of the row (now, random, uuid) is refused by name.
            .filter(|function| function.signature().volatility == Volatility::Immutable);
        let higher_order = datafusion_functions_nested::all_default_higher_order_functions();
        let window = datafusion_functions_window::all_default_window_functions();
        Self {
            scalar: by_name(scalar, |f| f.name(), |f| f.aliases()),
            higher_order: by_name(higher_order, |f| f.name(), |f| f.aliases()),
            aggregate: by_name(aggregates::all(), |f| f.name(), |f| f.aliases()),
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
