"""What can be configured: frozen values that check themselves when made.

They hold no connection, open nothing and import neither pyarrow nor datafusion nor deltalake, so
that a configuration can be made, compared, hashed and pickled anywhere.
"""

from fusiondelta.profiles._cache import CacheProfile
from fusiondelta.profiles._engine import EngineProfile, MaterializeLimits
from fusiondelta.profiles._io import IoPolicy
from fusiondelta.profiles._policies import RetentionPolicy, RetryPolicy, TablePolicy
from fusiondelta.profiles._storage import StorageProfile
from fusiondelta.profiles._telemetry import TelemetryConfig

__all__ = [
    "CacheProfile",
    "EngineProfile",
    "IoPolicy",
    "MaterializeLimits",
    "RetentionPolicy",
    "RetryPolicy",
    "StorageProfile",
    "TablePolicy",
    "TelemetryConfig",
]
