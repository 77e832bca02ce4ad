"""When a failed commit is tried again."""

from fusiondelta.profiles import RetryPolicy

__all__ = ["RetryPolicy"]
