"""What every test is promised, on any machine."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import shutil
import signal

import pytest
from browsing import BROWSERS


@pytest.fixture(autouse=True)
def sigterm_stays_as_it_was():
    """The judge ignores it to outlive the job; programs that tests start would inherit it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def browser() -> str:
    """Chromium; `make test` installs it as it does the linters."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        reason = "no Chromium on this machine: apt-get install chromium"
        if os.environ.get("JAX_SIF_CLUSTER_TESTS") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
