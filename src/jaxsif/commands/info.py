"""`jax-sif info`: shows the contents of the image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from jaxsif.core import image


def main(arguments: Sequence[str]) -> int:
    """Parses the options and shows the contents of the image."""
    parser = argparse.ArgumentParser(
        prog="jax-sif info", description="Shows the versions in the image."
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="default: text"
    )
    parser.add_argument(
        "--sbom",
        action="store_true",
        help="print the software bill of materials (CycloneDX JSON)",
    )
    chosen = parser.parse_args(arguments)
    if chosen.sbom:
        print(image.bill_of_materials(), end="")
        return 0
    facts = image.describe()
    if chosen.format == "json":
        print(json.dumps(facts, indent=1))
        return 0
    # Lists are printed by --format json and --sbom only.
    found = {**facts, **facts.get("versions", {})}
    rows = {name: value for name, value in found.items() if _is_short(value)}
    rows |= {f"debian: {s}": d for s, d in facts.get("debian_archives", {}).items()}
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")
    return 0


def _is_short(value: object) -> bool:
    return value != "" and not isinstance(value, (dict, list))
