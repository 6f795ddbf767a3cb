"""A browser without a window, for the tests of pages; imported by tests."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess
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
