"""Random queries give the same rows everywhere: a fixed seed and so many statements.

`scripts/differential --seconds 3600 --seed 7` goes on for hours, with other seeds.
"""

from __future__ import annotations

import math
import random
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.differential import forms
from tests.differential.campaign import Campaign, Report
from tests.differential.compare import rows_of, same
from tests.differential.engines import Engines
from tests.differential.features import ALL, chosen
from tests.differential.known import WITHOUT, is_known
from tests.differential.minimise import printed
from tests.differential.queries import statement
from tests.differential.schemas import database, plain
from tests.differential.tree import Query, reductions

pytestmark = pytest.mark.integration

STATEMENTS = 2_000
SEED = 3


def _said(report: Report) -> str:
    found = [printed(one) for one in report.findings.values()]
    return "\n\n".join([f"seed {SEED}: {report.line()}", *found])


@pytest.mark.slow
@pytest.mark.parametrize("features", ["without_subqueries", "all"])
def test_the_same_rows_everywhere(features):
    without = [*WITHOUT, *(["subqueries"] if features == "without_subqueries" else [])]
    campaign = Campaign(SEED, chosen((), without), tries=300, known=is_known)
    report = campaign.run(statements=STATEMENTS // 2)
    print(_said(report))
    assert report.findings == {}, _said(report)


# The oracle itself


def _database(seed):
    return database(random.Random(seed), ALL)


def _query(seed) -> Query:
    data = _database(seed)
    kinds = {name: data.columns(name) for name in data.tables}
    return statement(random.Random(seed), ALL, kinds)


def test_a_seed_says_all():
    texts = [[_query(seed).sql() for seed in range(50)] for _ in range(2)]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 45


def test_every_form_holds_the_rows_of_memory(tmp_path):
    engines = Engines()
    try:
        for seed in range(4):
            data = _database(seed)
            for form in forms.FORMS:
                sources = forms.written(form, data, tmp_path / str(seed), engines.get())
                for name, table in data.tables.items():
                    columns = ", ".join(table.column_names)
                    answer = engines.ask(f"SELECT {columns} FROM {name}", sources)
                    assert not answer.failed, answer.error
                    assert same(answer.rows, rows_of(plain(table))), (seed, form, name)
    finally:
        engines.close()


def test_what_is_smaller_is_shorter_in_the_end():
    query = _query(7)
    for _ in range(1000):
        shorter = [one for one in reductions(query) if len(one.sql()) < len(query.sql())]
        if not shorter:
            break
        query = shorter[0]
    assert len(query.sql()) < 60


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ([math.nan], [math.nan], True),
        ([-0.0], [0.0], True),
        ([1.0], [1.0 + 1e-12], True),
        ([1.0], [1.001], False),
        ([Decimal("1.50")], [Decimal("1.5")], True),
        ([1, 2], [2, 1], True),
        ([1, 1], [1, 2], False),
        ([None], [0], False),
        ([{"a": math.nan}], [{"a": math.nan}], True),
        ([[1, None]], [[1, None]], True),
        ([[]], [None], False),
    ],
)
def test_rows_are_compared_by_what_they_mean(one, other, is_same):
    ours, theirs = (rows_of(pa.table({"c": pa.array(values)})) for values in (one, other))
    assert same(ours, theirs) is is_same


def test_order_counts_where_there_is_one():
    assert not same([(1,), (2,)], [(2,), (1,)], ordered=True)


def test_features_have_names():
    assert "exists" not in chosen((), ["subqueries"])
    assert chosen(["joins"], ()) == {"joins"}
    with pytest.raises(ValueError, match="no such features"):
        chosen(["jions"])
