"""Queries: what is asked, the steps, and what comes back."""

from fusiondelta.queries._result import QueryResult
from fusiondelta.queries._run import QueryRunner
from fusiondelta.queries._spec import QuerySpec

__all__ = ["QueryResult", "QueryRunner", "QuerySpec"]
