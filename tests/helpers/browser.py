"""A browser without a window, for the tests of pages; imported by tests."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browse(
    browser: str, folder: Path, address: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Opens a page and lets its scripts run; what the browser keeps goes into `folder`."""
    done = subprocess.run(
        [
            *(browser, "--headless=new", "--disable-gpu", "--enable-logging=stderr"),
            # The page is our own, and its sandbox needs what a container lacks.
            *("--no-sandbox", "--disable-dev-shm-usage"),
            *("--virtual-time-budget=20000", f"--user-data-dir={folder}/profile"),
            *options,
            address,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HOME": str(folder)},
    )
    assert 0 == done.returncode, done.stderr
    return done


@dataclass(frozen=True)
class Opened:
    """A page after its scripts have run, and what they complained of."""

    html: str
    complaints: list[str]

    @property
    def drawn(self) -> int:
        """How many charts were drawn to their end; -1 when the script did not get there."""
        found = re.search(r'<html[^>]* data-drawn="(\d+)"', self.html)
        return int(found[1]) if found else -1

    @property
    def chart_texts(self) -> str:
        """What stands in the charts: ticks, labels, legends."""
        return " ".join(re.findall(r"<t(?:ext|span)[^>]*>([^<]*)", self.html))


def run(browser: str, folder: Path, html: str, *options: str) -> tuple[str, list[str]]:
    """The browser's output for a page, and the lines of the page's console."""
    (folder / "job.html").write_text(html)
    done = browse(browser, folder, (folder / "job.html").as_uri(), *options)
    return done.stdout, [x for x in done.stderr.splitlines() if ":CONSOLE" in x]


def opened(browser: str, folder: Path, html: str) -> Opened:
    return Opened(*run(browser, folder, html, "--dump-dom"))
