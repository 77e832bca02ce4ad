"""Problems of a run as a whole: memory, requests, waiting, the way it was executed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fusiondelta.account._account import RunAccount
from fusiondelta.account._problem import Problem
from fusiondelta.account._units import count, counted, part, seconds, size
from fusiondelta.account._ways import Ways

#: Part of the limit: the next query with a little more data spills or fails.
MEMORY_NEAR = 0.85

#: A request or two that were repeated are a network's everyday.
FEW_RETRIES = 3
#: Part of the requests: from here on the store is not well, or asked for too much.
MANY_RETRIES = 0.1

#: Part of the call's time spent waiting for its turn.
WAIT_SHARE = 0.2
#: Seconds: shorter waits are not noticed.
WAIT_SECONDS = 0.25

#: Requests for logs and footers: fewer are a table's opening.
COLD_REQUESTS = 50
#: Part of all requests, and of all footers those that were not kept.
COLD_SHARE = 0.5
#: Seconds until their answers began, added up: on local files they cost nothing.
COLD_SECONDS = 0.5
#: Log requests of one run: newer commits than this since a checkpoint slow every reader.
LONG_LOG = 50

#: Files that one write adds, and their mean size; see the scans' thresholds for why.
MANY_WRITTEN = 100
SMALL_WRITTEN = 8 * 2**20

_METADATA = ("log", "checkpoint", "footer")


def memory_near_limit(account: RunAccount, ways: Ways) -> Iterator[Problem]:
    """Memory that came near what there is."""
    limit = account.memory_limit
    if not limit or account.peak_memory < MEMORY_NEAR * limit:
        return
    yield Problem(
        "memory_near_limit",
        None,
        "medium",
        f"It held {size(account.peak_memory)} at once, "
        f"{part(min(account.peak_memory / limit, 1))} of the limit of {size(limit)}.",
        "With a little more data it spills or fails. Raise EngineProfile.memory_limit, or the "
        "query's own; run fewer queries at once (pool_size), or use fewer partitions "
        "(target_partitions): each holds its own buffers.",
    )


def retries(account: RunAccount, ways: Ways) -> Iterator[Problem]:
    """Requests that failed, and were repeated or not."""
    failures = Counter(one.failure for one in account.requests if one.failure)
    repeated, failed = account.io.retries, failures.total()
    if max(repeated, failed) < FEW_RETRIES:
        return
    whole = sum(account.io.requests.values())
    why = ", ".join(f"{name} {count(n)}×" for name, n in failures.most_common(3))  # noqa: RUF001
    yield Problem(
        "retries",
        None,
        "high" if whole and repeated / whole >= MANY_RETRIES else "medium",
        f"{counted(repeated, 'request')} of {count(whole)} repeated a failed one"
        + (f" (of those listed: {why})." if why else "."),
        _retry_advice(failures.most_common(1)[0][0] if failures else ""),
    )


def _retry_advice(failure: str) -> str:
    if failure in ("status 429", "status 503", "status 500"):
        return (
            "The store asks for fewer requests: lower IoPolicy.concurrency, read fewer and larger "
            "files, or ask the provider for more."
        )
    if failure == "timeout":
        return (
            "Answers came too late: lower IoPolicy.concurrency so that each has more of the line, "
            "or raise request_timeout."
        )
    return (
        "Look at the network between here and the store, and at engine.probe(uri). "
        "IoPolicy.retries and retry_budget say how long to go on."
    )


def waited_for_context(account: RunAccount, ways: Ways) -> Iterator[Problem]:
    """Time before planning began, because other queries had all contexts."""
    waited = sum(phase.seconds for phase in account.phases if phase.name == "wait")
    share = waited / account.seconds if account.seconds else 1.0
    if waited < WAIT_SECONDS or share < WAIT_SHARE:
        return
    yield Problem(
        "waited_for_context",
        None,
        "high" if share >= 0.5 else "medium",
        f"It waited {seconds(waited)} for its turn, {part(min(share, 1))} of its time: other "
        "queries had all contexts.",
        "Raise EngineProfile.pool_size if cores and memory allow, return sessions that are lent "
        "(engine.session()), or ask less at once.",
    )


def cold_cache(account: RunAccount, ways: Ways) -> Iterator[Problem]:
    """Requests for logs and footers that a warm cache would have saved."""
    lines = [line for line in account.io.lines if line.purpose in _METADATA]
    asked = sum(line.requests for line in lines)
    waited = sum(line.seconds for line in lines)
    whole = sum(account.io.requests.values())
    hits, misses = (account.tree.total(f"metadata_cache_{one}") for one in ("hits", "misses"))
    many = asked >= COLD_REQUESTS and asked >= COLD_SHARE * whole
    missed = misses >= COLD_REQUESTS and misses > COLD_SHARE * (hits + misses)
    if waited < COLD_SECONDS or not (many or missed):
        return
    footers = f"; {count(misses)} of {count(hits + misses)} footers were not kept" if misses else ""
    log = sum(line.requests for line in lines if line.purpose == "log")
    yield Problem(
        "cold_cache",
        None,
        "low",
        f"{count(asked)} of {counted(whole, 'request')} read logs and footers, "
        f"{seconds(waited)} until their answers began, added up{footers}.",
        "The same engine keeps what it read, so the next query is faster; keep one engine per "
        "process. If it stays so, raise CacheProfile.snapshots and metadata "
        "(engine.debug.caches() shows what is kept)."
        + (" engine.checkpoint(uri) shortens the log." if log >= LONG_LOG else ""),
    )


def small_files_written(account: RunAccount, ways: Ways) -> Iterator[Problem]:
    """A write that made many files that are small."""
    files, written = account.write.get("files_added"), account.write.get("bytes_written")
    if not isinstance(files, int) or not isinstance(written, int) or files < MANY_WRITTEN:
        return
    if written / files >= SMALL_WRITTEN:
        return
    yield Problem(
        "small_files",
        None,
        "medium",
        f"It wrote {counted(files, 'file')} of {size(written / files)} on average: every reader "
        "pays for each of them with requests.",
        "Write larger batches, partition by fewer values, and put the files together with "
        "engine.optimize(uri).",
    )
