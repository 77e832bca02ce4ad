"""Writing Delta tables: what is asked, the data, and what was committed."""

from fusiondelta.writes._ingest import WriteInput, as_input
from fusiondelta.writes._result import WriteResult
from fusiondelta.writes._run import TableWriter
from fusiondelta.writes._spec import WriterProperties, WriteSpec

__all__ = ["TableWriter", "WriteInput", "WriteResult", "WriteSpec", "WriterProperties", "as_input"]
