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
        "servers: spark could not: mvn is not on the path",
    ):
        assert line in done.stdout


@pytest.fixture
def toolchains(home, tmp_path, monkeypatch):
    """A pip, a Maven and a Java of a few lines; gives what was called with what."""
    folder = tmp_path / "bin"
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    scripts = {
        "pip": 'at="$4/pyspark/bin"; mkdir -p "$at"; cp /bin/sh "$at/spark-submit"',
        "mvn": "grep -c 4.0.0 pom.xml; mkdir jars",
        "java": """echo 'openjdk version "21.0.1"' >&2""",
    }
    for name, body in scripts.items():
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $@" >>"{tmp_path}/calls"\n{body}\n', "utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return lambda: (tmp_path / "calls").read_text("utf-8").splitlines()


SPARK = install.PACKAGES["spark"]


def test_spark_comes_of_two_toolchains(toolchains):
    assert install.obtain("spark")[0] == "installed"
    assert install.obtain("spark")[0] == "found"
    (pip,) = (call for call in toolchains() if call.startswith("pip"))
    assert pip.endswith("/spark.part/python pyspark==4.0.1")
    (maven,) = (call for call in toolchains() if call.startswith("mvn"))
    assert maven.startswith("mvn dependency:copy-dependencies ")
    assert (SPARK.folder / "jars").is_dir()


def test_half_a_spark_is_none(toolchains, tmp_path):
    failing = "echo '[ERROR] no such jar'; echo '[ERROR] [Help 1] read this'; exit 1"
    (tmp_path / "bin" / "mvn").write_text(f"#!/bin/sh\n{failing}\n", "utf-8")
    said = ("could not", "mvn dependency:copy-dependencies failed: [ERROR] no such jar")
    assert install.obtain("spark") == said
    assert not SPARK.folder.exists()
    with pytest.raises(install.Unavailable, match="spark is not installed"):
        install.find("spark")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("""echo 'java version "1.8.0_402"' >&2""", "the one on the path has version 1.8.0"),
        ("echo get one at the shop >&2; exit 1", "the one on the path does not run"),
    ],
)
def test_a_java_that_will_not_do_is_told_before_anything_is_got(toolchains, tmp_path, body, says):
    (tmp_path / "bin" / "java").write_text(f"#!/bin/sh\n{body}\n", "utf-8")
    state, why = install.obtain("spark")
    assert state == "could not"
    assert why == f"spark needs Java 17 or later; {says}"
    assert not (tmp_path / "calls").exists()


def test_an_unknown_name_is_refused(home, capsys):
    with pytest.raises(SystemExit):
        install.main(["--only", "mino"])
    assert "no such server: mino; there are ministack, minio," in capsys.readouterr().err
