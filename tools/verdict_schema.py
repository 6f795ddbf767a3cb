"""Renews both schemas and the table of records in docs/verdict.md, from the types."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "src" / "jaxsif" / "report" / "verdict-1.schema.json"
ATTEMPTS = SCHEMA.with_name("attempts-1.schema.json")
PAGE = ROOT / "docs" / "verdict.md"
COMMAND = "renew it with: python tools/verdict_schema.py"
# The fields that every record has.
_COMMON = ("rank", "step", "node", "time", "left_out")


def schema() -> str:
    """The schema, from the types."""
    from jaxsif.core.verdict_file import json_schema

    return json.dumps(json_schema(), indent=1) + "\n"


def attempts_schema() -> str:
    """The schema of the attempts, from the types."""
    from jaxsif.core.attempts_file import json_schema

    return json.dumps(json_schema(), indent=1) + "\n"


def renewed(page: str) -> str:
    """The page, with the table made from the types."""
    return re.sub(r"(?m)^\| Record \|.*\n(?:\|.*\n)*", lambda _: _table(), page)


def _table() -> str:
    from jaxsif.core.records import Record

    rows = ["| Record | Meaning | Fields |", "|---|---|---|"]
    for kind in get_args(Record):
        fields = [n for n in kind.__struct_fields__ if n not in _COMMON]
        named = " ".join(f"`{name}`" for name in fields)
        rows.append(f"| `{kind.phase}` | {kind.__doc__} | {named} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    SCHEMA.write_text(schema())
    ATTEMPTS.write_text(attempts_schema())
    PAGE.write_text(renewed(PAGE.read_text()))
