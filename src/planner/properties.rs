//! What operators say of their rows: which columns are constant, equal or sorted.
//!
//! Sorts that are not needed by what is said are left out, and DataFusion has some operators say too much:
//!
//! - an outer join says what is so on the side that may be missing: a column that is constant there, or equal to
//!   another one, is neither where NULL takes its place;
//! - a join says that the order of one side goes on within that of the other, which is not so where keys come
//!   twice (apache/datafusion#25052);
//! - an aggregate with several grouping sets says that a key is constant, which is NULL in its totals.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::equivalence::{
    EquivalenceProperties, ProjectionMapping, join_equivalence_properties,
};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::utils::build_join_schema;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};

use super::one_input::{one_input, same_rows};

/// Puts a node above each operator that may say too much, before anything goes by it.
#[derive(Debug)]
pub struct SoundProperties;

impl PhysicalOptimizerRule for SoundProperties {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // Set where DataFusion has found fault with its own plan.
        let is_cautious = config.optimizer.skip_failed_rules;
        plan.transform_up(|node| {
            let says_too_much = match Join::of(node.as_ref()) {
                Some(join) => is_cautious || join.says_too_much(),
                None => has_grouping_sets(node.as_ref()) && says_any(&node),
            };
            Ok(match says_too_much {
                true => Transformed::yes(Properties::over(node)),
                false => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "SoundProperties"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn says_any(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let properties = plan.equivalence_properties();
    properties.eq_group().iter().next().is_some() || plan.output_ordering().is_some()
}

fn has_grouping_sets(plan: &dyn ExecutionPlan) -> bool {
    plan.downcast_ref::<AggregateExec>()
        .is_some_and(|aggregate| !aggregate.group_expr().is_single())
}

struct Join<'a> {
    left: &'a Arc<dyn ExecutionPlan>,
    right: &'a Arc<dyn ExecutionPlan>,
    kind: JoinType,
    on: &'a [(PhysicalExprRef, PhysicalExprRef)],
    projection: Option<&'a [usize]>,
    keeps_order: bool,
}

impl<'a> Join<'a> {
    fn of(plan: &'a dyn ExecutionPlan) -> Option<Self> {
        let keeps_order = plan.maintains_input_order().contains(&true);
        if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            return Some(Self {
                left: join.left(),
                right: join.right(),
                kind: *join.join_type(),
                on: join.on(),
                projection: join.projection.as_deref(),
                keeps_order,
            });
        }
        if let Some(join) = plan.downcast_ref::<SortMergeJoinExec>() {
            return Some(Self {
                left: join.left(),
                right: join.right(),
                kind: join.join_type(),
                on: join.on(),
                projection: None,
                keeps_order,
            });
        }
        if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
            return Some(Self {
                left: join.left(),
                right: join.right(),
                kind: *join.join_type(),
                on: &[],
                projection: join.projection().as_deref(),
                keeps_order,
            });
        }
        let join = plan.downcast_ref::<CrossJoinExec>()?;
        Some(Self {
            left: join.left(),
            right: join.right(),
            kind: JoinType::Inner,
            on: &[],
            projection: None,
            keeps_order,
        })
    }

    fn says_too_much(&self) -> bool {
        let missing = match self.kind {
            JoinType::Left => says_any(self.right),
            JoinType::Right => says_any(self.left),
            JoinType::Full => says_any(self.left) || says_any(self.right),
            _ => false,
        };
        let joins_orders = self.keeps_order
            && matches!(
                self.kind,
                JoinType::Inner | JoinType::Left | JoinType::Right
            )
            // Mostly a table.
            && may_have_order(self.right)
            && may_have_order(self.left);
        missing || joins_orders
    }

    /// What is so of its rows, but for their order.
    fn properties(&self) -> Result<EquivalenceProperties> {
        let nothing = |side: &Arc<dyn ExecutionPlan>| EquivalenceProperties::new(side.schema());
        let all = |side: &Arc<dyn ExecutionPlan>| side.equivalence_properties().clone();
        let (left, right) = match self.kind {
            JoinType::Left => (all(self.left), nothing(self.right)),
            JoinType::Right => (nothing(self.left), all(self.right)),
            JoinType::Full => (nothing(self.left), nothing(self.right)),
            _ => (all(self.left), all(self.right)),
        };
        let (schema, _) = build_join_schema(&self.left.schema(), &self.right.schema(), &self.kind);
        let schema = Arc::new(schema);
        let of_all = join_equivalence_properties(
            left,
            right,
            &self.kind,
            Arc::clone(&schema),
            &[false, false],
            None,
            self.on,
        )?;
        let Some(projection) = self.projection else {
            return Ok(of_all);
        };
        let mapping = ProjectionMapping::from_indices(projection, &schema)?;
        let projected = Arc::new(schema.project(projection)?);
        Ok(of_all.project(&mapping, projected))
    }
}

/// Whether rows have an order, or will have one once sorts are put in.
fn may_have_order(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.output_ordering().is_some()
        || plan.downcast_ref::<SortMergeJoinExec>().is_some()
        || plan.downcast_ref::<BoundedWindowAggExec>().is_some()
        || plan.downcast_ref::<WindowAggExec>().is_some()
        || plan.children().into_iter().any(may_have_order)
}

/// An operator that says what is so of its rows, and nothing of their order.
#[derive(Debug)]
pub struct Properties {
    pub input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl Properties {
    fn over(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        // Nothing is known of groups.
        let sound = Join::of(input.as_ref()).and_then(|join| join.properties().ok());
        let sound = sound.unwrap_or_else(|| EquivalenceProperties::new(input.schema()));
        Self::saying(sound, input)
    }

    fn saying(
        sound: EquivalenceProperties,
        input: Arc<dyn ExecutionPlan>,
    ) -> Arc<dyn ExecutionPlan> {
        let properties = input.properties().as_ref().clone();
        Arc::new(Self {
            properties: Arc::new(properties.with_eq_properties(sound)),
            input,
        })
    }

    fn with(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let said = &self.properties.eq_properties;
        // However the rows come: they are the same.
        match Join::of(input.as_ref()).is_none() && *said.schema() == input.schema() {
            true => Self::saying(said.clone(), input),
            false => Self::over(input),
        }
    }
}

impl DisplayAs for Properties {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => Ok(()),
            _ => write!(f, "PropertiesExec"),
        }
    }
}

impl ExecutionPlan for Properties {
    fn name(&self) -> &'static str {
        "PropertiesExec"
    }

    one_input!("what corrects properties");

    same_rows!();

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
