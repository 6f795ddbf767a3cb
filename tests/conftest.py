"""What every test is promised, on any machine."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import signal

import pytest


@pytest.fixture(autouse=True)
def sigterm_stays_as_it_was():
    """The judge ignores it to outlive the job; programs that tests start would inherit it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
