"""Check XLA_FLAGS: an unknown flag aborts the process."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from jaxsif.core.problem import Problem
from jaxsif.node.host_info import HostInfo

# Made with the image (tools/image_flags.py): every name that jaxlib and its plugins may
# know, and some more.
KNOWN_FLAGS = "/opt/jax-sif/xla_flags.txt"

# As XLA reads it, up to the first word that is no flag
# (openxla/xla: xla/parse_flags_from_env.cc).
_SPACE = " \t\r\n"
_FLAG = re.compile(
    r"""[ \t\r\n]*(-[-_a-zA-Z0-9]*)  # the name
        (?:="(?:\\.|[^"])*"?         # a value in quotes, perhaps never closed
          |='[^']*'?
          |[^ \t\r\n]*)              # or anything up to the next space""",
    re.VERBOSE | re.DOTALL,
)


def xla_flags(host_info: HostInfo) -> Iterator[Problem]:
    """Report a flag that this jaxlib does not know, before XLA ends the process."""
    value = host_info.variable("XLA_FLAGS")
    if not value:
        return
    if not value.lstrip(_SPACE).startswith("-"):
        content = host_info.read(os.path.abspath(value))
        if content is None:
            yield _no_such_file(value)
            return
        value = content
    names, ignored = split(value)
    known = (host_info.read(KNOWN_FLAGS) or "").split()
    if known:
        for name in names:
            yield from _unknown(name, known)
    if ignored:
        yield Problem(
            "xla-flags",
            f"XLA_FLAGS: XLA ignores everything from {_cut(ignored)!r} on, because it does"
            " not begin with '-'",
            "write each flag as --name=value, separated by spaces",
            is_fatal=False,
        )


def split(text: str) -> tuple[list[str], str]:
    """The names of the flags, with their dashes, and the rest that XLA ignores."""
    names = []
    position = 0
    while match := _FLAG.match(text, position):
        names.append(match[1])
        position = match.end()
    return names, text[position:].strip(_SPACE)


def _unknown(name: str, known: list[str]) -> Iterator[Problem]:
    bare = name.lstrip("-").replace("-", "_")
    if name.startswith("--") and name[2:] in known:
        return
    nearest = bare if bare in known else _nearest(bare, known)
    # Flags of other families may be valid although they are not in the file.
    if not bare.startswith("xla_") and not nearest:
        return
    instead = f"write --{nearest}" if nearest else "remove it"
    yield Problem(
        "xla-flags",
        f"XLA_FLAGS contains {_cut(name)!r}, which this jaxlib does not know; XLA aborts"
        " the process",
        f"{instead}; flags change between versions of XLA",
    )


def _nearest(name: str, known: list[str]) -> str | None:
    # Two milliseconds to import, and only needed when something is wrong.
    import difflib

    # For other families only a close match counts as a typo.
    cutoff = 0.6 if name.startswith("xla_") else 0.85
    return next(iter(difflib.get_close_matches(name, known, 1, cutoff)), None)


def _no_such_file(value: str) -> Problem:
    return Problem(
        "xla-flags",
        f"XLA_FLAGS={_cut(value)!r} does not begin with '-', so XLA takes it for the"
        " name of a file, which cannot be read; XLA aborts the process",
        "write flags as --name=value, or give the path of a file that every node can"
        " read",
    )


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
