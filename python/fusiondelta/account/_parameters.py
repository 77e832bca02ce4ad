"""Bound values of a query in its manifest: as they were, types included."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fusiondelta.account._wording import clean, shortened
from fusiondelta.errors import ConfigurationError, QueryError

if TYPE_CHECKING:
    import pyarrow as pa


def encode_parameters(parameters: Mapping[str, pa.Scalar]) -> str | None:
    """Bound values for ``parameters_ipc`` of a manifest; None where there are none.

    Args:
        parameters: ``pyarrow.Scalar`` by placeholder name.
    """
    if not parameters:
        return None
    import pyarrow as pa

    batch = pa.record_batch(
        [pa.repeat(scalar, 1) for scalar in parameters.values()], names=list(parameters)
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return base64.b64encode(sink.getvalue()).decode("ascii")


def decode_parameters(query: Mapping[str, Any]) -> dict[str, pa.Scalar]:
    """Bound values of the ``query`` of a manifest, by placeholder name.

    Raises:
        ConfigurationError: They are broken.
        QueryError: The manifest has their text alone.
    """
    names, encoded = sorted(query["parameters"]), query["parameters_ipc"]
    if encoded is None:
        if names:
            raise QueryError(
                "the query cannot be replayed: the manifest has the values of its parameters "
                f"({', '.join('$' + clean(name) for name in names)}) as text only; run it again "
                "with engine.query(param_values=…)"
            )
        return {}
    import pyarrow as pa

    try:
        table = pa.ipc.open_stream(base64.b64decode(encoded, validate=True)).read_all()
        table.validate(full=True)
    except (binascii.Error, pa.ArrowException, OSError, ValueError) as error:
        raise ConfigurationError(
            f"query.parameters_ipc of the manifest holds no parameters: {shortened(error, 200)}"
        ) from error
    if table.num_rows != 1 or sorted(table.column_names) != names:
        raise ConfigurationError(
            f"query.parameters_ipc of the manifest has {table.num_rows} rows of "
            f"{[clean(name) for name in table.column_names]}, not one row of "
            f"{[clean(name) for name in names]}"
        )
    return {name: table[name][0] for name in names}
