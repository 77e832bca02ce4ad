"""Runs the oracle: `python -m tests.differential --seconds 600 --seed 7`."""

from __future__ import annotations

import argparse
import signal
import sys

from tests.differential.campaign import Campaign
from tests.differential.features import ALL, chosen
from tests.differential.known import is_known


def main() -> int:
    """Prints findings as they come, and the counts; 1 where there are any."""
    parser = argparse.ArgumentParser(prog="tests.differential", description=__doc__)
    parser.add_argument("--seconds", type=float, default=None, help="stop after so long")
    parser.add_argument("--statements", type=int, default=None, help="stop after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tries", type=int, default=1500, help="to make one finding smaller")
    help_of = f"features, between commas; 'subqueries' for all of those: {', '.join(sorted(ALL))}"
    parser.add_argument("--only", default="", help=help_of)
    parser.add_argument("--without", default="", help="likewise")
    parser.add_argument("--known", action="store_true", help="tell what is known to fail, too")
    given = parser.parse_args()
    if given.seconds is None and given.statements is None:
        given.seconds = 60.0
    # A run that is ended says what it has done, in the background too, where Ctrl-C is ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    features = chosen(_split(given.only), _split(given.without))
    campaign = Campaign(
        given.seed,
        features,
        tell=lambda text: print(text, flush=True),
        tries=given.tries,
        known=(lambda _: False) if given.known else is_known,
    )
    report = campaign.run(statements=given.statements, seconds=given.seconds)
    for kind, times in report.times.most_common():
        print(f"{times:6} {kind}")
    print(report.line())
    return int(bool(report.findings))


def _split(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


if __name__ == "__main__":
    sys.exit(main())
