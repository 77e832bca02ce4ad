"""What calls give back."""

from fusiondelta.account import PlanBundle, RunManifest
from fusiondelta.queries import QueryResult
from fusiondelta.writes import WriteResult

__all__ = ["PlanBundle", "QueryResult", "RunManifest", "WriteResult"]
