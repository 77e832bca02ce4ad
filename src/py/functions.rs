//! Functions of Python that queries call, on Arrow arrays.

use std::any::Any;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_pyarrow::{FromPyArrow, ToPyArrow};
use datafusion::arrow::array::{Array, ArrayData, ArrayRef, make_array};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::catalog::{TableFunction, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, WindowUDF,
};
use datafusion::prelude::SessionContext;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::capsules;
use super::interruptible;
use crate::error::{ErrorKind, NativeError};
use crate::exec::engine::{self, Kept};
use crate::exec::sql;
use crate::planner::abandoned::Watching;
use crate::planner::as_inner::as_inner;
use crate::runtime;

/// A function as `fusiondelta.engine` describes it.
#[derive(FromPyObject)]
pub struct PyFunction {
    name: String,
    function: Py<PyAny>,
    arguments: Vec<Py<PyAny>>,
    returns: Py<PyAny>,
    volatility: String,
}

/// # Errors
/// `configuration` for types that are none, and a volatility that is none.
pub fn function(py: Python<'_>, given: PyFunction) -> PyResult<ScalarUDF> {
    let kind = |of: &Py<PyAny>| DataType::from_pyarrow_bound(of.bind(py));
    let arguments = given.arguments.iter().map(kind);
    let arguments = arguments.collect::<PyResult<Vec<_>>>()?;
    let volatility = match given.volatility.as_str() {
        "immutable" => Volatility::Immutable,
        "stable" => Volatility::Stable,
        "volatile" => Volatility::Volatile,
        other => {
            return Err(NativeError::new(
                ErrorKind::Configuration,
                format!("volatility is immutable, stable or volatile, not {other:?}"),
            )
            .into());
        }
    };
    let signature = match arguments.is_empty() {
        true => Signature::nullary(volatility),
        false => Signature::exact(arguments, volatility),
    };
    Ok(ScalarUDF::from(Function {
        returns: kind(&given.returns)?,
        name: given.name,
        callable: Arc::new(given.function),
        signature,
    }))
}

/// A function of another library.
///
/// # Errors
/// `configuration` where the context has none of this kind and name.
pub fn foreign(
    context: &TaskContext,
    kind: &str,
    name: &str,
) -> std::result::Result<engine::Function, NativeError> {
    let found = match kind {
        "scalar" => context.scalar_functions().get(name).map(scalar),
        "aggregate" => context.aggregate_functions().get(name).map(aggregate),
        "window" => context.window_functions().get(name).map(window),
        _ => None,
    };
    found.ok_or_else(|| {
        let message = format!("the context has no {kind} function {name:?}");
        NativeError::new(ErrorKind::Configuration, message)
    })
}

fn scalar(function: &Arc<ScalarUDF>) -> engine::Function {
    let function = ForeignFunction {
        inner: Arc::clone(function),
    };
    engine::Function::Scalar(Arc::new(ScalarUDF::from(function)))
}

fn aggregate(function: &Arc<AggregateUDF>) -> engine::Function {
    engine::Function::Aggregate(Arc::clone(function), interruptible::begin)
}

fn window(function: &Arc<WindowUDF>) -> engine::Function {
    engine::Function::Window(Arc::clone(function), interruptible::begin)
}

/// Begins a call of a scalar function, which ends when what is given is dropped.
fn begin(arguments: &ScalarFunctionArgs) -> Result<Box<dyn Any>> {
    let watching = arguments.config_options.extensions.get::<Watching>();
    match watching {
        // One more, of another constant, where planning was not waited for.
        Some(watching) if watching.0.get() => exec_err!("the query was cancelled"),
        Some(watching) => interruptible::begin(&watching.0),
        None => interruptible::begin(&Arc::default()),
    }
}

/// A scalar function of another library, which calls Python, and is interrupted where the query is abandoned.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ForeignFunction {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for ForeignFunction {
    as_inner!();

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let call = begin(&arguments)?;
        let result = self.inner.invoke_with_args(arguments);
        drop(call);
        result
    }
}

/// A table function of another library.
pub fn table_function(name: String, call: Py<PyAny>) -> TableFunction {
    let function = ForeignTables {
        name: name.clone(),
        call,
    };
    TableFunction::new(name, Arc::new(function))
}

/// What keeps a context, its codec, and a plan that is encoded with it.
type ForeignPlan = (Py<PyAny>, Arc<dyn LogicalExtensionCodec>, Vec<u8>);

#[derive(Debug)]
struct ForeignTables {
    name: String,
    call: Py<PyAny>,
}

impl ForeignTables {
    fn value(&self, argument: &Expr) -> Result<ArrayRef> {
        match argument {
            Expr::Literal(value, _) => value.to_array(),
            other => plan_err!(
                "the table function {} takes constants, and {other} is none",
                self.name
            ),
        }
    }

    /// The plan that reads the table, with the lease of the context that it is of and what decodes it.
    fn plan(&self, py: Python<'_>, arguments: &[ArrayRef]) -> PyResult<ForeignPlan> {
        let given = arguments.iter().map(|value| value.to_data().to_pyarrow(py));
        let given = given.collect::<PyResult<Vec<_>>>()?;
        let given = PyTuple::new(py, given)?;
        let made = runtime::inside_function(|| self.call.bind(py).call1(given))?;
        let (lease, plan): (Py<PyAny>, Vec<u8>) = made.extract()?;
        let codec = capsules::decoding_codec(&lease.bind(py).getattr("ctx")?)?;
        Ok((lease, codec, plan))
    }
}

impl TableFunctionImpl for ForeignTables {
    fn call_with_args(&self, arguments: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let values = arguments.exprs().iter().map(|given| self.value(given));
        let values = values.collect::<Result<Vec<_>>>()?;
        let (lease, codec, plan) = match Python::try_attach(|py| self.plan(py, &values)) {
            Some(Ok(made)) => made,
            Some(Err(error)) => {
                return exec_err!("the table function {} failed: {error}", self.name);
            }
            None => return exec_err!("the interpreter ends"),
        };
        if let Some(kept) = arguments.session().config().get_extension::<Kept>() {
            kept.add(lease);
        }
        let tasks = arguments.session().task_ctx();
        sql::foreign(&plan, codec.as_ref(), &tasks)
    }
}

#[derive(Debug)]
struct Function {
    name: String,
    callable: Arc<Py<PyAny>>,
    signature: Signature,
    returns: DataType,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.callable, &other.callable)
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let is_constant = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        // Of constants a function gives one value, unless it gives another one each time.
        let count = match arguments.args.iter().all(is_constant)
            && self.signature.volatility != Volatility::Volatile
        {
            true => 1,
            false => rows,
        };
        let given = arguments.args.iter().map(|value| value.to_array(count));
        let given = given.collect::<Result<Vec<_>>>()?;
        let call = begin(&arguments)?;
        let called = Python::try_attach(|py| self.call(py, &given, count));
        drop(call);
        let array = match called {
            Some(Ok(array)) => array,
            Some(Err(error)) => return exec_err!("the function {} failed: {error}", self.name),
            None => return exec_err!("the interpreter ends"),
        };
        if array.len() != count {
            return exec_err!(
                "the function {} gave {} values for {count} rows",
                self.name,
                array.len()
            );
        }
        if *array.data_type() != self.returns {
            return exec_err!(
                "the function {} gave {} and was registered to give {}",
                self.name,
                array.data_type(),
                self.returns
            );
        }
        match count == rows {
            true => Ok(ColumnarValue::Array(array)),
            false => Ok(ColumnarValue::Scalar(
                datafusion::common::ScalarValue::try_from_array(&array, 0)?,
            )),
        }
    }
}

impl Function {
    fn call(&self, py: Python<'_>, given: &[ArrayRef], rows: usize) -> PyResult<ArrayRef> {
        let mut given: Vec<_> = given
            .iter()
            .map(|array| array.to_data().to_pyarrow(py))
            .collect::<PyResult<_>>()?;
        if given.is_empty() {
            // How many values are wanted.
            given.push(rows.into_pyobject(py)?.into_any());
        }
        let given = PyTuple::new(py, given)?;
        let result = runtime::inside_function(|| self.callable.bind(py).call1(given))?;
        // A chunked array, for one.
        let result = match result.hasattr("combine_chunks")? {
            true => result.call_method0("combine_chunks")?,
            false => result,
        };
        Ok(make_array(ArrayData::from_pyarrow_bound(&result)?))
    }
}

/// Names of the functions of a native session, aliases included.
pub fn function_names() -> HashMap<&'static str, Vec<String>> {
    let state = SessionContext::new().state();
    let sorted = |names: Vec<String>| {
        let mut names = names;
        names.sort();
        names
    };
    HashMap::from([
        (
            "scalar",
            sorted(state.scalar_functions().keys().cloned().collect()),
        ),
        (
            "aggregate",
            sorted(state.aggregate_functions().keys().cloned().collect()),
        ),
        (
            "window",
            sorted(state.window_functions().keys().cloned().collect()),
        ),
    ])
}
