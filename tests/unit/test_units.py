"""Numbers as people read them."""

from __future__ import annotations

import pytest

from fusiondelta.account._units import (
    UNKNOWN,
    count,
    counted,
    metric,
    moment,
    part,
    seconds,
    size,
    tick,
    times,
)
from tests.harness.plans import MIB, MS, SUBMITTED

pytestmark = pytest.mark.unit


class TestUnits:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, UNKNOWN), (float("nan"), UNKNOWN), (0, "0 B"), (1023, "1023 B"),
            (1024, "1.00 KiB"), (12.34 * MIB, "12.3 MiB"), (1023.6 * MIB, "1.00 GiB"),
            (123.4 * 2**40, "123 TiB"), (2.0**90, "1073741824 EiB"), (-2048, "-2.00 KiB"),
        ],
    )  # fmt: skip
    def test_size(self, value, text):
        assert size(value) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, UNKNOWN), (float("inf"), UNKNOWN), (0, "0 s"), (8.4e-7, "840 ns"),
            (9.999e-7, "1.00 µs"), (4.2e-3, "4.20 ms"), (0.9996, "1.00 s"), (12.34, "12.3 s"),
            (59.96, "1 min 00 s"), (123.4, "2 min 03 s"), (3_725, "1 h 02 min"), (-0.5, "-500 ms"),
        ],
    )  # fmt: skip
    def test_seconds(self, value, text):
        assert seconds(value) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0, "0 %"), (0.004, "<1 %"), (0.43, "43 %"), (0.9999, ">99 %"), (1, "100 %"),
            (12.0, "1,200 %"), (None, UNKNOWN),
        ],
    )  # fmt: skip
    def test_part(self, value, text):
        assert part(value) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (1.234, "1.2"), (0.48, "0.48"), (26.1, "26"), (99.6, "100"), (14_500.0, "14,500"),
        ],
    )  # fmt: skip
    def test_times(self, value, text):
        assert times(value) == text + "\N{MULTIPLICATION SIGN}"

    def test_times_without_a_number(self):
        assert [times(float("inf")), times(float("nan")), times(None)] == ["∞", UNKNOWN, UNKNOWN]

    def test_counts(self):
        assert [count(1_234_567), count(None)] == ["1,234,567", UNKNOWN]
        assert [counted(1, "file"), counted(0, "file")] == ["1 file", "0 files"]
        assert counted(2, "batch", "batches") == "2 batches"

    @pytest.mark.parametrize(
        ("value", "text"),
        [(0, "0 s"), (0.02, "20 ms"), (1.5, "1.5 s"), (20, "20 s"), (100e-9, "100 ns")],
    )
    def test_ticks_have_no_zeros_behind(self, value, text):
        assert tick(value) == text

    def test_moments(self):
        assert moment(SUBMITTED) == "2030-01-02 03:04:05.678 UTC"
        assert [moment(0), moment(-1), moment(1e40)] == [UNKNOWN] * 3

    @pytest.mark.parametrize(
        ("name", "value", "unit", "text"),
        [
            ("elapsed_compute", 4.2e6, "ns", "4.20 ms"),
            ("bytes_scanned", 2048, "bytes", "2.00 KiB"),
            ("output_rows", 1234, "rows", "1,234"),
            ("scan_efficiency_ratio", 0.25, "ratio", "25 %"),
            ("spill_count", 3, "count", "3"),
            ("foreign", 3, "", "3"),
            ("start_timestamp", SUBMITTED + 5 * MS, "ns", "+5.00 ms"),
        ],
    )
    def test_metrics(self, name, value, unit, text):
        assert metric(name, value, unit, SUBMITTED) == text
