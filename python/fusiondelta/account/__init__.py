"""The account of a query: plan bundle, request counts, run manifest."""

from fusiondelta.account._bundle import PlanBundle
from fusiondelta.account._instruments import observe_storage
from fusiondelta.account._io import QueryIo
from fusiondelta.account._manifest import RunManifest

__all__ = ["PlanBundle", "QueryIo", "RunManifest", "observe_storage"]
