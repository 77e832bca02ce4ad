//! What plan nodes that pass the rows of one Parquet scan on have in common.

/// Methods of `ExecutionPlan` for a node with its scan in `input`, and `with`, which makes it anew over another
/// one: rows, limits and filters are the scan's, but for what statistics cannot tell of floats, and each NaN has
/// one form.
macro_rules! passes_on {
    () => {
        crate::planner::one_input::one_row_each!();

        fn properties(&self) -> &std::sync::Arc<datafusion::physical_plan::PlanProperties> {
            self.input.properties()
        }

        fn execute(
            &self,
            partition: usize,
            context: std::sync::Arc<datafusion::execution::TaskContext>,
        ) -> datafusion::common::Result<datafusion::execution::SendableRecordBatchStream> {
            crate::planner::floats::canonical::stream(self.input.execute(partition, context)?)
        }

        fn supports_limit_pushdown(&self) -> bool {
            // What reads no file counts rows, and takes no limit though it says so.
            let takes_none =
                self.input.children().is_empty() && self.input.with_fetch(Some(1)).is_none();
            self.input.supports_limit_pushdown() && !takes_none
        }

        fn with_fetch(
            &self,
            limit: Option<usize>,
        ) -> Option<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            Some(self.with(self.input.with_fetch(limit)?))
        }

        fn fetch(&self) -> Option<usize> {
            self.input.fetch()
        }

        fn gather_filters_for_pushdown(
            &self,
            _: datafusion::physical_plan::filter_pushdown::FilterPushdownPhase,
            parent_filters: Vec<std::sync::Arc<dyn datafusion::physical_expr::PhysicalExpr>>,
            _: &datafusion::common::config::ConfigOptions,
        ) -> datafusion::common::Result<
            datafusion::physical_plan::filter_pushdown::FilterDescription,
        > {
            use datafusion::physical_plan::filter_pushdown::{
                ChildFilterDescription, FilterDescription,
            };
            // Statistics of row groups and pages know no NaN, which is larger than every other number.
            let exact = crate::scan::positions::exact_columns(&self.schema());
            let child = ChildFilterDescription::from_child_with_allowed_indices(
                &parent_filters,
                exact,
                &self.input,
            )?;
            Ok(FilterDescription::new().with_child(child))
        }
    };
}

pub(crate) use passes_on;
