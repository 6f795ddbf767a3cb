"""tools/test: the exit status of three runs of pytest is the worst of them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import subprocess

import pytest
from checkout import ROOT

RUN = re.search(r"^run\(\) \{.*?^\}", (ROOT / "tools/test").read_text(), re.M | re.S)


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        ("0 0 0", 0),
        ("0 1 0", 1),
        ("2 1 0", 2),
        # 5: none of the tests was chosen.
        ("5 5 0", 0),
        ("0 5 5", 0),
        ("5 1 5", 1),
        ("5 5 5", 5),
    ],
)
def test_the_worst_status_counts_and_no_tests_only_if_all_are_so(statuses, worst):
    assert RUN is not None
    script = f"""set -euo pipefail; {RUN[0]}
      worst=5; for status in {statuses}; do run sh -c "exit $status"; done; exit "$worst"
    """

    assert subprocess.run(["bash", "-c", script]).returncode == worst
