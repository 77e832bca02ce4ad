"""The commands that try out what is there, and what tables are, without an engine."""

from __future__ import annotations

import json

import pytest

import fusiondelta
from fusiondelta.account._doctor import DoctorReport
from fusiondelta.errors import ConfigurationError
from fusiondelta.storage import ProbeCheck
from tests.unit.cli_fakes import HOSTILE, FakeEngine, runner

pytestmark = pytest.mark.unit


@pytest.fixture
def run(monkeypatch):
    return runner(monkeypatch)


def check(name, status, detail, fix=""):
    return ProbeCheck(name, status, 0.25, detail, fix)


def test_doctor_prints_its_checks_and_fails_with_them(run):
    engine = FakeEngine()
    checks = (check("versions", "pass", "all fit"), check("t", "skipped", "why"))
    engine.report = DoctorReport(checks)
    result = run(engine, "doctor", "/a", "/b")
    assert (result.exit_code, result.stdout) == (0, f"{checks[0]}\n{checks[1]}\n")
    assert engine.asked == ["/a", "/b"]
    assert engine.closed == 1
    engine.report = DoctorReport((check("disk", "fail", HOSTILE, "buy one"),))
    result = run(engine, "doctor")
    assert result.exit_code == 1
    assert all(line.isprintable() for line in result.stdout.split("\n"))
    result = run(engine, "doctor", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "name": "disk",
        "status": "fail",
        "seconds": 0.25,
        "detail": HOSTILE,
        "fix": "buy one",
    }


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (ConfigurationError("datafusion 54\nis too old"), ""),
        (ImportError("no fusiondelta._native"), "install fusiondelta again"),
    ],
)
def test_doctor_says_why_there_is_no_engine(run, error, fix):
    class NoEngine(FakeEngine):
        def __call__(self, *_, **__):
            raise error

    result = run(NoEngine(), "doctor", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["name"], told["status"]) == ("engine", "fail")
    assert (told["detail"], told["fix"]) == (str(error), fix)
    result = run(NoEngine(), "doctor")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.startswith("fail    engine")


def test_history_and_detail(run):
    table = run(FakeEngine(), "history", "/t").stdout
    assert '1970-01-01T00:00:00+00:00  WRITE      {"a": 1}' in table
    lines = run(FakeEngine(), "history", "/t", "--limit", "1", "--json").stdout.splitlines()
    assert [json.loads(line)["version"] for line in lines] == [1]
    facts = run(FakeEngine(), "detail", "/t", "--version", "4", "--json").stdout
    assert json.loads(facts) == {"as_of": 4, "schema": {"id": "long"}, "partition_columns": []}
    assert '{"id": "long"}' in run(FakeEngine(), "detail", "/t").stdout


def test_versions_names_what_the_package_stands_on(run):
    result = run(FakeEngine(), "versions")
    assert result.exit_code == 0, result.output
    named = {line.split()[0] for line in result.stdout.splitlines()}
    assert named >= {"python", "fusiondelta", "datafusion", "deltalake", "pyarrow"}
    told = json.loads(run(FakeEngine(), "versions", "--json").stdout)
    assert {*told} >= {"python", "fusiondelta", "native"} or "native fusiondelta" in told


def test_every_command_explains_itself(run):
    names = [*fusiondelta.cli.cli.commands]
    assert len(names) >= 16
    for name in names:
        result = run(FakeEngine(), name, "--help")
        assert result.exit_code == 0
        assert len(result.stdout.splitlines()) > 4
