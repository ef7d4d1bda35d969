//! Functions of DataFusion's with something of ours around them: what is given to them is looked
//! at or changed before, or what they say after. Their names, arguments and types stay theirs.

use std::any::Any;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::Result;
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// What is ours: by itself, the function is DataFusion's.
pub trait Around: Debug + Eq + Hash + Send + Sync + Any {
    /// The type of the result.
    fn return_type(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: &[DataType],
    ) -> Result<DataType> {
        function.return_type(arguments)
    }

    /// The result before it runs, with what is known of it then.
    fn return_field(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ReturnFieldArgs,
    ) -> Result<FieldRef> {
        function.return_field_from_args(arguments)
    }

    /// The results.
    fn invoke(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue>;
}

/// The function with what the list has for its name around it, if it has something.
pub fn listed<A: Around + Copy>(
    list: &[(&str, A)],
    function: &Arc<ScalarUDF>,
) -> Option<Arc<ScalarUDF>> {
    let (_, around) = list.iter().find(|(name, _)| *name == function.name())?;
    Some(Arc::new(ScalarUDF::from(Wrapped {
        function: Arc::clone(function),
        around: *around,
    })))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Wrapped<A> {
    function: Arc<ScalarUDF>,
    around: A,
}

impl<A: Around> Wrapped<A> {
    fn inner(&self) -> &dyn ScalarUDFImpl {
        self.function.inner().as_ref()
    }
}

impl<A: Around> ScalarUDFImpl for Wrapped<A> {
    fn name(&self) -> &str {
        self.inner().name()
    }

    fn aliases(&self) -> &[String] {
        self.inner().aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner().signature()
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner().coerce_types(arguments)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.around.return_type(self.inner(), arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        self.around.return_field(self.inner(), arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.around.invoke(self.inner(), arguments)
    }
}
