"""A few programs of the collection of healthy ones: none is harmed, none is taken for a faulty one; `make healthy` runs them all."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from healthy_programs import KIT, PLAIN, Outcome, run

# Each was harmed once: see the issue numbers' notes, and docs/faults.md for all.
CHOSEN = [
    ("logs_caught_traceback", PLAIN),
    ("prints_yesterdays_log", KIT),
    ("prints_records", PLAIN),
    ("fork_pool_ended_by_sigterm", KIT),
    ("forked_child_calls_the_hook", KIT),
    ("meets_on_each_node", PLAIN),
    ("output_does_not_block", KIT),
]
# Of the seconds that a program takes for itself; more than the judge waits for anybody.
_SCALE = 0.5
_AT_ONCE = 2


@pytest.fixture(scope="module")
def outcomes(cluster) -> dict[tuple[str, str], Outcome]:
    """All of them, two at a time: most of their time they wait."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda pair: run(cluster, *pair, scale=_SCALE), CHOSEN)
        return dict(zip(CHOSEN, found, strict=True))


@pytest.mark.parametrize(("name", "way"), CHOSEN)
def test_a_healthy_program_is_left_alone(outcomes, name, way):
    outcome = outcomes[name, way]

    assert "" == outcome.harm, outcome.job.output
    assert "" == outcome.alarm, outcome.job.output
