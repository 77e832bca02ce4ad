"""Settings under which a query has to give the same rows."""

from __future__ import annotations

_EXECUTION = "datafusion.execution."
_PARQUET = "datafusion.execution.parquet."
_OPTIMIZER = "datafusion.optimizer."

DEFAULT = "default"

_FLIPPED = {
    "allow_symmetric_joins_without_pruning": False,
    "enable_aggregate_dynamic_filter_pushdown": False,
    "enable_distinct_aggregation_soft_limit": False,
    "enable_dynamic_filter_pushdown": False,
    "enable_join_dynamic_filter_pushdown": False,
    "enable_leaf_expression_pushdown": False,
    "enable_physical_uncorrelated_scalar_subquery": False,
    "enable_round_robin_repartition": False,
    "enable_sort_pushdown": False,
    "enable_topk_aggregation": False,
    "enable_topk_dynamic_filter_pushdown": False,
    "enable_topk_repartition": False,
    "enable_unions_to_filter": True,
    "enable_window_limits": False,
    "enable_window_topn": True,
    "filter_null_join_keys": True,
    "join_reordering": False,
    "prefer_existing_sort": True,
    "prefer_existing_union": True,
    "prefer_hash_join": False,
    "repartition_aggregations": False,
    "repartition_file_scans": False,
    "repartition_joins": False,
    "repartition_sorts": False,
    "repartition_windows": False,
    "top_down_join_key_reordering": False,
    "use_statistics_registry": True,
}

SETTINGS: dict[str, dict[str, str | int | float]] = {
    DEFAULT: {},
    **{f"{name}={on}": {_OPTIMIZER + name: on} for name, on in _FLIPPED.items()},
    "target_partitions=1": {_EXECUTION + "target_partitions": 1},
    "batch_size=1": {_EXECUTION + "batch_size": 1},
    "batch_size=3": {_EXECUTION + "batch_size": 3},
    "batch_size=8192": {_EXECUTION + "batch_size": 8192},
    "collect_statistics=False": {_EXECUTION + "collect_statistics": False},
    "max_passes=1": {_OPTIMIZER + "max_passes": 1},
    "max_passes=10": {_OPTIMIZER + "max_passes": 10},
    "small_joins_partitioned": {
        _OPTIMIZER + "hash_join_single_partition_threshold": 0,
        _OPTIMIZER + "hash_join_single_partition_threshold_rows": 0,
        _OPTIMIZER + "repartition_file_min_size": 1,
    },
    "no_perfect_hash_join": {_EXECUTION + "perfect_hash_join_small_build_threshold": 0},
    "no_partial_aggregation": {
        _EXECUTION + "skip_partial_aggregation_probe_rows_threshold": 0,
        _EXECUTION + "skip_partial_aggregation_probe_ratio_threshold": 0.0,
        _EXECUTION + "batch_size": 2,
    },
    "keep_partitions": {_OPTIMIZER + "preserve_file_partitions": 1},
    "parquet.pruning=False": {_PARQUET + "pruning": False, _PARQUET + "enable_page_index": False},
    "parquet.pushdown_filters": {_PARQUET + "pushdown_filters": True},
    "parquet.reorder_filters": {
        _PARQUET + "pushdown_filters": True,
        _PARQUET + "reorder_filters": True,
    },
    "parquet.no_views": {_PARQUET + "schema_force_view_types": False},
    "split_by_statistics": {_EXECUTION + "split_file_groups_by_statistics": True},
}
