# shellcheck shell=bash
# Sourced by the other scripts. Makes .venv at the root hold the package and everything its tests need.
#
#   setup_environment   Rust toolchain checked, .venv with the build tool and the dependency group "test"
#   setup_extension     setup_environment, then the native extension, built when what it is made of has changed
#   setup_servers       the servers of the tests, after setup_environment; takes the options of tests/harness/install.py
#
# From the caller:
#   PYTHON              the interpreter .venv is made from (default: the newest of 3.10 to 3.13 on the path)
#   CARGO_TARGET_DIR    where compiled code is kept (default: a folder in the user's cache, shared by all clones)
#   FUSIONDELTA_SERVERS where servers are kept (default: another folder there)
#
# The extension, the wheel of the packaging tests and `maturin develop` use one profile, one target folder and one
# PYO3_PYTHON. Changing one of them compiles the dependencies again, which takes half an hour on two cores.

set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="$root/.venv"
python="$venv/bin/python"

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/fusiondelta/target}"
case "$CARGO_TARGET_DIR" in
    /*) ;;
    *) CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR" ;;
esac
export PYO3_PYTHON="$python"
export VIRTUAL_ENV="$venv" # maturin installs into it, whichever environment the caller is in
unset CONDA_PREFIX PYTHONHOME
if [[ "$(uname -s)" == Darwin ]]; then
    # maturin sets this for wheels only; unequal values compile every C dependency again.
    export MACOSX_DEPLOYMENT_TARGET="${MACOSX_DEPLOYMENT_TARGET:-11.0}"
fi

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# Succeeds for an interpreter that runs, is new enough and can make environments.
python_is_usable() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

find_python() {
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        python_is_usable "$PYTHON" \
            || die "PYTHON=$PYTHON does not run, is older than 3.10, or lacks the modules venv and ensurepip."
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3.13 python3.12 python3.11 python3.10 python3 python; do
        if python_is_usable "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "no Python of at least 3.10 with the modules venv and ensurepip was found on the path." \
        "Install one (on Debian and Ubuntu: python3 and python3-venv), or name one with PYTHON=..."
}

# Fails with what to do unless cargo and rustc are there and as new as Cargo.toml asks.
require_rust() {
    local tool version needed major minor
    needed="$(sed -n 's/^rust-version = "\([0-9]*\.[0-9]*\).*/\1/p' "$root/Cargo.toml")"
    if ! command -v cargo >/dev/null && [[ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]]; then
        export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    for tool in cargo rustc; do
        version="$(cd "$root" && "$tool" --version 2>/dev/null)" \
            || die "$tool was not found or does not run. Rust $needed or newer is needed:" \
                "install rustup from https://rustup.rs, then run 'rustup default stable'."
        if [[ ! "$version" =~ ^$tool\ ([0-9]+)\.([0-9]+) ]]; then
            die "'$tool --version' answered '$version', which is not understood."
        fi
        major="${BASH_REMATCH[1]}" minor="${BASH_REMATCH[2]}"
        if ((major < ${needed%%.*} || (major == ${needed%%.*} && minor < ${needed#*.}))); then
            die "$version is too old, Rust $needed or newer is needed: run 'rustup update stable'" \
                "(rustup is at https://rustup.rs)."
        fi
    done
    command -v "${CC:-cc}" >/dev/null \
        || die "no C compiler was found (${CC:-cc}). Install one: on Debian and Ubuntu 'build-essential'," \
            "on macOS 'xcode-select --install'."
}

# digest PATH... prints one hash over the interpreter, the place of this clone, and the files and folders named.
digest() {
    "$python" - "$root" "$@" <<'PY'
import hashlib
import pathlib
import sys

root, *names = sys.argv[1:]
content = hashlib.sha256(f"{sys.version}\0{root}\0".encode())
for name in names:
    path = pathlib.Path(root, name)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if file.is_file():
            data = file.read_bytes()
            content.update(f"{file.relative_to(root)}\0{len(data)}\0".encode() + data)
print(content.hexdigest())
PY
}

setup_environment() {
    local base wanted stamp="$venv/.fusiondelta-environment" tool
    require_rust
    # An environment does not survive a move of the clone or the loss of its interpreter.
    if [[ "$("$python" -c 'import pip, sys; print(sys.prefix)' 2>/dev/null)" != "$venv" ]]; then
        base="$(find_python)"
        say "making .venv from $("$base" --version 2>&1)"
        "$base" -m venv --clear "$venv"
    fi
    wanted="$(digest pyproject.toml)"
    if [[ "$(cat "$stamp" 2>/dev/null)" == "$wanted" ]]; then
        return
    fi
    tool="$(sed -n 's/^requires = \["\(maturin==[^"]*\)"\]$/\1/p' "$root/pyproject.toml")"
    [[ -n "$tool" ]] || die "pyproject.toml does not pin maturin exactly in build-system.requires."
    say "installing $tool and the dependency group 'test' into .venv"
    "$python" -m pip install --disable-pip-version-check --quiet --upgrade 'pip>=25.1' >&2
    (cd "$root" && "$python" -m pip install --disable-pip-version-check --quiet "$tool" --group test) >&2
    printf '%s\n' "$wanted" >"$stamp"
}

# Succeeds when .venv imports the package from this clone, the library is in it, and what it was made from is kept.
extension_is_installed() {
    compgen -G "$root/python/fusiondelta/_native*.so" >/dev/null \
        && compgen -G "$CARGO_TARGET_DIR/release/lib_native.*" >/dev/null \
        && (cd / && "$python" - "$root" <<'PY'
import importlib.metadata
import importlib.util
import pathlib
import sys

spec = importlib.util.find_spec("fusiondelta")
importlib.metadata.version("fusiondelta")
here = pathlib.Path(sys.argv[1], "python", "fusiondelta", "__init__.py")
sys.exit(spec is None or spec.origin is None or pathlib.Path(spec.origin).resolve() != here)
PY
        ) 2>/dev/null
}

setup_extension() {
    local wanted stamp="$venv/.fusiondelta-extension"
    setup_environment
    wanted="$(cd "$root" && rustc --version) $CARGO_TARGET_DIR ${RUSTFLAGS:-} $(digest src Cargo.toml Cargo.lock build.rs pyproject.toml)"
    if [[ "$(cat "$stamp" 2>/dev/null)" == "$wanted" ]] && extension_is_installed; then
        return
    fi
    say "building the extension in $CARGO_TARGET_DIR (the first time compiles about 600 crates: half an hour on two cores)"
    rm -f "$stamp"
    (cd "$root" && "$venv/bin/maturin" develop --release --locked) >&2
    printf '%s\n' "$wanted" >"$stamp"
}

# What cannot be had is said and is no failure: the tests that need it are skipped, or fail where CI is set.
setup_servers() {
    (cd "$root" && "$python" -m tests.harness.install "$@") >&2
}
