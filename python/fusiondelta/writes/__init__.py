"""Changing Delta tables: what is asked, the data, and what was committed."""

from fusiondelta.writes._commit import Committer
from fusiondelta.writes._ingest import WriteInput, WriteSource, as_input
from fusiondelta.writes._look import SchemaPlan, TableCapabilities
from fusiondelta.writes._merge import TableMerge
from fusiondelta.writes._operations import TableOperations
from fusiondelta.writes._progress import WriteProgress
from fusiondelta.writes._result import CommitAttempt, CommitOutcome, WriteResult
from fusiondelta.writes._spec import CommitSpec, WriterProperties, WriteSpec
from fusiondelta.writes._statements import TableStatements
from fusiondelta.writes._upkeep import Holds, LogCleanup, TableUpkeep

__all__ = [
    "CommitAttempt",
    "CommitOutcome",
    "CommitSpec",
    "Committer",
    "Holds",
    "LogCleanup",
    "SchemaPlan",
    "TableCapabilities",
    "TableMerge",
    "TableOperations",
    "TableStatements",
    "TableUpkeep",
    "WriteInput",
    "WriteProgress",
    "WriteResult",
    "WriteSource",
    "WriteSpec",
    "WriterProperties",
    "as_input",
]
