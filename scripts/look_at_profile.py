"""Pictures of profile pages, and what a browser says of them, for scripts/look_at_profile."""

from __future__ import annotations

import argparse
import base64
import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fusiondelta.account._profile import QueryProfile
from tests.harness import accounts, hostile_accounts

WIDTHS = (1280, 480)
SCHEMES = ("light", "dark")
#: Pixels: longer pages are cut in the picture.
TALLEST = 12_000
#: Elements that stick out of the window, those within a box that scrolls or cuts apart.
STICKING_OUT = """
Array.from(document.querySelectorAll('body *')).filter((one) => {
  if (one.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let up = one.parentElement; up; up = up.parentElement) {
    if (getComputedStyle(up).overflowX !== 'visible') return false;
  }
  return true;
}).slice(0, 3).map((one) => one.tagName + '.' + (one.getAttribute('class') || '')).join(' ')
"""
#: What says in a page that foreign script ran.
PLANTED = "<img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'"


class Browser:
    """A headless Chromium that is spoken to through two pipes, a message of JSON at a time."""

    def __init__(self, read: int, write: int) -> None:
        self._read = os.fdopen(read, "rb", buffering=0)
        self._write = os.fdopen(write, "wb", buffering=0)
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Call a method and wait for its answer; events that come before it are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._write.write(json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                if "error" in found:
                    raise SystemExit(f"{method}: {found['error']}")
                return found["result"]
            self.events.append(found)

    def load(self, session: str, url: str) -> None:
        """Go to a page and wait until it and all that it asks for are there."""
        loader = self.ask("Page.navigate", session, url=url)["loaderId"]
        while not any(_is_loaded(one, loader) for one in self.events):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = self._read.read(65_536)
            if not more:
                raise SystemExit("the browser ended")
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)


def _is_loaded(event: dict[str, Any], loader: str) -> bool:
    params = event.get("params", {})
    return params.get("loaderId") == loader and params.get("name") == "load"


@contextmanager
def browser(chromium: str) -> Iterator[Browser]:
    """A browser with an empty profile, ended on every way out."""
    out_read, out_write = os.pipe()
    in_read, in_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # The browser reads what it is asked from 3 and answers on 4, so neither may be in the way.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (in_read, out_write)]
        os.close(in_read)
        os.close(out_write)
        plumbing = f'exec "$@" 3<&{ends[0]} 4>&{ends[1]} {ends[0]}<&- {ends[1]}>&-'
        arguments = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder}",
        ]
        process = subprocess.Popen(
            ["bash", "-c", plumbing, "bash", *arguments],
            pass_fds=ends,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in ends:
            os.close(end)
        spoken = Browser(out_read, in_write)
        try:
            yield spoken
            spoken.ask("Browser.close")
            process.wait(timeout=20)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def look(spoken: Browser, page: Path, folder: Path, width: int, scheme: str) -> list[str]:
    """Take one picture; what is wrong, a line each."""
    spoken.events.clear()
    target = spoken.ask("Target.createTarget", url="about:blank")["targetId"]
    session = spoken.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Log", "Network", "Runtime"):
        spoken.ask(f"{domain}.enable", session)
    spoken.ask("Page.setLifecycleEventsEnabled", session, enabled=True)
    spoken.ask(
        "Emulation.setDeviceMetricsOverride",
        session,
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    spoken.ask("Emulation.setEmulatedMedia", session, features=[feature])
    spoken.events.clear()
    spoken.load(session, page.as_uri())

    def evaluate(script: str) -> Any:
        found = spoken.ask("Runtime.evaluate", session, expression=script, returnByValue=True)
        return found["result"].get("value")

    wrong = [_said(one) for one in spoken.events if _is_wrong(one, page)]
    wide = evaluate("document.documentElement.scrollWidth")
    if wide > width:
        wrong.append(f"{wide} pixels wide in a window of {width}: {evaluate(STICKING_OUT)}")
    if evaluate("document.title") == "broken in":
        wrong.append("foreign script ran")
    height = min(evaluate("document.documentElement.scrollHeight"), TALLEST)
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    picture = spoken.ask(
        "Page.captureScreenshot", session, format="png", clip=clip, captureBeyondViewport=True
    )
    (folder / f"{page.stem}-{scheme}-{width}.png").write_bytes(base64.b64decode(picture["data"]))
    spoken.ask("Target.closeTarget", targetId=target)
    return [f"{page.name} {scheme} {width}: {line}" for line in wrong]


def _is_wrong(event: dict[str, Any], page: Path) -> bool:
    method, params = event.get("method", ""), event.get("params", {})
    if method == "Network.requestWillBeSent":
        # The page itself, and frames whose text is in the page.
        return params["request"]["url"] not in (page.as_uri(), "about:srcdoc")
    return method in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")


def _said(event: dict[str, Any]) -> str:
    return f"{event['method']} {json.dumps(event['params'])[:400]}"


def examples(folder: Path) -> list[Path]:
    """Pages of accounts made by hand."""
    profiles = {
        "join": QueryProfile(accounts.join()),
        "troubled": QueryProfile(accounts.troubled()),
        "large": QueryProfile(accounts.large()),
        "write": QueryProfile(accounts.written()),
        "failed": QueryProfile(accounts.failed()),
        "hostile": QueryProfile(
            hostile_accounts.hostile(" ".join((PLANTED, *hostile_accounts.HOSTILE)))
        ),
    }
    texts = {name: profile.to_html() for name, profile in profiles.items()}
    compared = (
        profiles["join"].compare(profiles["failed"]),
        profiles["join"].compare(profiles["troubled"]),
    )
    texts["compare"], texts["compare_other"] = (one.to_html() for one in compared)
    texts["notebook"] = "<!DOCTYPE html><title>notebook</title>" + profiles["hostile"]._repr_html_()
    pages = []
    for name, text in texts.items():
        pages.append(folder / f"{name}.html")
        pages[-1].write_text(text, "utf-8", newline="")
    return pages


def main() -> None:
    """Take the pictures; the exit code says whether anything was wrong."""
    parser = argparse.ArgumentParser(prog="scripts/look_at_profile")
    parser.add_argument("--chromium", required=True)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pages", type=Path, nargs="*")
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    pages = [page.resolve(strict=True) for page in given.pages] or examples(folder)
    wrong: list[str] = []
    with browser(given.chromium) as spoken:
        for page in pages:
            for width in WIDTHS:
                for scheme in SCHEMES:
                    wrong += look(spoken, page, folder, width, scheme)
            print(f"{page.name}: {len(WIDTHS) * len(SCHEMES)} pictures", file=sys.stderr)
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
