"""`jax-sif profile`: lists and shows profiles, as `jax-sif site` does sites."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any


def main(arguments: Sequence[str]) -> int:
    """Reads the options and prints the table, or one profile."""
    parser, _ = parser_for("profile")
    return list_or_show("profile", parser.parse_args(arguments))


def parser_for(
    noun: str, *more: str, epilog: str | None = None
) -> tuple[argparse.ArgumentParser, Any]:
    """The parser of `jax-sif NOUN`, and its subparsers, to which `more` are added."""
    parser = argparse.ArgumentParser(
        prog=f"jax-sif {noun}",
        description=f"Lists the {noun}s for jax-sif job: those of jax-sif and your own"
        f" in ~/.config/jax-sif/{noun}s/.",
        epilog=epilog,
    )
    names = "|".join(("list", "show", *more))
    subcommands = parser.add_subparsers(dest="subcommand", required=True, metavar=names)
    subcommands.add_parser("list", help=f"print the table of all {noun}s")
    show = subcommands.add_parser("show", help=f"print the file of one {noun}")
    show.add_argument("name", metavar="NAME", help="a name in the table, or a file")
    return parser, subcommands


def list_or_show(noun: str, chosen: argparse.Namespace) -> int:
    """Runs the subcommand that was chosen."""
    from jaxsif.job import configs

    if chosen.subcommand == "list":
        text = configs.table(noun, os.environ)
    else:
        text = configs.text_of(noun, chosen.name, os.environ)
    sys.stdout.write(text)
    return 0
