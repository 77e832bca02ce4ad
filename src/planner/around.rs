//! Aggregate and window functions with something done around what they compute.

use std::any::Any;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, WindowFunctionParams,
};
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, ExpressionArgs, PartitionEvaluatorArgs,
    StateFieldsArgs, WindowFunctionSimplification, WindowUDFFieldArgs,
};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::window_state::WindowAggState;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, Expr, GroupsAccumulator,
    LimitEffect, Operator, PartitionEvaluator, ReversedUDAF, ReversedUDWF, SetMonotonicity,
    Signature, StatisticsArgs, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr_common::physical_expr::PhysicalExpr;

use super::as_inner::as_inner;
use super::sliding_frames;

/// What is done around a function.
pub trait Around: Debug + Send + Sync {
    /// Around what it computes for one group or partition, values of type `gives` where that is known; nothing
    /// where nothing is to be done.
    fn begin(&self, gives: Option<&DataType>) -> Option<Box<dyn Computation>>;
}

/// What is done around each step of a computation.
pub trait Computation: Debug + Send + Sync {
    /// Before it; what is given is dropped after it.
    fn before(&self) -> Result<Option<Box<dyn Any>>> {
        Ok(None)
    }

    /// After it has taken rows in.
    fn taken(&mut self, _: usize) {}

    /// The value that it gives, in another form.
    fn value(&mut self, value: ScalarValue) -> Result<ScalarValue> {
        Ok(value)
    }

    /// The values that it gives, in another form.
    fn column(&mut self, column: ArrayRef) -> Result<ArrayRef> {
        Ok(column)
    }
}

/// The aggregate, with that done around it.
pub fn aggregate(inner: &Arc<AggregateUDF>, around: &Arc<dyn Around>) -> Arc<AggregateUDF> {
    let made = Aggregate {
        inner: Arc::clone(inner),
        around: Arc::clone(around),
    };
    Arc::new(AggregateUDF::from(made))
}

/// The window function, with that done around it.
pub fn window(inner: &Arc<WindowUDF>, around: &Arc<dyn Around>) -> Arc<WindowUDF> {
    let made = Window {
        inner: Arc::clone(inner),
        around: Arc::clone(around),
    };
    Arc::new(WindowUDF::from(made))
}

macro_rules! is_its_inner {
    ($kind:ty) => {
        impl PartialEq for $kind {
            fn eq(&self, other: &Self) -> bool {
                self.inner == other.inner
            }
        }

        impl Eq for $kind {}

        impl Hash for $kind {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.inner.hash(state);
            }
        }
    };
}

#[derive(Debug)]
struct Aggregate {
    inner: Arc<AggregateUDF>,
    around: Arc<dyn Around>,
}

is_its_inner!(Aggregate);

impl Aggregate {
    fn begin(&self, arguments: &AccumulatorArgs) -> Option<Box<dyn Computation>> {
        self.around.begin(Some(arguments.return_field.data_type()))
    }
}

#[warn(
    clippy::missing_trait_methods,
    reason = "all but what is computed is the function's"
)]
impl AggregateUDFImpl for Aggregate {
    as_inner!();

    fn schema_name(&self, given: &AggregateFunctionParams) -> Result<String> {
        self.inner.schema_name(given)
    }

    fn human_display(&self, given: &AggregateFunctionParams) -> Result<String> {
        self.inner.human_display(given)
    }

    fn window_function_schema_name(&self, given: &WindowFunctionParams) -> Result<String> {
        self.inner.window_function_schema_name(given)
    }

    fn display_name(&self, given: &AggregateFunctionParams) -> Result<String> {
        self.inner.display_name(given)
    }

    fn window_function_display_name(&self, given: &WindowFunctionParams) -> Result<String> {
        self.inner.window_function_display_name(given)
    }

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(arguments)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let around = self.begin(&arguments);
        let inner = self.inner.accumulator(arguments)?;
        Ok(match around {
            Some(around) => Box::new(Computing { around, inner }),
            None => inner,
        })
    }

    fn create_sliding_accumulator(
        &self,
        arguments: AccumulatorArgs,
    ) -> Result<Box<dyn Accumulator>> {
        let around = self.begin(&arguments);
        let inner = sliding_frames::sliding(&self.inner, arguments)?;
        Ok(match around {
            Some(around) => Box::new(Computing { around, inner }),
            None => inner,
        })
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let around = self.begin(&arguments);
        let inner = self.inner.create_groups_accumulator(arguments)?;
        Ok(match around {
            Some(around) => Box::new(Computing { around, inner }),
            None => inner,
        })
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(arguments)
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(arguments)
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        is_sorted: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let inner = Arc::clone(self.inner.inner()).with_beneficial_ordering(is_sorted)?;
        Ok(inner.map(|inner| {
            Arc::new(Self {
                inner: Arc::new(AggregateUDF::new_from_shared_impl(inner)),
                around: Arc::clone(&self.around),
            }) as _
        }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.inner.simplify()
    }

    fn simplify_expr_op_literal(
        &self,
        function: &AggregateFunction,
        argument: &Expr,
        op: Operator,
        literal: &Expr,
        is_left: bool,
    ) -> Result<Option<Expr>> {
        self.inner
            .simplify_expr_op_literal(function, argument, op, literal, is_left)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.inner.reverse_udf() {
            ReversedUDAF::Reversed(inner) => {
                ReversedUDAF::Reversed(aggregate(&inner, &self.around))
            }
            other => other,
        }
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn value_from_stats(&self, statistics: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(statistics)
    }

    fn default_value(&self, kind: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(kind)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.supports_within_group_clause()
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(kind)
    }
}

#[derive(Debug)]
struct Window {
    inner: Arc<WindowUDF>,
    around: Arc<dyn Around>,
}

is_its_inner!(Window);

#[warn(
    clippy::missing_trait_methods,
    reason = "all but what is computed is the function's"
)]
impl WindowUDFImpl for Window {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn expressions(&self, arguments: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>> {
        self.inner.expressions(arguments)
    }

    fn partition_evaluator(
        &self,
        arguments: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        let inner = self.inner.partition_evaluator_factory(arguments)?;
        Ok(match self.around.begin(None) {
            Some(around) => Box::new(Computing { around, inner }),
            None => inner,
        })
    }

    fn simplify(&self) -> Option<WindowFunctionSimplification> {
        self.inner.simplify()
    }

    fn field(&self, arguments: WindowUDFFieldArgs) -> Result<FieldRef> {
        self.inner.field(arguments)
    }

    fn sort_options(&self) -> Option<SortOptions> {
        self.inner.sort_options()
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(kinds)
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        match self.inner.reverse_expr() {
            ReversedUDWF::Reversed(inner) => ReversedUDWF::Reversed(window(&inner, &self.around)),
            other => other,
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn limit_effect(&self, arguments: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        self.inner.inner().limit_effect(arguments)
    }
}

/// What computes, with that done around it.
#[derive(Debug)]
struct Computing<T: ?Sized> {
    around: Box<dyn Computation>,
    inner: Box<T>,
}

impl<T: ?Sized> Computing<T> {
    fn run<R>(&mut self, compute: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let before = self.around.before()?;
        let result = compute(&mut self.inner);
        drop(before);
        result
    }
}

#[warn(clippy::missing_trait_methods, reason = "as above")]
impl Accumulator for Computing<dyn Accumulator> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.around
            .taken(values.first().map_or(0, |column| column.len()));
        self.run(|inner| inner.update_batch(values))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.run(Accumulator::evaluate)?;
        self.around.value(value)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.run(Accumulator::state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.run(|inner| inner.merge_batch(states))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.run(|inner| inner.retract_batch(values))
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

#[warn(clippy::missing_trait_methods, reason = "as above")]
impl GroupsAccumulator for Computing<dyn GroupsAccumulator> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.run(|inner| inner.update_batch(values, groups, filter, count))
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let column = self.run(|inner| inner.evaluate(emit))?;
        self.around.column(column)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.run(|inner| inner.state(emit))
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.run(|inner| inner.merge_batch(states, groups, count))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

#[warn(clippy::missing_trait_methods, reason = "as above")]
impl PartitionEvaluator for Computing<dyn PartitionEvaluator> {
    fn memoize(&mut self, state: &mut WindowAggState) -> Result<()> {
        self.inner.memoize(state)
    }

    fn get_range(&self, row: usize, rows: usize) -> Result<Range<usize>> {
        self.inner.get_range(row, rows)
    }

    fn is_causal(&self) -> bool {
        self.inner.is_causal()
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let column = self.run(|inner| inner.evaluate_all(values, rows))?;
        self.around.column(column)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let value = self.run(|inner| inner.evaluate(values, range))?;
        self.around.value(value)
    }

    fn evaluate_all_with_rank(&self, rows: usize, ranks: &[Range<usize>]) -> Result<ArrayRef> {
        let before = self.around.before()?;
        let column = self.inner.evaluate_all_with_rank(rows, ranks);
        drop(before);
        column
    }

    fn supports_bounded_execution(&self) -> bool {
        self.inner.supports_bounded_execution()
    }

    fn uses_window_frame(&self) -> bool {
        self.inner.uses_window_frame()
    }

    fn include_rank(&self) -> bool {
        self.inner.include_rank()
    }
}
