"""``python -m tests.fuzz --statements 500 --seed 1``: asks until it is told to stop, or dies.

Each text is in ``--last`` before it is asked. Ends with code 1 where an error is none of ours.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import random
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from fusiondelta import EngineProfile, FusionDeltaEngine, FusionDeltaError
from fusiondelta._native import function_names
from tests.differential.features import ALL
from tests.differential.queries import statement
from tests.differential.schemas import database
from tests.fuzz.mutations import mutated

#: Batches that are read of a query; some have no end.
MOST_BATCHES = 20
SECONDS = 5.0
OF_ONE_DATABASE = 200

TYPED = pa.table(
    {
        "i": pa.array([1, None, -(2**63), 2**63 - 1], pa.int64()),
        "u": pa.array([1, None, 0, 2**64 - 1], pa.uint64()),
        "x": [1.5, None, float("nan"), float("inf")],
        "h": pa.array([1.5, None, float("nan"), -0.0], pa.float16()),
        "m": pa.array([Decimal("1.25"), None, Decimal("-9.99"), Decimal(0)], pa.decimal128(38, 2)),
        "s": ["a", None, "", "ß💥"],
        "b": pa.array([b"a", None, b"", b"\xff"], pa.binary()),
        "d": pa.array([0, None, -719162, 2932896], pa.date32()),
        "t": pa.array([0, None, -1, 2**62], pa.timestamp("ns")),
        "z": pa.array([0, None, -1, 2**60], pa.timestamp("us", "UTC")),
        "c": pa.array([0, None, 1, 86399999999], pa.time64("us")),
        "w": pa.array([dt.timedelta(1), None, dt.timedelta(0), dt.timedelta(-1)]),
        "l": pa.array([[1, None], None, [], [2]], pa.list_(pa.int64())),
        "r": pa.array([{"a": 1}, None, {"a": None}, {"a": 2}], pa.struct([("a", pa.int32())])),
        "y": pa.array(["p", None, "q", "p"]).dictionary_encode(),
        "f": [True, None, False, True],
    }
)
TEXTS = (Path(__file__).with_name("texts.sql")).read_text("utf-8").splitlines()


def main() -> int:
    """Ask, and count what comes back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--statements", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--last", type=Path, default=Path("last.sql"))
    given = parser.parse_args()
    until = None if given.seconds is None else time.monotonic() + given.seconds
    rng = random.Random(given.seed)
    functions = sorted({name for names in function_names().values() for name in names})
    outcomes: Counter[str] = Counter()
    profile = EngineProfile(target_partitions=2, memory_limit="128MiB")
    with FusionDeltaEngine(profile) as engine:
        for number in itertools.count():
            if number == given.statements or (until is not None and time.monotonic() > until):
                break
            if number % OF_ONE_DATABASE == 0:
                data = database(rng, ALL)
                kinds = {name: data.columns(name) for name in data.tables}
                made = [statement(rng, ALL, kinds).sql() for _ in range(40)]
                sources = {**data.tables, "t": TYPED}
            sql = mutated(rng, TEXTS if rng.random() < 0.8 else made, functions)
            given.last.write_text(sql, encoding="utf-8", errors="surrogatepass")
            try:
                with engine.query(sql, sources=sources, timeout=SECONDS) as result:
                    for _ in itertools.islice(result, MOST_BATCHES):
                        pass
                outcomes["rows"] += 1
            except FusionDeltaError as error:
                outcomes[type(error).__name__] += 1
                if error.kind.value == "internal":
                    outcomes["internal"] += 1
                    print(f"internal: {error}\n    {sql!r}")
            except Exception as error:
                print(f"{type(error).__name__}: {error}\n{sql!r}")
                return 1
    print(dict(outcomes.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
