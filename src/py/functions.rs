//! Functions of Python that queries call, on Arrow arrays.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_pyarrow::{FromPyArrow, ToPyArrow};
use datafusion::arrow::array::{Array, ArrayData, ArrayRef, make_array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::{ErrorKind, NativeError};
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
        let called = Python::try_attach(|py| self.call(py, &given, count));
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
