"""TPC-H: the 22 queries, the data, Polars versions of the queries, and how answers compare."""

from benchmarks.tpch.compare import difference, order_keys, unsorted_rows
from benchmarks.tpch.data import TABLES, generate, queries

__all__ = ["TABLES", "difference", "generate", "order_keys", "queries", "unsorted_rows"]
