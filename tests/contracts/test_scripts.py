"""The scripts: there, executable, readable by bash, strict, and free of paths of one machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    "scripts/build",
    "scripts/check",
    "scripts/demo",
    "scripts/differential",
    "scripts/fuzz",
    "scripts/it_down_localstack.sh",
    "scripts/it_down_minio.sh",
    "scripts/it_seed_storage.sh",
    "scripts/it_up_localstack.sh",
    "scripts/it_up_minio.sh",
    "scripts/look_at_profile",
    "scripts/release_check",
    "scripts/servers",
    "scripts/smoke",
    "scripts/test",
    "scripts/test_rust",
    ".ci/run",
]
SOURCED = ["scripts/_setup.sh"]
HOME_OF_SOMEBODY = re.compile(r"(?<![\w.}\"])/(?:home|root|Users)/")

pytestmark = [
    pytest.mark.contracts,
    pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts are for bash"),
]


def problems(path: Path) -> list[str]:
    """Everything that is wrong with one script, a line each."""
    text = path.read_text("utf-8")
    found = []
    parsed = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
    if parsed.returncode:
        found.append(f"bash -n: {parsed.stderr.strip()}")
    if not re.search(r"^set -euo pipefail$", text, re.M):
        found.append("no set -euo pipefail")
    if HOME_OF_SOMEBODY.search(text):
        found.append("a path of one machine")
    if path.suffix != ".sh":
        if not text.startswith("#!/usr/bin/env bash\n"):
            found.append("does not start with #!/usr/bin/env bash")
        if not os.access(path, os.X_OK):
            found.append("is not executable")
    return found


@pytest.mark.parametrize("name", COMMANDS + SOURCED)
def test_script_keeps_the_rules(name):
    assert problems(ROOT / name) == []


def test_every_script_is_in_the_list():
    here = {
        f"scripts/{path.name}"
        for path in (ROOT / "scripts").iterdir()
        if path.is_file() and path.suffix in ("", ".sh")
    }
    assert here <= {*COMMANDS, *SOURCED}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("#!/usr/bin/env bash\nset -euo pipefail\nif true; then\n", "bash -n"),
        ("#!/usr/bin/env bash\nset -e\n", "no set -euo pipefail"),
        ("#!/usr/bin/env bash\nset -euo pipefail\ncd /home/me/work\n", "a path of one machine"),
        ("#!/bin/sh\nset -euo pipefail\n", "does not start with"),
        ("#!/usr/bin/env bash\nset -euo pipefail\n", "is not executable"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, text, says):
    planted = tmp_path / "planted"
    planted.write_text(text, "utf-8")
    assert any(line.startswith(says) for line in problems(planted))


@pytest.mark.parametrize(
    ("tag", "changelog", "agrees"),
    [
        ("v1.2.3", "## [Unreleased]\n\n## [1.2.3] - 2030-01-01\n\n## [1.2.2] - 2029-01-01\n", True),
        ("v1.2.4", "## [1.2.3] - 2030-01-01\n", False),
        ("v1.2.3", "## [1.2.2] - 2029-01-01\n", False),
        ("v1.2.3", "## [Unreleased]\n", False),
    ],
)
def test_release_check_holds_tag_version_and_changelog_together(tmp_path, tag, changelog, agrees):
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(ROOT / "scripts" / "release_check", tmp_path / "scripts")
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "x"\nversion = "1.2.3"\n', "utf-8")
    (tmp_path / "CHANGELOG.md").write_text(changelog, "utf-8")
    done = subprocess.run([script, tag], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is agrees, done.stderr
