"""`jax-sif info`: what the image holds; runs in the container."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from jaxsif.core import image


def main(arguments: Sequence[str]) -> int:
    """Reads the options and shows the image's facts."""
    parser = argparse.ArgumentParser(
        prog="jax-sif info", description="Shows what the image holds."
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--sbom",
        action="store_true",
        help="every package of the image, as CycloneDX in JSON, for a scanner",
    )
    chosen = parser.parse_args(arguments)
    if chosen.sbom:
        print(image.bill_of_materials(), end="")
        return 0
    facts = image.describe()
    if chosen.json:
        print(json.dumps(facts, indent=1))
        return 0
    # The lists are for programs: --json and --sbom.
    found = {**facts, **facts.get("versions", {})}
    rows = {name: value for name, value in found.items() if _is_short(value)}
    rows |= {f"debian: {s}": d for s, d in facts.get("debian_archives", {}).items()}
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")
    return 0


def _is_short(value: object) -> bool:
    return value != "" and not isinstance(value, (dict, list))
