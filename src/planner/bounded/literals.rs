//! Constants that are repeated for each row of a batch, such as `range(0, 1000000)` in a projection or in `||`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::{LARGEST, is_small};
use crate::planner::each_node::NodeRule;

/// Bytes of a constant from which on its repetition is worth a look.
const LARGE: usize = 16 * 1024;

/// Has projections look whether there is memory for their constants.
pub struct BoundedLiterals(pub Arc<dyn MemoryPool>);

impl fmt::Debug for BoundedLiterals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoundedLiterals")
    }
}

impl NodeRule for BoundedLiterals {
    const NAME: &'static str = "BoundedLiterals";

    fn change(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(projection) = node.downcast_ref::<ProjectionExec>() else {
            return Ok(None);
        };
        let schema = projection.input().schema();
        changed(projection, |expr| {
            let parts = self.joined(expr)?;
            Ok(match is_constant(&parts.data, &schema)? {
                true => Transformed::yes(self.looked_at(parts.data)),
                false => parts,
            })
        })
    }
}

type Expr = Arc<dyn PhysicalExpr>;

impl BoundedLiterals {
    fn looked_at(&self, expr: Expr) -> Expr {
        Arc::new(Repeated {
            expr,
            pool: Arc::clone(&self.0),
        })
    }

    /// The expression with the constants looked at that text is joined with.
    fn joined(&self, expr: &Expr) -> Result<Transformed<Expr>> {
        Arc::clone(expr).transform_up(|part| {
            let Some(binary) = part.downcast_ref::<BinaryExpr>() else {
                return Ok(Transformed::no(part));
            };
            let (left, right) = (is_large(binary.left()), is_large(binary.right()));
            if *binary.op() != Operator::StringConcat || !(left || right) {
                return Ok(Transformed::no(part));
            }
            let side = |side: &Expr, is_large| match is_large {
                true => self.looked_at(Arc::clone(side)),
                false => Arc::clone(side),
            };
            Ok(Transformed::yes(Arc::new(BinaryExpr::new(
                side(binary.left(), left),
                Operator::StringConcat,
                side(binary.right(), right),
            ))))
        })
    }
}

fn is_large(expr: &Expr) -> bool {
    let literal = expr.downcast_ref::<Literal>();
    literal.is_some_and(|literal| literal.value().size() >= LARGE)
}

/// Whether an expression is of no column, and may be large.
fn is_constant(expr: &Expr, schema: &Schema) -> Result<bool> {
    if expr.downcast_ref::<Column>().is_some() {
        return Ok(false);
    }
    if expr.downcast_ref::<Literal>().is_some() {
        return Ok(is_large(expr));
    }
    Ok(!is_small(&expr.data_type(schema)?) && collect_columns(expr).is_empty())
}

/// The projection with some of its expressions changed; nothing where none is.
fn changed(
    projection: &ProjectionExec,
    change: impl Fn(&Expr) -> Result<Transformed<Expr>>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut is_changed = false;
    let exprs = projection.expr().iter().map(|one| {
        let expr = change(&one.expr)?;
        is_changed |= expr.transformed;
        Ok(ProjectionExpr {
            expr: expr.data,
            alias: one.alias.clone(),
        })
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    Ok(match is_changed {
        true => {
            let input = Arc::clone(projection.input());
            Some(Arc::new(ProjectionExec::try_new(exprs, input)?))
        }
        false => None,
    })
}

/// A projection without the rule's expressions, which have no protobuf form; nothing for other nodes.
pub fn bare(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(projection) = node.downcast_ref::<ProjectionExec>() else {
        return Ok(None);
    };
    changed(projection, |expr| {
        Arc::clone(expr).transform_up(|part| {
            Ok(match part.downcast_ref::<Repeated>() {
                Some(repeated) => Transformed::yes(Arc::clone(&repeated.expr)),
                None => Transformed::no(part),
            })
        })
    })
}

/// A constant that is looked at before it is repeated.
struct Repeated {
    expr: Expr,
    pool: Arc<dyn MemoryPool>,
}

impl Repeated {
    fn check(&self, size: usize, rows: usize) -> Result<()> {
        let bytes = size.saturating_mul(rows);
        if bytes as u64 > LARGEST {
            return exec_err!(
                "a constant of {size} bytes for each of {rows} rows is more than an array holds; take the \
                 constant alone, or a smaller batch size (datafusion.execution.batch_size)"
            );
        }
        // Not for longer: where the rows go, nobody says.
        MemoryConsumer::new("a constant in each row")
            .register(&self.pool)
            .try_grow(bytes)
    }
}

impl fmt::Debug for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

impl PartialEq for Repeated {
    fn eq(&self, other: &Self) -> bool {
        self.expr.eq(&other.expr)
    }
}

impl Eq for Repeated {}

impl Hash for Repeated {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expr.hash(state);
    }
}

impl PhysicalExpr for Repeated {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.expr.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.expr.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.expr.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let value = self.expr.evaluate(batch)?;
        if let ColumnarValue::Scalar(constant) = &value
            && constant.size() >= LARGE
        {
            self.check(constant.size(), batch.num_rows())?;
        }
        Ok(value)
    }

    fn children(&self) -> Vec<&Expr> {
        vec![]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Expr>) -> Result<Expr> {
        match children.is_empty() {
            true => Ok(self),
            false => internal_err!("a constant has no children"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt_sql(f)
    }
}
