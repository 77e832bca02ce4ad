"""The workflows: least rights, pinned actions, a pinned and locked build, scripts that exist."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))

SCRIPT = re.compile(r"(?<![\w/.-])((?:\./)?(?:scripts|\.ci)/[\w.-]+)")
PINNED = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40}$")
LOCKS = {"build", "publish"}  # `maturin sdist` has no --locked and takes it from pyproject.toml

pytestmark = pytest.mark.contracts


def maturin_pin() -> str:
    """The version that pyproject.toml builds with."""
    found = re.search(
        r'^requires = \["maturin==([\d.]+)"\]$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M
    )
    assert found, "pyproject.toml pins maturin exactly"
    return found.group(1)


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


def scripts_called(workflow: dict) -> set[str]:
    return {
        name.removeprefix("./")
        for step in steps(workflow)
        for name in SCRIPT.findall(step.get("run", ""))
    }


def problems(text: str) -> list[str]:
    """Everything that is wrong with one workflow, a line each."""
    workflow = yaml.safe_load(text)
    found = []
    if workflow.get("permissions") != {}:
        found.append("permissions are not {} at the top")
    publishing = [
        name
        for name, job in workflow["jobs"].items()
        if (job.get("permissions") or {}).get("id-token") == "write"
    ]
    if len(publishing) > 1:
        found.append(f"more than one job has an identity: {publishing}")
    concurrency = workflow.get("concurrency")
    if not isinstance(concurrency, dict) or "group" not in concurrency:
        found.append("no concurrency group")
    elif concurrency.get("cancel-in-progress") is bool(publishing):
        found.append("a newer run cancels an older one, except where something is published")
    for name, job in workflow["jobs"].items():
        if "uses" not in job and "timeout-minutes" not in job:
            found.append(f"job {name} has no timeout")
    for name in sorted(scripts_called(workflow)):
        if not (ROOT / name).is_file():
            found.append(f"{name} does not exist")
        elif not os.access(ROOT / name, os.X_OK):
            found.append(f"{name} is not executable")
    for step in steps(workflow):
        uses = step.get("uses")
        if uses is None:
            continue
        if not PINNED.match(uses):
            found.append(f"{uses} is not pinned by hash")
        elif not re.search(rf"uses: {re.escape(uses)} # v\d", text):
            found.append(f"{uses} does not say which version it is")
        if uses.startswith("PyO3/maturin-action@"):
            options = step.get("with", {})
            if options.get("maturin-version") != f"v{maturin_pin()}":
                found.append(f"maturin {options.get('maturin-version')} is not v{maturin_pin()}")
            arguments = options.get("args", "").split()
            if options.get("command", "build") in LOCKS and "--locked" not in arguments:
                found.append("maturin builds without --locked")
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_keeps_the_rules(path):
    assert problems(path.read_text("utf-8")) == []


def test_the_workflows_are_found():
    assert {path.name for path in WORKFLOWS} >= {"ci.yml", "wheels.yml", "release.yml"}
    called = set()
    for path in WORKFLOWS:
        called |= scripts_called(yaml.safe_load(path.read_text("utf-8")))
    assert called >= {"scripts/check", "scripts/test", "scripts/demo", "scripts/smoke"}


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("ci.yml", "permissions: {}", "permissions: write-all", "permissions are not {}"),
        ("ci.yml", "permissions: {}\n", "", "permissions are not {}"),
        ("ci.yml", "run: scripts/check", "run: scripts/chekc", "scripts/chekc does not exist"),
        ("ci.yml", "run: scripts/check", "run: scripts/_setup.sh", "is not executable"),
        ("ci.yml", "cancel-in-progress: true", "cancel-in-progress: false", "cancels an older"),
        ("ci.yml", "    timeout-minutes: 5\n", "", "job gate has no timeout"),
        ("wheels.yml", "--locked ", "", "without --locked"),
        ("wheels.yml", "maturin-version: v", "maturin-version: v9.", "maturin v9."),
        ("wheels.yml", "d3b # v1.51.0", "d3b", "does not say which version"),
        ("wheels.yml", "@e83996d129638aa358a18fbd1dfb82f0b0fb5d3b", "@v1", "not pinned by hash"),
        (
            "release.yml",
            "cancel-in-progress: false",
            "cancel-in-progress: true",
            "cancels an older",
        ),
        ("release.yml", "contents: read", "id-token: write", "more than one job has an identity"),
    ],
)
def test_a_planted_violation_is_found(name, old, new, says):
    text = (FOLDER / name).read_text("utf-8")
    assert old in text
    assert any(says in line for line in problems(text.replace(old, new)))


def test_release_publishes_by_identity_and_after_the_wheels():
    jobs = yaml.safe_load((FOLDER / "release.yml").read_text("utf-8"))["jobs"]
    publish = jobs["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["needs"] == "wheels"
    assert jobs["wheels"]["uses"] == "./.github/workflows/wheels.yml"
    assert "secrets" not in (FOLDER / "release.yml").read_text("utf-8")
