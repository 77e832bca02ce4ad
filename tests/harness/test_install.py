"""Installing servers: whole or not at all, once, and never in the way of the rest."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.harness import install

ROOT = Path(__file__).resolve().parents[2]
MINIO = install.PACKAGES["minio"]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.name == "nt", reason="scripts and locks of POSIX"),
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSIONDELTA_SERVERS", str(tmp_path / "servers"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (tmp_path / "bin").mkdir()
    return tmp_path / "servers"


@pytest.fixture
def go(home, tmp_path):
    """Makes a go that does what a few lines of sh say, and notes each call."""

    def make(body):
        program = tmp_path / "bin" / "go"
        program.write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/calls"\n{body}\n', "utf-8")
        program.chmod(0o755)
        return lambda: (tmp_path / "calls").read_text("utf-8").splitlines()

    return make


BUILD = 'sleep 0.2; printf "#!/bin/sh\\n" >"$GOBIN/minio" && chmod +x "$GOBIN/minio"'


def test_installed_once_and_found_after(home, go, capsys):
    calls = go(BUILD)
    assert install.main(["--only", "minio"]) == 0
    assert re.search(r"^servers: minio installed in \d+ s: /", capsys.readouterr().out, re.M)
    assert install.find("minio") == [str(MINIO.folder / "minio")]
    assert install.main(["--only", "minio", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert calls() == [f"install {MINIO.source}@{MINIO.version}"]
    assert json.loads((home / "status.json").read_text())["minio"]["state"] == "found"


def test_two_at_once_install_once(home, go):
    calls = go(BUILD)
    states = []
    runs = [
        threading.Thread(target=lambda: states.append(install.obtain("minio")[0])) for _ in "ab"
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert states == ["installed", "installed"]
    assert len(calls()) == 1


def test_a_killed_installation_is_not_taken_for_a_whole_one(home, go):
    part = home / "minio.part"
    part.mkdir(parents=True)
    (part / "minio").write_text("half a program", "utf-8")
    with pytest.raises(install.Unavailable, match="minio is not installed; run scripts/servers"):
        install.find("minio")
    go(BUILD)
    assert install.obtain("minio")[0] == "installed"
    assert (MINIO.folder / "minio").read_text("utf-8") == "#!/bin/sh\n"
    assert not part.exists()


def test_a_failed_installation_is_told_and_remembered(home, go, capsys):
    go("echo building >&2; echo no room >&2; exit 1")
    assert install.main(["--only", "minio"]) == 0
    assert "servers: minio could not: go install failed: no room" in capsys.readouterr().out
    with pytest.raises(install.Unavailable, match="could not be installed: go install failed: no"):
        install.find("minio")


def test_a_missing_toolchain_is_told_for_each_and_fails_nothing(home):
    done = subprocess.run(
        [sys.executable, "-m", "tests.harness.install"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(home.parent / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in (
        "servers: ministack found",
        "servers: minio could not: go is not on the path",
        "servers: azurite could not: npm is not on the path",
    ):
        assert line in done.stdout


def test_an_unknown_name_is_refused(home, capsys):
    with pytest.raises(SystemExit):
        install.main(["--only", "mino"])
    assert "no such server: mino; there are ministack, minio," in capsys.readouterr().err
