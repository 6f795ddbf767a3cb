"""What every test is promised, on any machine."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import functools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from browser import BROWSERS
from golden import Goldens


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-rewrite",
        action="store_true",
        help="write the files of tests/golden instead of comparing with them",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the cluster."""
    for item in items:
        if Path(__file__).with_name("cluster") in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def _goldens(request: pytest.FixtureRequest) -> Goldens:
    return Goldens(is_rewriting=request.config.getoption("golden_rewrite"))


@pytest.fixture
def golden(
    _goldens: Goldens, request: pytest.FixtureRequest
) -> Callable[[str, str], None]:
    """`golden(name, text)` compares with tests/golden/ROOM/NAME.txt."""
    return functools.partial(_goldens.check, request.path.parent.name)


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
