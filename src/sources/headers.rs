//! CSV files as one table, by the names in their headers.
//!
//! DataFusion reads all files of a folder by the header of the first.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::expressions::{Column, Literal};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;

use super::ObservedTable;

/// The columns of all files, in the order in which they come first; each of a type that its values in all files
/// have, or text.
pub fn merged<'a>(schemas: impl Iterator<Item = &'a SchemaRef>) -> SchemaRef {
    let mut fields: Vec<Field> = Vec::new();
    for field in schemas.flat_map(|schema| schema.fields()) {
        match fields.iter_mut().find(|known| known.name() == field.name()) {
            Some(known) => {
                let kind = common(known.data_type(), field.data_type());
                *known = known.clone().with_data_type(kind);
            }
            None => fields.push(Field::new(field.name(), field.data_type().clone(), true)),
        }
    }
    let fields = fields.into_iter().map(|field| {
        // Nothing was seen of it: whatever comes is a text.
        let kind = match field.data_type() {
            DataType::Null => DataType::Utf8,
            other => other.clone(),
        };
        field.with_data_type(kind)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn common(one: &DataType, other: &DataType) -> DataType {
    match (one, other) {
        (one, other) if one == other => one.clone(),
        (DataType::Null, known) | (known, DataType::Null) => known.clone(),
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => {
            DataType::Float64
        }
        _ => DataType::Utf8,
    }
}

/// The columns of `header` in its order, typed as in `all`.
pub fn typed(header: &SchemaRef, all: &SchemaRef) -> SchemaRef {
    let fields = header
        .fields()
        .iter()
        .map(|field| match all.field_with_name(field.name()) {
            Ok(known) => Arc::new(known.clone()),
            Err(_) => Arc::clone(field),
        });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Files with different headers. A column that a file has not is NULL in its rows.
#[derive(Debug)]
pub struct ByName {
    pub schema: SchemaRef,
    /// Those with the same header.
    pub parts: Vec<ObservedTable>,
}

#[async_trait]
impl TableProvider for ByName {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = match projection {
            Some(places) => Arc::new(self.schema.project(places)?),
            None => Arc::clone(&self.schema),
        };
        let mut plans = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let own = part.schema();
            let places: Vec<usize> = wanted
                .fields()
                .iter()
                .filter_map(|field| own.index_of(field.name()).ok())
                .collect();
            let plan = part.scan(session, Some(&places), &[], limit).await?;
            let exprs = wanted.fields().iter().map(|field| {
                let place = own.index_of(field.name()).ok();
                let place = place.and_then(|own| places.iter().position(|known| *known == own));
                let expr: Arc<dyn PhysicalExpr> = match place {
                    Some(place) => Arc::new(Column::new(field.name(), place)),
                    None => Arc::new(Literal::new(ScalarValue::try_from(field.data_type())?)),
                };
                Ok(ProjectionExpr::new(expr, field.name()))
            });
            let exprs = exprs.collect::<Result<Vec<_>>>()?;
            plans.push(Arc::new(ProjectionExec::try_new(exprs, plan)?) as _);
        }
        UnionExec::try_new(plans)
    }
}
