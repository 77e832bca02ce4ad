"""DataFusion contexts: how they are made, lent, and guarded."""

from fusiondelta.sessions._functions import ArrowFunction
from fusiondelta.sessions._gate import check_statement, parse
from fusiondelta.sessions._parameters import as_arrays, bind, bind_texts
from fusiondelta.sessions._pool import ContextPool, Lease
from fusiondelta.sessions._subqueries import not_carried
from fusiondelta.sessions._upstream import translate

__all__ = [
    "ArrowFunction",
    "ContextPool",
    "Lease",
    "as_arrays",
    "bind",
    "bind_texts",
    "check_statement",
    "not_carried",
    "parse",
    "translate",
]
