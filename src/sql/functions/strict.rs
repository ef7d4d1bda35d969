//! Functions that are NULL only where an argument is. DataFusion says of most functions that they
//! may be NULL anyway, and so of `lower(id)` that it can be no key.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::Result;
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

const STRICT: [&str; 26] = [
    "abs",
    "btrim",
    "character_length",
    "encode",
    "initcap",
    "left",
    "lower",
    "lpad",
    "ltrim",
    "make_date",
    "md5",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "sha256",
    "split_part",
    "substr",
    "to_date",
    "to_hex",
    "to_timestamp",
    "translate",
    "upper",
];

/// The function, which says so if it is one of those.
pub fn strict(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match STRICT.contains(&function.name()) {
        true => Arc::new(ScalarUDF::from(Strict { function })),
        false => function,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Strict {
    function: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Strict {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.function.inner().coerce_types(arguments)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.function.inner().return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        let field = self.function.inner().return_field_from_args(arguments)?;
        Ok(Arc::new(field.as_ref().clone().with_nullable(nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.function.inner().invoke_with_args(arguments)
    }
}
