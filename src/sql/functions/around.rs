//! Functions of DataFusion's with something of ours around them: what is given to them is looked
//! at or changed before, or what they say after; or the types that they take. The rest stays theirs.

use std::any::Any;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::Result;
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// What is ours: by itself, the function is DataFusion's.
pub trait Around: Debug + Eq + Hash + Send + Sync + Any {
    /// Whether the types that it takes are ours to say.
    const TAKES: bool = false;
    /// Whether its results are ours; if not, it may turn a call into something simpler.
    const YIELDS: bool = true;

    /// The types that it takes for arguments of these, where they are ours.
    fn takes(&self, function: &ScalarUDF, arguments: &[DataType]) -> Result<Vec<DataType>> {
        function.coerce_types(arguments)
    }

    /// The type of a result, for the function's own.
    fn result(&self, theirs: &DataType) -> DataType {
        theirs.clone()
    }

    /// The type of the result.
    fn return_type(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: &[DataType],
    ) -> Result<DataType> {
        Ok(self.result(&function.return_type(arguments)?))
    }

    /// The result before it runs, with what is known of it then.
    fn return_field(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ReturnFieldArgs,
    ) -> Result<FieldRef> {
        let field = function.return_field_from_args(arguments)?;
        let to = self.result(field.data_type());
        Ok(Arc::new(field.as_ref().clone().with_data_type(to)))
    }

    /// The results.
    fn invoke(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        function.invoke_with_args(arguments)
    }
}

/// The function with what the list has for its name around it, if it has something.
pub fn listed<A: Around + Copy>(
    list: &[(&str, A)],
    function: &Arc<ScalarUDF>,
) -> Option<Arc<ScalarUDF>> {
    let (_, around) = list.iter().find(|(name, _)| *name == function.name())?;
    Some(wrap(function, *around))
}

/// The function with `around` around it.
pub fn wrap<A: Around>(function: &Arc<ScalarUDF>, around: A) -> Arc<ScalarUDF> {
    let signature = match A::TAKES {
        true => Signature::user_defined(Volatility::Immutable),
        false => function.signature().clone(),
    };
    Arc::new(ScalarUDF::from(Wrapped {
        function: Arc::clone(function),
        signature,
        around,
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Wrapped<A> {
    function: Arc<ScalarUDF>,
    signature: Signature,
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
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.around.takes(&self.function, arguments)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.around.return_type(self.inner(), arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        self.around.return_field(self.inner(), arguments)
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        context: &SimplifyContext,
    ) -> Result<ExprSimplifyResult> {
        match A::YIELDS {
            true => Ok(ExprSimplifyResult::Original(arguments)),
            false => self.inner().simplify(arguments, context),
        }
    }

    fn conditional_arguments<'a>(
        &self,
        arguments: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner().conditional_arguments(arguments)
    }

    fn short_circuits(&self) -> bool {
        self.inner().short_circuits()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.around.invoke(self.inner(), arguments)
    }
}
