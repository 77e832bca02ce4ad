"""Plans of eight kinds of query over Delta tables, as they are meant to be.

A plan that changed leaves ``golden/plans/<name>.received.txt`` beside the approved one; if the
change is meant, move it there and say in the change log what users will notice.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import pyarrow as pa
import pytest
from approvaltests import Options, verify
from approvaltests.core.namer import Namer
from approvaltests.core.reporter import Reporter

import fusiondelta

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "plans"
PROFILE = fusiondelta.EngineProfile(target_partitions=4, pool_size=4)
DAYS = 4
ROWS = 1000

QUERIES = {
    "filter": "SELECT id, amount FROM sale WHERE amount > 50 AND client = 7",
    "top_k": "SELECT id, amount FROM sale ORDER BY amount DESC, id LIMIT 5",
    "join": """
        SELECT sale.id, client.name FROM sale JOIN client ON sale.client = client.client
        WHERE client.region = 'north'
    """,
    "aggregate": "SELECT client, count(*) AS n, sum(amount) AS total FROM sale GROUP BY client",
    "partition_pruning": "SELECT id FROM sale WHERE day = 2",
    "limit": "SELECT id FROM sale LIMIT 3",
    "union": "SELECT id FROM sale WHERE day = 0 UNION ALL SELECT client FROM client",
    "window": "SELECT id, row_number() OVER (PARTITION BY day ORDER BY id) AS nth FROM sale",
}

pytestmark = pytest.mark.integration


class ShowDifference(Reporter):
    """Fails with the difference in the message; opens nothing."""

    def report(self, received_path: str, approved_path: str) -> bool:
        approved = Path(approved_path)
        before = approved.read_text("utf-8").splitlines() if approved.exists() else []
        after = Path(received_path).read_text("utf-8").splitlines()
        difference = difflib.unified_diff(before, after, approved_path, received_path, lineterm="")
        print(*difference, sep="\n")
        return True


class Golden(Namer):
    """``golden/plans/<name>.approved.txt``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def get_received_filename(self, base: str | None = None) -> str:
        return str(GOLDEN / f"{self.name}.received.txt")

    def get_approved_filename(self, base: str | None = None) -> str:
        return str(GOLDEN / f"{self.name}.approved.txt")


def make_tables(folder: Path) -> dict[str, str]:
    """A table in four partitions and a small one, the same each time."""
    sources = {"sale": str(folder / "sale"), "client": str(folder / "client")}
    day = range(ROWS)
    with fusiondelta.FusionDeltaEngine(PROFILE) as engine:
        for n in range(DAYS):
            data = {
                "id": pa.array([n * ROWS + i for i in day], pa.int64()),
                "client": pa.array([i % 100 for i in day], pa.int64()),
                "amount": pa.array([float(i % 97) for i in day], pa.float64()),
                "day": pa.array([n] * ROWS, pa.int32()),
            }
            engine.write_delta(sources["sale"], pa.table(data), partition_by="day")
        data = {
            "client": pa.array(range(100), pa.int64()),
            "name": [f"client {i}" for i in range(100)],
            "region": [("north", "south", "east", "west")[i % 4] for i in range(100)],
        }
        engine.write_delta(sources["client"], pa.table(data))
    return sources


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return make_tables(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def engine():
    with fusiondelta.FusionDeltaEngine(PROFILE) as engine:
        yield engine


@pytest.mark.parametrize("name", QUERIES)
def test_plan_is_the_golden_one(engine, sources, name):
    with engine.query(QUERIES[name], sources=sources) as result:
        text = f"{' '.join(QUERIES[name].split())}\n\n{result.plan.normalized()}"
    verify(text, options=Options().with_reporter(ShowDifference()).with_namer(Golden(name)))


def test_every_golden_plan_has_a_query():
    assert {path.name.split(".")[0] for path in GOLDEN.glob("*.approved.txt")} == set(QUERIES)


@pytest.mark.parametrize("name", QUERIES)
def test_another_folder_gives_the_same_plan(engine, sources, name, tmp_path):
    other = make_tables(tmp_path / "another folder")
    with (
        engine.query(QUERIES[name], sources=sources) as one,
        engine.query(QUERIES[name], sources=other) as two,
    ):
        assert one.plan.normalized() == two.plan.normalized()
        assert one.plan.diff(two.plan)["plan"] == []
        assert "/" not in one.plan.normalized()


def test_another_version_gives_the_same_plan(engine, tmp_path):
    sources = make_tables(tmp_path)
    sql = QUERIES["filter"]
    with engine.query(sql, sources=sources) as one:
        before = one.plan
    with fusiondelta.FusionDeltaEngine(PROFILE) as writer:
        writer.set_properties(
            sources["sale"], {"delta.enableChangeDataFeed": "true"}, allow_metadata_change=True
        )
    with engine.query(sql, sources=sources) as two:
        after = two.plan
    assert before.diff(after)["snapshots"]
    assert after.normalized() == before.normalized()
