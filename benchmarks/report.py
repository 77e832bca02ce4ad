"""What a benchmark run measured, as JSON, as Markdown tables, and as a chart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.engines import BASELINE


@dataclass
class Timings:
    """Seconds that one engine took for one query: the first run, and the warm ones."""

    first: float | None = None
    warm: list[float] = field(default_factory=list)
    rows: int | None = None
    failure: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.warm) if self.warm and self.failure is None else None


@dataclass
class Repeated:
    """Object-store requests by purpose, of a query and of the same query again."""

    first: dict[str, int] = field(default_factory=dict)
    second: dict[str, int] = field(default_factory=dict)
    failure: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the figures are not as promised: the second run reads data and nothing else."""
        if self.failure is not None:
            return self.failure
        if not self.first.get("log") or not self.first.get("footer"):
            return f"the first run counted no log or footer requests: {self.first}"
        again = {p: self.second.get(p, 0) for p in ("log", "checkpoint", "footer")}
        return f"requests in the second run: {again}" if any(again.values()) else None


@dataclass
class Report:
    """Everything of one run."""

    scale: float
    runs: int
    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, str]
    files: dict[str, int]
    engines: list[str]
    timings: dict[str, dict[int, Timings]] = field(default_factory=dict)
    repeated: dict[int, Repeated] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    @property
    def queries(self) -> list[int]:
        return sorted({number for each in self.timings.values() for number in each})

    @property
    def baseline(self) -> str | None:
        """What the ratios are relative to: the plain pairing where it ran."""
        return BASELINE if BASELINE in self.timings else next(iter(self.timings), None)

    def ratios(self, engine: str) -> dict[int, float]:
        """Median over the baseline's median, for the queries that both answered."""
        if self.baseline is None:
            return {}
        found = {}
        for number, timing in self.timings[engine].items():
            ours, theirs = timing.median, self.timings[self.baseline][number].median
            if ours is not None and theirs:
                found[number] = ours / theirs
        return found

    def failures(self) -> list[str]:
        """All that went wrong, in words."""
        return [
            *(f"{engine}: not run: {why}" for engine, why in self.unavailable.items()),
            *(
                f"{engine}, query {number}: {timing.failure}"
                for engine, timings in self.timings.items()
                for number, timing in timings.items()
                if timing.failure
            ),
            *(
                f"fusiondelta, query {number} repeated: {each.problem}"
                for number, each in self.repeated.items()
                if each.problem
            ),
        ]

    def as_json(self) -> dict[str, Any]:
        summary = {}
        for engine in self.timings:
            ratios = self.ratios(engine)
            summary[engine] = {
                "queries_compared": len(ratios),
                "geometric_mean": geometric_mean(ratios.values()),
                "worst_ratio": max(ratios.values(), default=None),
                "worst_query": max(ratios, key=lambda n: ratios[n], default=None),
            }
        medians = {
            engine: {number: timing.median for number, timing in timings.items()}
            for engine, timings in self.timings.items()
        }
        return {
            **asdict(self),
            "baseline": self.baseline,
            "medians": medians,
            "summary": summary,
            "failures": self.failures(),
        }

    def as_markdown(self, title: str, chart: str | None = None) -> str:
        parts = [
            f"# {title}",
            self._setting(),
            *([f"![Median times by query]({chart})"] if chart else []),
            f"## Summary (relative to {self.baseline}; below 1 is faster)\n\n{self._summary()}",
            f"## Median of {self.runs} warm runs (ms)\n\n{self._times(first=False)}",
            f"## First run (ms)\n\n{self._times(first=True)}",
        ]
        if self.repeated:
            parts.append(
                "## Requests of fusiondelta by purpose, first and second run on one engine\n\n"
                + self._requests()
            )
        failures = [f"- {line}" for line in self.failures()] or ["None."]
        parts.append("## Failures\n\n" + "\n".join(failures))
        return "\n\n".join(parts) + "\n"

    def _setting(self) -> str:
        m = self.machine
        names = ("fusiondelta", "datafusion", "deltalake", "polars", "duckdb", "pyarrow")
        versions = ", ".join(f"{n} {self.versions[n]}" for n in names if n in self.versions)
        lines = [
            f"- TPC-H scale factor {self.scale:g}, {sum(self.files.values())} Parquet files",
            f"- {m['cpu']}, {m['cores']} cores, {m['memory_bytes'] / 2**30:.1f} GiB, {m['system']}",
            f"- {m['date']}, Python {m['python']}, {versions}",
        ]
        if self.settings:
            listed = ", ".join(f"`{key}={value}`" for key, value in self.settings.items())
            lines.append(f"- fusiondelta with {listed}")
        return "\n".join(lines)

    def _summary(self) -> str:
        rows = []
        for engine in self.timings:
            ratios = self.ratios(engine)
            if not ratios:
                rows.append([engine, f"0 of {len(self.queries)}", "", "", "", ""])
                continue
            worst = max(ratios, key=lambda n: ratios[n])
            total = sum(
                t.median for n, t in self.timings[engine].items() if n in ratios and t.median
            )
            rows.append(
                [
                    engine,
                    f"{len(ratios)} of {len(self.queries)}",
                    f"{geometric_mean(ratios.values()):.3f}",
                    f"{ratios[worst]:.2f} (query {worst})",
                    str(sum(ratio > 1.1 for ratio in ratios.values())),
                    f"{total * 1e3:,.0f}",
                ]
            )
        head = ["engine", "queries", "geometric mean", "worst ratio", "above 1.1", "total (ms)"]
        return table(head, rows)

    def _times(self, *, first: bool) -> str:
        engines = list(self.timings)
        rows = []
        for number in self.queries:
            cells = []
            for engine in engines:
                timing = self.timings[engine][number]
                seconds = timing.first if first else timing.median
                failed = seconds is None or timing.failure
                cells.append("failed" if failed else f"{(seconds or 0.0) * 1e3:,.1f}")
                if not first and engine != self.baseline:
                    ratio = self.ratios(engine).get(number)
                    cells.append("" if ratio is None else f"{ratio:.2f}")
            counts = {t[number].rows for t in self.timings.values()} - {None}
            rows.append(
                [str(number), *cells, " / ".join(f"{c:,}" for c in sorted(counts, key=str))]
            )
        head = ["query"]
        for engine in engines:
            head += [engine] if first or engine == self.baseline else [engine, "ratio"]
        return table([*head, "rows"], rows)

    def _requests(self) -> str:
        purposes = sorted(
            {p for each in self.repeated.values() for p in (*each.first, *each.second)}
            | {"log", "footer", "data"}
        )
        rows = []
        for number, each in self.repeated.items():
            cells = ["failed"] * len(purposes)
            if not each.failure:
                cells = [f"{each.first.get(p, 0)} → {each.second.get(p, 0)}" for p in purposes]
            rows.append([str(number), *cells])
        return table(["query", *purposes], rows)

    def chart(self, path: Path) -> None:
        """Bars of the median times by query and engine, drawn with matplotlib."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        numbers, engines = self.queries, list(self.timings)
        figure, axes = pyplot.subplots(figsize=(12, 4.5), layout="constrained")
        width = 0.8 / max(len(engines), 1)
        for place, engine in enumerate(engines):
            medians = [self.timings[engine][n].median for n in numbers]
            ratio = geometric_mean(self.ratios(engine).values())
            axes.bar(
                [i + (place - (len(engines) - 1) / 2) * width for i in range(len(numbers))],
                [math.nan if m is None else m * 1e3 for m in medians],
                width,
                label=engine if ratio is None else f"{engine} (geometric mean {ratio:.2f})",
            )
        axes.set_xticks(range(len(numbers)), [f"Q{n}" for n in numbers])
        axes.set_yscale("log")
        axes.set_ylabel(f"median of {self.runs} warm runs (ms)")
        axes.set_title(f"TPC-H scale {self.scale:g}, {self.machine['cores']} cores")
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.legend()
        figure.savefig(path)
        pyplot.close(figure)


def geometric_mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return statistics.geometric_mean(numbers) if numbers else None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned so that it reads well as text too."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def installed_versions(extra: Mapping[str, str]) -> dict[str, str]:
    """The version of every installed Python package."""
    from importlib.metadata import distributions

    found = {str(d.metadata["Name"]): d.version for d in distributions()}
    return dict(sorted({**found, **extra}.items(), key=lambda item: item[0].lower()))
