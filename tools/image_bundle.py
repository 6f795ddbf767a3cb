"""Packs the byte code for the tool's start into one file; run in the image's build."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import io
import marshal
import os
import sys
from pathlib import Path

from jaxsif.cli import main as run
from jaxsif.start import bundle

# What the commands that people wait for load. An image has no profile of its users',
# and its tool is not in a job, so some of them end with a complaint.
COMMANDS = (
    ("job", "G8N2p8", "--site", "ibex", "train.py"),
    ("job", "medium", "--stage"),
    ("profile", "list"),
    ("site", "list"),
    ("check",),
    ("verify", os.devnull),
    ("info",),
)
# A .pyc file's header (PEP 552).
_HEADER_BYTES = 16


def main() -> None:
    for command in COMMANDS:
        with (
            contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.suppress(SystemExit),
        ):
            run(command)
    modules = {}
    for name, module in sorted(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if name == "__main__" or spec is None or not spec.cached:
            continue
        if Path(spec.cached).is_file():
            code = Path(spec.cached).read_bytes()[_HEADER_BYTES:]
            modules[name] = (spec.origin, code)
    content = {"stamp": bundle.stamp(), "modules": modules}
    Path(bundle.BUNDLE).write_bytes(marshal.dumps(content))
    print(f"{len(modules)} modules")


if __name__ == "__main__":
    main()
