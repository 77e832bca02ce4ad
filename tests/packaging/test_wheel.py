"""What users install: a wheel that works on its own, a source distribution that can be built."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(sys.prefix) / "bin" / "python"
MATURIN = Path(sys.prefix) / "bin" / "maturin"
BUILD_PRODUCTS = re.compile(
    r"\.(so|pyd|dylib|dll|pdb|o|a|rlib|whl|pyc)$|(^|/)(target|\.venv|__pycache__)/"
)

pytestmark = [
    pytest.mark.packaging,
    pytest.mark.slow,
    # A bare pytest may have to compile everything; after scripts/test there is nothing left to.
    pytest.mark.timeout(5400),
    pytest.mark.skipif(not MATURIN.exists(), reason="needs the environment of scripts/test"),
]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command says that has to succeed, under the settings of scripts/_setup.sh."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    environment = {
        **os.environ,
        "CARGO_TERM_COLOR": "never",
        "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR") or f"{cache}/fusiondelta/target",
        "PYO3_PYTHON": str(PYTHON),
        "VIRTUAL_ENV": sys.prefix,
    }
    environment.pop("CONDA_PREFIX", None)
    if sys.platform == "darwin":
        environment.setdefault("MACOSX_DEPLOYMENT_TARGET", "11.0")
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text("utf-8"), re.M)
    assert found
    return found.group(1)


#: What the package reads of itself, by its place in the wheel.
DATA = {
    path.relative_to(ROOT / "python").as_posix()
    for path in (ROOT / "python").rglob("*")
    if path.suffix in (".css", ".js", ".json")
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> tuple[Path, str]:
    """The wheel, and what maturin said while making it."""
    out = tmp_path_factory.mktemp("wheel")
    said = run(MATURIN, "build", "--release", "--locked", "--interpreter", PYTHON, "--out", out)
    (built,) = out.glob("*.whl")
    return built, said


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The source distribution, unpacked."""
    out = tmp_path_factory.mktemp("sdist")
    run(MATURIN, "sdist", "--out", out)
    (archive,) = out.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(out / "unpacked", filter="data")
    (unpacked,) = (out / "unpacked").iterdir()
    return unpacked


def test_wheel_is_for_every_python_from_3_10(wheel, record_property):
    built, said = wheel
    distribution, released, python, abi, platform = built.stem.split("-")
    record_property("wheel_tag", f"{python}-{abi}-{platform}")
    print(f"maturin tags the wheel {python}-{abi}-{platform}")
    assert (distribution, released) == ("fusiondelta", version())
    assert (python, abi) == ("cp310", "abi3")
    if sys.platform == "linux":
        assert re.match(r"(manylinux|musllinux|linux)_", platform), said


def test_wheel_shares_the_compiled_dependencies(wheel):
    _, said = wheel
    if os.environ.get("FUSIONDELTA_SETUP") != "1":
        pytest.skip("only scripts/test has built the extension just before")
    # What depends on the interpreter may be built anew: another clone may have used another.
    compiled = set(re.findall(r"Compiling (\S+)", said))
    assert compiled & {"datafusion", "deltalake-core", "object_store", "parquet", "tokio"} == set()


def test_wheel_holds_the_package_and_nothing_else(wheel):
    built, _ = wheel
    with zipfile.ZipFile(built) as packed:
        names = set(packed.namelist())
        metadata = packed.read(f"fusiondelta-{version()}.dist-info/METADATA").decode()
    assert {"fusiondelta/__init__.py", "fusiondelta/py.typed", "fusiondelta/_native.pyi"} <= names
    assert {"fusiondelta/account/page/profile.css", "fusiondelta/account/page/profile.js"} <= DATA
    assert names >= DATA
    assert len([name for name in names if re.match(r"fusiondelta/_native.*\.(so|pyd)$", name)]) == 1
    allowed = ("fusiondelta/", f"fusiondelta-{version()}.dist-info/")
    assert [name for name in names if not name.startswith(allowed)] == []
    assert [name for name in names if "__pycache__" in name] == []
    assert f"fusiondelta-{version()}.dist-info/licenses/LICENSE" in names
    assert "License-Expression: Apache-2.0" in metadata
    for needed in ("datafusion>=55,<56", "deltalake>=1.6.6,<2", "pyarrow>=21"):
        assert f"Requires-Dist: {needed}" in metadata


def test_wheel_answers_in_an_environment_of_its_own(wheel):
    built, _ = wheel
    said = run("env", f"PYTHON={PYTHON}", ROOT / "scripts" / "smoke", built)
    assert "smoke: answered [{'x': 1}]" in said


def test_sdist_holds_what_it_takes_to_build(sdist):
    files = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}
    assert files >= {
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "pyproject.toml",
        "python/fusiondelta/__init__.py",
        "python/fusiondelta/_native.pyi",
        "python/fusiondelta/py.typed",
        "src/lib.rs",
    }
    rust = {path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.rs")}
    assert rust <= files
    assert {f"python/{name}" for name in DATA} <= files
    assert [name for name in sorted(files) if BUILD_PRODUCTS.search(name)] == []
    assert (sdist / "Cargo.lock").read_bytes() == (ROOT / "Cargo.lock").read_bytes()


@pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo")
def test_sdist_is_a_locked_cargo_package(sdist):
    said = run(
        "cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version=1", cwd=sdist
    )  # fmt: skip
    described = json.loads(said[said.index("{") :])
    (package,) = described["packages"]
    assert (package["name"], package["version"]) == ("fusiondelta", version())


@pytest.mark.parametrize(
    "name", ["python/x/_native.abi3.so", "target/release/x", "x/__pycache__/y.pyc"]
)
def test_a_planted_build_product_is_found(name):
    assert BUILD_PRODUCTS.search(name)
    assert not BUILD_PRODUCTS.search("src/target.rs")
