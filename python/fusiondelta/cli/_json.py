"""Values as JSON, and as text for people."""

from __future__ import annotations

import json
import math
from typing import Any

from fusiondelta.cli._text import plain_json


def text_of(value: Any) -> str:
    """A value as plain text: strings bare, all else as JSON has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    return json_line(value).rstrip("\n")


def json_line(value: Any) -> str:
    """A value as JSON in one line, with its line end; NaN and the infinities become null."""
    return plain_json(json.dumps(_finite(value), ensure_ascii=False, default=str)) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value
