"""Writes the tables of rules and the sample in docs/lint.md again."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "lint.md"
COMMAND = "renew it with: python tools/lint_page.py"

_RULES = re.compile(r"(?ms)^## Rules\n.*\Z")
_SAMPLE = re.compile(r"(?m)^    \$ jax-sif lint (\S+)\n(?:    .*\n)*")


def renewed(page: str) -> str:
    """Return the page with a new sample and the current rules."""
    from jaxsif.lint.report import rules_as_markdown
    from jaxsif.lint.rules import TOPICS

    rules = f"## Rules\n\n{rules_as_markdown(TOPICS).rstrip()}\n"
    return _RULES.sub(lambda _: rules, _SAMPLE.sub(_sample, page))


def _sample(found: re.Match[str]) -> str:
    from jaxsif.lint import report
    from jaxsif.lint.lint import lint_text

    shown = report.as_text({found[1]: lint_text((ROOT / found[1]).read_text())})
    lines = [f"$ jax-sif lint {found[1]}", *shown.splitlines()]
    return "".join(f"    {line}\n" for line in lines)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    PAGE.write_text(renewed(PAGE.read_text()))
