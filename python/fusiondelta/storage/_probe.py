"""`probe`: what a location allows, tried out check by check, with the fix for each that fails."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusiondelta.errors import (
    AuthenticationError,
    FusionDeltaError,
    ObjectNotFoundError,
    SourceError,
    StorageTimeoutError,
)
from fusiondelta.profiles import StorageProfile
from fusiondelta.storage._safety import PROBE_PREFIX, honours_conditional_put

if TYPE_CHECKING:
    from fusiondelta._native import NativeEngine, NativeObjects

#: Clocks far apart make stores refuse signatures (AWS Signature Version 4: from 15 minutes on) and
#: put commits in the wrong order for readers by time.
_LARGEST_SKEW = 60.0


@dataclass(frozen=True, slots=True)
class ProbeCheck:
    """One thing that was tried.

    Attributes:
        name: identity, list, read_log, read_scan, write, conditional_put, multipart, clock, delete.
        status: ``pass``, ``fail`` or ``skipped``.
        seconds: How long it took.
        detail: What was found, without secrets.
        fix: What to do where it failed.
    """

    name: str
    status: str
    seconds: float
    detail: str
    fix: str = ""

    def __str__(self) -> str:
        line = f"{self.status:7} {self.name:15} {self.seconds * 1e3:7.0f} ms  {self.detail}"
        return f"{line} -> {self.fix}" if self.fix else line


class Checked:
    """What has checks."""

    __slots__ = ()

    checks: tuple[ProbeCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed; skipped ones do not count."""
        return all(check.status != "fail" for check in self.checks)

    def __getitem__(self, name: str) -> ProbeCheck:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class ProbeReport(Checked):
    """What was tried at a location.

    Attributes:
        uri: Canonical location.
        checks: In the order they were made.
    """

    uri: str
    checks: tuple[ProbeCheck, ...]

    def __str__(self) -> str:
        return "\n".join([self.uri, *map(str, self.checks)])


class _Skipped(Exception):
    """A check that cannot be made here; the message says why."""


@dataclass(slots=True)
class _Probe:
    native: NativeEngine
    uri: str
    profile: StorageProfile
    timeout: float
    objects: NativeObjects
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    checks: list[ProbeCheck] = field(default_factory=list)
    left: set[str] = field(default_factory=set)

    def name(self, what: str) -> str:
        """A name for an object of ours, noted for removal before it is made."""
        made = f"{PROBE_PREFIX}{self.token}_{what}"
        self.left.add(made)
        return made

    def check(self, name: str, work: Callable[[], str], fix: str) -> None:
        """Run a check and note what came of it."""
        started = time.perf_counter()
        try:
            status, detail, remedy = "pass", work(), ""
        except _Skipped as reason:
            status, detail, remedy = "skipped", str(reason), ""
        except FusionDeltaError as error:
            status, detail, remedy = "fail", error.message, _fix(error, fix)
        spent = time.perf_counter() - started
        self.checks.append(ProbeCheck(name, status, spent, detail, remedy))

    def passed(self, name: str) -> bool:
        """Whether a check was made and passed."""
        return any(c.name == name and c.status == "pass" for c in self.checks)

    # the checks

    def identity(self) -> str:
        if self.profile.kind == "local":
            raise _Skipped("files of this machine: the process's own user")
        if self.profile.credentials is not None:
            return "credentials= of the profile"
        link = self.native.identity(self.uri, self.timeout)
        if link is not None:
            return f"the default chain, by {link}"
        return "as the options of the profile say"

    def listing(self) -> str:
        found = self.objects.list("", 1, self.timeout)
        return "something is there" if found else "nothing is there"

    def read_log(self) -> str:
        logged = self.objects.list("_delta_log", 1, self.timeout)
        if not logged:
            raise _Skipped("there is no _delta_log")
        name, _ = logged[0]
        return f"{name}: {len(self.objects.get(name, 64, self.timeout))} bytes read"

    def read_scan(self) -> str:
        if not self.passed("read_log"):
            raise _Skipped("there is no table to read a data file of")
        table = self.native.open_delta(self.uri, self.native.new_io(), timeout=self.timeout)
        path = table.first_file()
        if path is None:
            raise _Skipped("the table has no data files")
        magic = self.objects.get(path, 4, self.timeout)
        if magic != b"PAR1":
            raise SourceError(f"the data file {path} is no Parquet file")
        return f"version {table.version}: a data file was opened"

    def write(self) -> str:
        self.objects.put(self.name("put"), b"probe", timeout=self.timeout)
        return "an object was put"

    def conditional_put(self) -> str:
        self._needs_write()
        if not honours_conditional_put(self.objects, self.timeout):
            raise SourceError("a second put of one name was not refused")
        return "a second put of one name was refused"

    def multipart(self) -> str:
        self._needs_write()
        self.objects.put_multipart(self.name("multipart"), b"probe", self.timeout)
        return "an upload of one part was completed"

    def clock(self) -> str:
        self._needs_write()
        _, modified = self.objects.head(self.name("put"), self.timeout)
        skew = modified - time.time()
        if abs(skew) > _LARGEST_SKEW:
            raise SourceError(f"the store's clock is {skew:+.0f} s from this machine's")
        return f"the store's clock is {skew:+.1f} s from this machine's"

    def delete(self) -> str:
        self._needs_write()
        for name in sorted(self.left):
            self.objects.delete(name, self.timeout)
        try:
            self.objects.head(self.name("put"), self.timeout)
        except ObjectNotFoundError:
            self.left.clear()
            return "what was put is gone"
        raise SourceError("an object that was deleted is still there")

    def _needs_write(self) -> None:
        if not self.passed("write"):
            raise _Skipped("nothing could be put")


def probe(
    native: NativeEngine, uri: str, profile: StorageProfile, *, timeout: float
) -> ProbeReport:
    """Every check in turn.

    Args:
        native: The extension's engine.
        uri: Canonical location.
        profile: The profile that serves it.
        timeout: Seconds for each request.
    """
    trial = _Probe(native, uri, profile, timeout, native.objects(uri, native.new_io()))
    with _cleared(trial):
        trial.check("identity", trial.identity, "give the profile credentials")
        trial.check("list", trial.listing, "permit listing (s3:ListBucket on the bucket)")
        trial.check("read_log", trial.read_log, "permit reading (s3:GetObject on the prefix)")
        trial.check("read_scan", trial.read_scan, "permit reading the table's data files")
        trial.check("write", trial.write, "permit writing (s3:PutObject), if you mean to")
        trial.check(
            "conditional_put",
            trial.conditional_put,
            "use a store that honours If-None-Match; else write_safety='single_writer_unsafe' "
            "where nobody else writes",
        )
        trial.check("multipart", trial.multipart, "permit multipart uploads (s3:PutObject)")
        trial.check("clock", trial.clock, "set this machine's clock (NTP)")
        trial.check("delete", trial.delete, "permit deleting (s3:DeleteObject)")
    return ProbeReport(uri, tuple(trial.checks))


@contextlib.contextmanager
def _cleared(trial: _Probe) -> Iterator[None]:
    """Removes what is left on every way out, Ctrl-C included."""
    try:
        yield
    finally:
        for name in sorted(trial.left):
            with contextlib.suppress(FusionDeltaError):
                trial.objects.delete(name, trial.timeout)


def _fix(error: FusionDeltaError, otherwise: str) -> str:
    if isinstance(error, StorageTimeoutError):
        return "check endpoint, region and network; allow more time with IoPolicy"
    text = error.message
    if "PermanentRedirect" in text or "redirect" in text.lower():
        return "the bucket is in another region; set region= to it"
    if "NoSuchBucket" in text:
        return "there is no such bucket; check its name, region and endpoint"
    if "SSL" in text or "tls" in text.lower() or "InvalidContentType" in text:
        return "the endpoint speaks http: give it as http:// with allow_http=True"
    if isinstance(error, AuthenticationError):
        return f"check the credentials, and {otherwise}"
    return otherwise
