"""The command `jax-sif lint`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Parses the options and checks the scripts."""
    parser = argparse.ArgumentParser(
        prog="jax-sif lint",
        description="Checks Slurm job scripts for known mistakes; each finding has a"
        " line, a reason and a fix.",
        epilog="Exit status: 0 no error, 1 errors (--strict: or warnings), 2 usage"
        " error, 3 a script of another batch system, not checked. A comment suppresses a finding on its line or on the next:"
        " # jax-sif: ignore[rule-id] reason",
    )
    parser.add_argument("script", nargs="*", help="job scripts; - for standard input")
    parser.add_argument(
        "--format",
        choices=("text", "json", "sarif"),
        default="text",
        help="default: text; sarif is SARIF 2.1.0, for code hosts",
    )
    parser.add_argument(
        "--list", "--list-rules", action="store_true", help="list all rules"
    )
    parser.add_argument(
        "--explain",
        metavar="RULE",
        help="a rule's meaning, reason, fix and source",
    )
    parser.add_argument(
        "--strict", action="store_true", help="treat warnings as errors"
    )
    chosen = parser.parse_args(arguments)
    if not chosen.script and not chosen.list and not chosen.explain:
        parser.error("no job script; name a file, or - for standard input")

    from jaxsif.lint.lint import explain_rule, lint, list_rules

    if chosen.explain:
        return explain_rule(chosen.explain)
    if chosen.list:
        return list_rules()
    return lint(chosen.script, output_format=chosen.format, is_strict=chosen.strict)
