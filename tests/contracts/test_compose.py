"""The compose files: loopback alone, images of one version, and scripts that exist."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docker").glob("compose.*.yml"))
SCRIPT = re.compile(r"\bscripts/[\w.-]+\b")
COMPOSE = re.compile(r"docker/compose\.\w+\.yml")
PINNED = re.compile(r"^[\w./-]+:(?!latest$|stable$|main$)[\w.-]*\d[\w.-]*$")

pytestmark = pytest.mark.contracts


def problems(text: str) -> list[str]:
    """Everything that is wrong with one compose file, a line each."""
    services = yaml.safe_load(text)["services"]
    found = []
    for name, service in services.items():
        if not PINNED.match(service.get("image", "")):
            found.append(f"{name}: the image is not pinned")
        if "healthcheck" not in service:
            found.append(f"{name}: no healthcheck, so that nothing can wait for it")
        if service.get("network_mode") == "host" or service.get("privileged"):
            found.append(f"{name}: has more of the host than ports")
        found += [
            f"{name}: {port} is not on loopback alone"
            for port in service.get("ports", [])
            if not str(port).startswith("127.0.0.1:")
        ]
    for script in SCRIPT.findall(text):
        if not os.access(ROOT / script, os.X_OK):
            found.append(f"{script} is not there, or not executable")
    return found


def test_the_files_are_found():
    assert {path.name for path in FILES} >= {"compose.minio.yml", "compose.localstack.yml"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_compose_file_keeps_the_rules(path):
    assert problems(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "name",
    [
        "it_up_minio.sh",
        "it_down_minio.sh",
        "it_up_localstack.sh",
        "it_down_localstack.sh",
        "it_seed_storage.sh",
    ],
)
def test_script_is_there_and_names_files_that_are(name):
    script = ROOT / "scripts" / name
    text = script.read_text("utf-8")
    assert os.access(script, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n")
    for named in [*COMPOSE.findall(text), *SCRIPT.findall(text)]:
        assert (ROOT / named).is_file(), named
    if name != "it_seed_storage.sh":
        assert COMPOSE.findall(text)


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("minio", "127.0.0.1:", "", "is not on loopback alone"),
        ("minio", "127.0.0.1:", "0.0.0.0:", "is not on loopback alone"),
        ("minio", "RELEASE.2025-09-07T16-13-09Z", "latest", "is not pinned"),
        ("localstack", ":4.9.2", "", "is not pinned"),
        ("localstack", "healthcheck:", "x-healthcheck:", "no healthcheck"),
        ("localstack", "it_up_localstack.sh", "it_up.sh", "is not there"),
    ],
)
def test_a_planted_violation_is_found(name, old, new, says):
    text = (ROOT / "docker" / f"compose.{name}.yml").read_text("utf-8")
    assert old in text
    assert any(says in line for line in problems(text.replace(old, new)))
