"""Finds the servers of the tests, and installs those that are missing, outside the clone.

``python -m tests.harness.install [--quiet] [--only minio,azurite]`` says a line for each, writes
``status.json`` beside them, and succeeds whatever is missing: which layer a missing server costs is
the business of the test run. The standard library is enough for it.

The folder is ``$FUSIONDELTA_SERVERS``, else ``fusiondelta/servers`` in the user's cache. Every
server has a folder named by its version, which is renamed into place when it is whole.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LONGEST_SECONDS = 3600
JAVA = 17  # what Spark 4 needs


class Unavailable(RuntimeError):
    """A server cannot be had here; the message says why, in one line."""


@dataclass(frozen=True)
class Package:
    """A server that a toolchain installs."""

    name: str
    version: str
    tool: str
    source: str
    program: str
    runtime: str | None = None

    @property
    def folder(self) -> Path:
        """Where it is when it is whole."""
        return home() / f"{self.name}@{self.version}"

    def installation(self, folder: Path) -> list[tuple[list[str], dict[str, str]]]:
        """The commands that install it there, and what each needs in the environment."""
        wanted = f"{self.source}@{self.version}"
        if self.tool == "go":
            return [(["go", "install", wanted], {"GOBIN": str(folder), "CGO_ENABLED": "0"})]
        # Its scripts are not needed: what has native parts ships them built.
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        return [(["npm", "install", *quiet, "--prefix", str(folder), wanted], {})]


class Spark(Package):
    """PySpark in `python`, and in `jars` what makes it know Delta.

    Not in .venv, which would be twice as large and get the packages that PySpark pins.
    """

    def installation(self, folder: Path) -> list[tuple[list[str], dict[str, str]]]:
        spark, delta = self.version.split("-delta-")
        (folder / "pom.xml").write_text(POM.format(name=self.source, version=delta), "utf-8")
        pip = Path(sys.executable).with_name("pip")
        into = ["--target", str(folder / "python")]
        return [
            (
                [str(pip), "install", "--quiet", *into, f"pyspark=={spark}"],
                {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            ),
            # Colours are escapes in what is said of a failure.
            (
                [
                    *("mvn", "dependency:copy-dependencies"),
                    *("--batch-mode", "--quiet", "-Dstyle.color=never"),
                ],
                {},
            ),
        ]


#: Scala comes with Spark.
POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>fusiondelta</groupId>
  <artifactId>servers</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>io.delta</groupId>
      <artifactId>{name}</artifactId>
      <version>{version}</version>
    </dependency>
  </dependencies>
  <build>
    <plugins>
      <plugin>
        <artifactId>maven-dependency-plugin</artifactId>
        <version>3.8.1</version>
        <configuration>
          <includeScope>runtime</includeScope>
          <excludeGroupIds>org.scala-lang</excludeGroupIds>
          <outputDirectory>jars</outputDirectory>
        </configuration>
      </plugin>
    </plugins>
  </build>
</project>
"""

PACKAGES = {
    package.name: package
    for package in (
        Package(
            "minio",
            "v0.0.0-20260212201848-7aac2a2c5b7c",
            "go",
            "github.com/minio/minio",
            "minio",
        ),
        Package(
            "fake-gcs-server",
            "v1.56.1",
            "go",
            "github.com/fsouza/fake-gcs-server",
            "fake-gcs-server",
        ),
        Package("azurite", "3.37.0", "npm", "azurite", "node_modules/.bin/azurite-blob", "node"),
        Package("dynalite", "4.0.0", "npm", "dynalite", "node_modules/.bin/dynalite", "node"),
        Spark(
            "spark",
            "4.0.1-delta-4.0.0",
            "mvn",
            "delta-spark_2.13",
            "python/pyspark/bin/spark-submit",
            "java",
        ),
    )
}
NAMES = ["ministack", *PACKAGES]


def home() -> Path:
    """The folder of all servers."""
    given = os.environ.get("FUSIONDELTA_SERVERS")
    if given:
        return Path(given).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "fusiondelta" / "servers"


def find(name: str) -> list[str]:
    """The beginning of the command that starts a server.

    Raises:
        Unavailable: It is not installed, or what runs it is not.
    """
    if name == "ministack":
        if importlib.util.find_spec("ministack") is None:
            raise Unavailable("ministack is not installed in this environment; run scripts/test")
        return [sys.executable, "-m", "ministack"]
    package = PACKAGES[name]
    _require_runtime(package)
    program = package.folder / package.program
    if not os.access(program, os.X_OK):
        raise Unavailable(_reason(package))
    return [str(program)]


def _require_runtime(package: Package) -> None:
    if package.runtime is None:
        return
    runtime = shutil.which(package.runtime)
    if runtime is None:
        raise Unavailable(f"{package.name} needs {package.runtime}, which is not on the path")
    if package.runtime != "java":
        return
    # Some systems have a java that only says where to get one.
    said = subprocess.run([runtime, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "((\d+)[\d.]*)', said.stderr)
    if version is None or int(version[2]) < JAVA:
        found = f"has version {version[1]}" if version else "does not run"
        raise Unavailable(f"{package.name} needs Java {JAVA} or later; the one on the path {found}")


def _reason(package: Package) -> str:
    """Why it is not there, as far as the last installation tells."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        said = json.loads((home() / "status.json").read_text("utf-8"))[package.name]
        if said["state"] == "could not" and said["version"] == package.version:
            return f"{package.name} could not be installed: {said['detail']}"
    return f"{package.name} is not installed; run scripts/servers"


def obtain(name: str) -> tuple[str, str]:
    """Find a server or install it: a state (found, installed, could not) and where or why."""
    with contextlib.suppress(Unavailable):
        return "found", find(name)[-1]
    if name == "ministack":
        return "could not", "it comes with the dependency group 'test'"
    package = PACKAGES[name]
    if shutil.which(package.tool) is None:
        return "could not", f"{package.tool} is not on the path"
    try:
        _require_runtime(package)
        with _locked(package):
            # Another run may have done it while this one waited.
            if not package.folder.exists():
                _install(package)
        return "installed", find(name)[-1]
    except Unavailable as why:
        return "could not", str(why)


@contextlib.contextmanager
def _locked(package: Package) -> Iterator[None]:
    home().mkdir(parents=True, exist_ok=True)
    with (home() / f"{package.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(package: Package) -> None:
    part = home() / f"{package.name}.part"
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    part.mkdir()
    for command, extra in package.installation(part):
        _run(package, command, extra, part)
    if not (part / package.program).exists():
        raise Unavailable(f"{package.tool} made no {package.program}")
    part.rename(package.folder)


def _run(package: Package, command: list[str], extra: dict[str, str], part: Path) -> None:
    words = f"{Path(command[0]).name} {command[1]}"
    try:
        done = subprocess.run(
            command,
            cwd=part,
            env={**os.environ, **extra},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise Unavailable(f"{words} took longer than {LONGEST_SECONDS} s") from late
    except OSError as error:
        raise Unavailable(f"{words} did not start: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        # Where errors are marked, advice follows them.
        marked = re.findall(r"^\[?ERROR\b.*", f"{done.stderr}\n{done.stdout}", re.M)
        raise Unavailable(f"{words} failed: {(marked or said[-1:])[0]}")


def main(arguments: list[str]) -> int:
    """Obtain the servers asked for and say how each went."""
    parser = argparse.ArgumentParser(prog="servers", description=__doc__.splitlines()[0])
    parser.add_argument("--only", help=f"names with commas, of {', '.join(NAMES)}")
    parser.add_argument("--quiet", action="store_true", help="say nothing of what is there already")
    options = parser.parse_args(arguments)
    names = options.only.split(",") if options.only else NAMES
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"no such server: {', '.join(unknown)}; there are {', '.join(NAMES)}")

    status = {}
    for name in names:
        began = time.monotonic()
        if name in PACKAGES and not PACKAGES[name].folder.exists():
            print(f"servers: getting {name}, which can take minutes, once", flush=True)
        state, detail = obtain(name)
        took = f" in {time.monotonic() - began:.0f} s" if state == "installed" else ""
        if state != "found" or not options.quiet:
            print(f"servers: {name} {state}{took}: {detail}", flush=True)
        version = PACKAGES[name].version if name in PACKAGES else None
        status[name] = {"state": state, "detail": detail, "version": version}
    _write(status)
    return 0


def _write(status: dict[str, dict[str, str | None]]) -> None:
    """Add to what is known of the servers; a reader sees the old file or the new one."""
    home().mkdir(parents=True, exist_ok=True)
    file = home() / "status.json"
    known = {}
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(file.read_text("utf-8"))
    fresh = home() / f"status.{os.getpid()}.json"
    fresh.write_text(json.dumps({**known, **status}, indent=2) + "\n", "utf-8")
    fresh.replace(file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
