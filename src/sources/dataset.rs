//! A table that another library reads by columns and conditions: a `pyarrow.dataset.Dataset`.
//!
//! What it leaves out by conditions is filtered once more, and only conditions that mean the same there are
//! handed to it: comparisons with constants of columns whose order is the same everywhere (no floats, for NaN).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue, project_schema};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType,
};
use datafusion::physical_plan::ExecutionPlan;

use super::arrow::{Reader, StreamTable, of_table};

/// A condition that rows meet: one of these values in a column, or a comparison with the only one.
#[derive(Clone, Debug)]
pub struct Condition {
    pub column: String,
    /// `==`, `!=`, `<`, `<=`, `>`, `>=` or `in`.
    pub operator: &'static str,
    pub values: ArrayRef,
}

/// Gives the rows of some columns, of which those may be missing that do not meet all conditions.
pub type Open = Arc<dyn Fn(&[String], &[Condition]) -> Result<Reader> + Send + Sync>;

pub struct Dataset {
    name: String,
    schema: SchemaRef,
    open: Open,
}

impl Dataset {
    pub fn new(name: String, schema: &SchemaRef, open: Open) -> Self {
        Self {
            name,
            schema: of_table(schema),
            open,
        }
    }

    fn conditions(&self, filter: &Expr) -> Option<Vec<Condition>> {
        match filter {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::And,
                right,
            }) => {
                let mut all = self.conditions(left)?;
                all.extend(self.conditions(right)?);
                Some(all)
            }
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Or,
                right,
            }) => {
                // A list of few values comes as one.
                let left = <[_; 1]>::try_from(self.conditions(left)?).ok()?;
                let right = <[_; 1]>::try_from(self.conditions(right)?).ok()?;
                Some(vec![one_of(left, right)?])
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (column, op, value) = match (left.as_ref(), right.as_ref()) {
                    (Expr::Column(column), Expr::Literal(value, _)) => (column, *op, value),
                    (Expr::Literal(value, _), Expr::Column(column)) => (column, op.swap()?, value),
                    _ => return None,
                };
                let operator = match op {
                    Operator::Eq => "==",
                    Operator::NotEq => "!=",
                    Operator::Lt => "<",
                    Operator::LtEq => "<=",
                    Operator::Gt => ">",
                    Operator::GtEq => ">=",
                    _ => return None,
                };
                Some(vec![self.condition(&column.name, operator, vec![value])?])
            }
            Expr::InList(InList {
                expr,
                list,
                negated: false,
            }) => {
                let Expr::Column(column) = expr.as_ref() else {
                    return None;
                };
                let values = list.iter().map(|one| match one {
                    Expr::Literal(value, _) => Some(value),
                    _ => None,
                });
                let values = values.collect::<Option<Vec<_>>>()?;
                Some(vec![self.condition(&column.name, "in", values)?])
            }
            _ => None,
        }
    }

    fn condition(
        &self,
        column: &str,
        operator: &'static str,
        values: Vec<&ScalarValue>,
    ) -> Option<Condition> {
        let kind = self.schema.field_with_name(column).ok()?.data_type();
        let fits = |value: &&ScalarValue| !value.is_null() && value.data_type() == *kind;
        if !is_ordered_alike(kind) || values.is_empty() || !values.iter().all(fits) {
            return None;
        }
        let values = ScalarValue::iter_to_array(values.into_iter().cloned()).ok()?;
        Some(Condition {
            column: column.to_owned(),
            operator,
            values,
        })
    }
}

/// That a column has one of the values of two conditions.
fn one_of([left]: [Condition; 1], [right]: [Condition; 1]) -> Option<Condition> {
    let is_of_values = |one: &Condition| matches!(one.operator, "==" | "in");
    if left.column != right.column || !is_of_values(&left) || !is_of_values(&right) {
        return None;
    }
    let values = concat(&[left.values.as_ref(), right.values.as_ref()]).ok()?;
    Some(Condition {
        column: left.column,
        operator: "in",
        values,
    })
}

/// Types whose values every library compares alike.
fn is_ordered_alike(kind: &DataType) -> bool {
    kind.is_integer()
        || matches!(
            kind,
            DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Date32
                | DataType::Date64
                | DataType::Timestamp(..)
        )
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for Dataset {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let filters = filters.iter();
        Ok(filters
            .map(|filter| match self.conditions(filter) {
                Some(_) => TableProviderFilterPushDown::Inexact,
                None => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = project_schema(&self.schema, projection)?;
        let columns: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let conditions = filters.iter().filter_map(|filter| self.conditions(filter));
        let conditions: Vec<Condition> = conditions.flatten().collect();
        let open = Arc::clone(&self.open);
        let rows = StreamTable::anew(self.name.clone(), &schema, move || {
            open(&columns, &conditions)
        });
        rows.scan(session, None, &[], limit).await
    }
}
