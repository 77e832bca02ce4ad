"""The pytest plugin, in suites of their own: what it loads, what it writes, what fixtures give."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plan_regression.md"
HEAVY = ["pyarrow", "datafusion", "deltalake", "opentelemetry", "click", "polars", "pandas"]

OPTIONS = ["-p", "fusiondelta.testing.plugin", "-p", "no:cacheprovider", "--import-mode=importlib"]

#: A bundle without an extension.
BUNDLE = """
    from fusiondelta.account import PlanBundle
    from fusiondelta.testing import assert_plan

    def bundle(plan):
        return PlanBundle(
            sql="SELECT 1", parameters={}, logical_plan="", optimized_plan="EmptyRelation",
            physical_plan=plan, physical_tree="", physical_proto=None,
            physical_proto_missing="made by hand", settings={}, versions={}, snapshots={},
        )
"""

pytestmark = pytest.mark.integration


class Suite:
    """A folder of tests, run by a pytest of its own with the plugin and no other."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, name, *parts):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(textwrap.dedent, parts)), "utf-8")

    def run(self, *arguments, **environment):
        """Its exit code and its output."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "pytest", *OPTIONS, *arguments],
            cwd=self.folder,
            env={
                **{k: v for k, v in os.environ.items() if k != "FUSIONDELTA_UPDATE_GOLDEN"},
                # Its entry point would register it once more, by another name.
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def passes(self, *arguments, **environment):
        status, said = self.run(*arguments, **environment)
        assert status == 0, said
        return said

    def fails(self, *arguments, **environment):
        status, said = self.run(*arguments, **environment)
        assert status == 1, said
        return said


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")
    return Suite(tmp_path)


def test_it_comes_with_the_package():
    [found] = entry_points(group="pytest11", name="fusiondelta")
    assert found.value == "fusiondelta.testing.plugin"


def test_it_loads_nothing_large(suite):
    suite.write(
        "test_it.py",
        f"""
        import sys

        LOADED = set({HEAVY}) & set(sys.modules)

        def test_it(request):
            assert request.config.pluginmanager.hasplugin("fusiondelta.testing.plugin")
            assert LOADED == set()

        def test_the_engine_is_made_of_them(fusiondelta_engine):
            assert fusiondelta_engine.query("SELECT 1 AS one").to_pylist() == [{{"one": 1}}]
            assert "pyarrow" in sys.modules
        """,
    )
    assert "2 passed" in suite.passes()


def test_golden_plans_are_written_only_when_asked(suite):
    suite.write(
        "test_it.py",
        "import os",
        BUNDLE,
        """
        def test_it(golden_plan):
            assert_plan(bundle(os.environ["PLAN"]), golden_plan)
        """,
    )
    golden = suite.folder / "golden" / "test_it" / "test_it.txt"
    assert "there is no golden plan" in suite.fails(PLAN="EmptyExec")
    assert not golden.parent.exists()
    said = suite.passes("--fusiondelta-update", PLAN="EmptyExec")
    assert f"golden plan written: {golden}" in said
    assert "golden plan written" not in suite.passes(PLAN="EmptyExec")
    said = suite.fails(PLAN="PlaceholderRowExec")
    assert re.search(r"^E +-EmptyExec$", said, re.M)
    assert re.search(r"^E +\+PlaceholderRowExec$", said, re.M)
    assert "test_it.py:" in said, "the line of the test is shown, not that of the assertion"
    assert "_plans.py" not in said
    suite.passes(PLAN="PlaceholderRowExec", FUSIONDELTA_UPDATE_GOLDEN="1")
    suite.passes(PLAN="PlaceholderRowExec")
    assert [path.name for path in golden.parent.iterdir()] == ["test_it.txt"]


def test_every_test_has_a_golden_plan_of_its_own(suite):
    suite.write(
        "some/test_it.py",
        """
        import pytest

        def test_it(golden_plan):
            print("at", golden_plan)

        def test_it_a(golden_plan):
            print("at", golden_plan)

        @pytest.mark.parametrize("value", ["a", "a/b", "a b", "a_b", "_", "x" * 300])
        def test_each(golden_plan, value):
            print("at", golden_plan)
            golden_plan.parent.mkdir(parents=True, exist_ok=True)
            golden_plan.write_text("")

        class TestIt:
            def test_it(self, golden_plan):
                print("at", golden_plan)

            @pytest.mark.parametrize("value", ["a"])
            def test_it_each(self, golden_plan, value):
                print("at", golden_plan)
        """,
    )
    suite.write("some/test_other.py", "def test_it(golden_plan): print('at', golden_plan)")
    at = re.findall(r"^\.?at (.*)$", suite.passes("-s", "-q"), re.M)
    folder = suite.folder / "some" / "golden"
    names = [Path(one).relative_to(folder).as_posix() for one in at]
    assert len(set(names)) == len(names) == 11
    assert {
        "test_it/test_it.txt",
        "test_it/test_it_a.txt",
        "test_it/test_each-a.txt",
        "test_it/test_each-a_b.txt",
        "test_it/test_each-_.txt",
        "test_it/TestIt.test_it.txt",
        "test_it/TestIt.test_it_each-a.txt",
        "test_other/test_it.txt",
    } < set(names)


def test_a_fault_proxy_lasts_as_long_as_its_test(suite):
    suite.write(
        "test_it.py",
        """
        import http.client
        import socket
        from urllib.parse import urlsplit

        import pytest

        from fusiondelta.testing import Rule, Status

        used = []

        def test_it(fault_proxy):
            proxy = fault_proxy("http://127.0.0.1:1")
            proxy.add(Rule(Status(503), method="PUT"))
            there = http.client.HTTPConnection(urlsplit(proxy.endpoint).netloc)
            there.request("PUT", "/bucket/object", b"data")
            assert there.getresponse().status == 503
            there.close()
            assert [request.status for request in proxy.requests] == [503]
            used.append(urlsplit(proxy.endpoint).port)

        def test_it_is_gone():
            with pytest.raises(ConnectionError):
                socket.create_connection(("127.0.0.1", used[0]))
        """,
    )
    assert "2 passed" in suite.passes()


def test_two_writers_of_a_table(suite):
    suite.write(
        "test_it.py",
        """
        import pyarrow as pa
        import pytest

        import fusiondelta

        @pytest.fixture
        def uri(fusiondelta_engine, tmp_path):
            uri = str(tmp_path / "table")
            fusiondelta_engine.write_delta(uri, pa.table({"id": [1, 2]}))
            return uri

        def test_one_loses(two_writers, uri):
            first, second = two_writers(uri)
            no_retry = fusiondelta.RetryPolicy(attempts=1)
            held = first.hold(lambda engine: engine.delete(uri, "id = 1", retry=no_retry))
            second.engine.delete(uri, "id = 1")
            with pytest.raises(fusiondelta.CommitConflict):
                held.result()

        def test_nobody_asks(two_writers, uri):
            first, second = two_writers(uri, engine=fusiondelta.FusionDeltaEngine, patience=20)
            no_retry = fusiondelta.RetryPolicy(attempts=1)
            first.hold(lambda engine: engine.delete(uri, "id = 1", retry=no_retry))
            second.engine.delete(uri, "id = 1")
        """,
    )
    said = suite.fails()
    assert "2 passed, 1 error" in said
    assert "ERROR test_it.py::test_nobody_asks - fusiondelta.errors.CommitConflict" in said


def test_the_suite_of_the_page_passes_and_fails_as_it_says(suite):
    """The example of the documentation, whose failure is the one it shows."""
    text = PAGE.read_text("utf-8")
    [example] = re.findall(r"^```py\n# tests/(test_\w+\.py)\n(.*?)^```$", text, re.M | re.S)
    suite.write(example[0], example[1])
    assert "there is no golden plan" in suite.fails()
    suite.passes("--fusiondelta-update")
    suite.passes()
    changed = example[1].replace("WHERE id >= 3000", "WHERE abs(id) >= 3000")
    assert changed != example[1]
    suite.write(example[0], changed)
    said = suite.fails()
    assert "more was read of 'sale' than may be:" in said
    assert "the plan is not the one in" in said
