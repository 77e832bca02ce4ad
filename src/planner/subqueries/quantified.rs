//! EXISTS, IN, and comparisons with ANY and ALL.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, plan_err};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::{Case, Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::{
    BinaryExpr, Expr, FetchType, LogicalPlan, LogicalPlanBuilder, Operator, SkipType, Subquery,
    cast, lit,
};

use super::pull::is_never_empty;
use super::{Rewriter, as_outer, depends, filtered, is_within, refers};

/// A question about the rows of a subquery that is answered by true, false or NULL.
pub struct Quantified {
    kind: Kind,
    plan: LogicalPlan,
    is_negated: bool,
}

enum Kind {
    /// Are there any?
    Exists,
    /// Does the comparison hold for any? That it holds for all is that its opposite holds for none.
    Any {
        expr: Expr,
        op: Operator,
        /// Whether the opposite of the comparison is looked for.
        is_opposite: bool,
    },
}

impl Quantified {
    /// # Errors
    /// The expression, where it is something else.
    pub fn of(expr: Expr) -> std::result::Result<Self, Expr> {
        let plan = |subquery: Subquery| Arc::unwrap_or_clone(subquery.subquery);
        match expr {
            Expr::Not(inner) => match Self::of(*inner) {
                Ok(inner) => Ok(Self {
                    is_negated: !inner.is_negated,
                    ..inner
                }),
                Err(inner) => Err(Expr::Not(Box::new(inner))),
            },
            Expr::Exists(Exists { subquery, negated }) => Ok(Self {
                kind: Kind::Exists,
                plan: without_cut(plan(subquery)),
                is_negated: negated,
            }),
            Expr::InSubquery(InSubquery {
                expr,
                subquery,
                negated,
            }) => Ok(Self {
                kind: Kind::Any {
                    expr: *expr,
                    op: Operator::Eq,
                    is_opposite: false,
                },
                plan: plan(subquery),
                is_negated: negated,
            }),
            Expr::SetComparison(SetComparison {
                expr,
                subquery,
                op,
                quantifier,
            }) => {
                let is_all = quantifier == SetQuantifier::All;
                Ok(Self {
                    kind: Kind::Any {
                        expr: *expr,
                        op,
                        is_opposite: is_all,
                    },
                    plan: plan(subquery),
                    is_negated: is_all,
                })
            }
            other => Err(other),
        }
    }

    /// Whether it is `x NOT IN (…)` of rows that depend on nothing around them.
    pub fn is_plain_not_in(&self, outer: &DFSchema) -> Result<bool> {
        Ok(match &self.kind {
            Kind::Any {
                expr,
                op: Operator::Eq,
                is_opposite: false,
            } => {
                self.is_negated
                    && !is_within(expr)
                    && !refers(expr, None)?
                    && !expr.is_volatile()
                    && super::is_about(expr, outer)?
                    && !depends(&self.plan, None)?
            }
            _ => false,
        })
    }

    /// As DataFusion is to plan it.
    pub fn into_expr(self) -> Result<Expr> {
        let is_negated = self.is_negated;
        let Kind::Any { expr, .. } = self.kind else {
            return Ok(Expr::Exists(Exists::new(subquery(self.plan), is_negated)));
        };
        let (qualifier, field) = self.plan.schema().qualified_field(0);
        let kind = looked_up(field.data_type());
        if kind == *field.data_type() {
            let within = InSubquery::new(Box::new(expr), subquery(self.plan), is_negated);
            return Ok(Expr::InSubquery(within));
        }
        let column = cast(Expr::Column(Column::from((qualifier, field))), kind.clone());
        let plan = LogicalPlanBuilder::from(self.plan)
            .project([column])?
            .build()?;
        let expr = Box::new(cast(expr, kind));
        Ok(Expr::InSubquery(InSubquery::new(
            expr,
            subquery(plan),
            is_negated,
        )))
    }

    /// The answer, where the form of the subquery gives it.
    pub fn known(&self) -> Result<Option<bool>> {
        Ok(match self.kind {
            Kind::Exists => is_never_empty(&self.plan).then_some(!self.is_negated),
            Kind::Any { .. } => None,
        })
    }

    /// The subquery whose rows decide about a row that is selected, and whether there must be none.
    pub fn selecting(self, outer: &DFSchema) -> Result<(LogicalPlan, bool)> {
        let Kind::Any {
            expr,
            op,
            is_opposite,
        } = self.kind
        else {
            return Ok((self.plan, self.is_negated));
        };
        let holds = comparison(&expr, op, is_opposite, &self.plan, outer)?;
        let condition = match self.is_negated {
            // NULL is not false.
            true => Expr::IsNotFalse(Box::new(holds)),
            false => holds,
        };
        Ok((filtered(vec![condition], self.plan)?, self.is_negated))
    }
}

/// The type in which a value is looked up: one that can be hashed and says itself which of its values are NULL, where
/// DataFusion looks for them.
fn looked_up(kind: &DataType) -> DataType {
    match kind {
        DataType::Null => DataType::Int64,
        DataType::Dictionary(_, values) => looked_up(values),
        DataType::RunEndEncoded(_, values) => looked_up(values.data_type()),
        DataType::ListView(item) => DataType::List(Arc::clone(item)),
        DataType::LargeListView(item) => DataType::LargeList(Arc::clone(item)),
        other => other.clone(),
    }
}

/// The plan without a LIMIT that leaves a row where there is one.
fn without_cut(plan: LogicalPlan) -> LogicalPlan {
    match plan {
        LogicalPlan::Limit(limit)
            if matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)))
                && matches!(
                    limit.get_fetch_type(),
                    Ok(FetchType::Literal(None | Some(1..)))
                ) =>
        {
            without_cut(Arc::unwrap_or_clone(limit.input))
        }
        other => other,
    }
}

/// How an expression about rows around compares with the subquery's column.
fn comparison(
    expr: &Expr,
    op: Operator,
    is_opposite: bool,
    plan: &LogicalPlan,
    outer: &DFSchema,
) -> Result<Expr> {
    let column = match plan.schema().fields().len() {
        1 => Expr::Column(Column::from(plan.schema().qualified_field(0))),
        count => return plan_err!("a subquery that is compared with has one column, not {count}"),
    };
    let op = match (is_opposite, op.negate()) {
        (false, _) => op,
        (true, Some(opposite)) => opposite,
        (true, None) => return plan_err!("{op} ALL is not supported"),
    };
    Ok(Expr::BinaryExpr(BinaryExpr {
        left: Box::new(as_outer(expr.clone(), outer)?),
        op,
        right: Box::new(column),
    }))
}

fn subquery(plan: LogicalPlan) -> Subquery {
    Subquery {
        outer_ref_columns: plan.all_out_ref_exprs(),
        subquery: Arc::new(plan),
        spans: Default::default(),
    }
}

impl Rewriter<'_> {
    /// The number of a plan's rows, or of those for which `expr` is not NULL, computed once.
    fn counted(self, plan: LogicalPlan, expr: Expr, input: &mut LogicalPlan) -> Result<Expr> {
        let count = count_udaf().call(vec![expr]);
        let plan = LogicalPlanBuilder::from(plan)
            .aggregate(Vec::<Expr>::new(), vec![count.alias("count")])?
            .build()?;
        self.scalar(plan, input)
    }

    /// The question about columns of `input` alone: what is compared may have subqueries itself.
    pub fn with_columns(
        self,
        quantified: Quantified,
        input: &mut LogicalPlan,
    ) -> Result<Quantified> {
        let Kind::Any {
            expr,
            op,
            is_opposite,
        } = quantified.kind
        else {
            return Ok(quantified);
        };
        let mut expr = self.value(expr, input, false)?;
        if expr.is_volatile() {
            expr = self.as_column(expr, input)?;
        }
        Ok(Quantified {
            kind: Kind::Any {
                expr,
                op,
                is_opposite,
            },
            ..quantified
        })
    }

    /// Whether there are rows, where that depends on nothing around: computed once.
    pub fn once(self, quantified: &Quantified, input: &mut LogicalPlan) -> Result<Option<Expr>> {
        if !matches!(quantified.kind, Kind::Exists) || depends(&quantified.plan, None)? {
            return Ok(None);
        }
        let first = LogicalPlanBuilder::from(quantified.plan.clone())
            .limit(0, Some(1))?
            .build()?;
        let count = self.counted(first, lit(1_i64), input)?;
        Ok(Some(match quantified.is_negated {
            true => count.eq(lit(0_i64)),
            false => count.gt(lit(0_i64)),
        }))
    }

    /// The answer for each row of `input`.
    pub fn truth(
        self,
        quantified: Quantified,
        input: &mut LogicalPlan,
        is_condition: bool,
    ) -> Result<Expr> {
        if let Some(truth) = quantified.known()? {
            return Ok(lit(truth));
        }
        let quantified = self.with_columns(quantified, input)?;
        if let Some(truth) = self.once(&quantified, input)? {
            return Ok(truth);
        }
        let negated = |mark: Expr, is_negated: bool| match is_negated {
            true => Expr::Not(Box::new(mark)),
            false => mark,
        };
        let Quantified {
            kind,
            plan,
            is_negated,
        } = quantified;
        let Kind::Any {
            expr,
            op,
            is_opposite,
        } = kind
        else {
            return Ok(negated(self.mark(plan, input)?, is_negated));
        };
        let holds = comparison(&expr, op, is_opposite, &plan, input.schema())?;
        let is_computed_once = !depends(&plan, None)?;
        let is_found = self.mark(filtered(vec![holds.clone()], plan.clone())?, input)?;
        if is_condition && !is_negated {
            return Ok(is_found);
        }
        let is_unknown = if is_computed_once && !refers(&expr, None)? {
            let column = Column::from(plan.schema().qualified_field(0));
            let rows = self.counted(plan.clone(), lit(1_i64), input)?;
            let known = self.counted(plan, Expr::Column(column), input)?;
            let is_any_unknown = rows.clone().gt(known);
            expr.is_null().and(rows.gt(lit(0_i64))).or(is_any_unknown)
        } else {
            let condition = Expr::IsNull(Box::new(holds));
            self.mark(filtered(vec![condition], plan)?, input)?
        };
        Ok(Expr::Case(Case::new(
            None,
            vec![
                (Box::new(is_found), Box::new(lit(!is_negated))),
                (
                    Box::new(is_unknown),
                    Box::new(Expr::Literal(ScalarValue::Boolean(None), None)),
                ),
            ],
            Some(Box::new(lit(is_negated))),
        )))
    }
}
