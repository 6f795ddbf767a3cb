"""Compares Debian packages with their lock; run by image_post.sh."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

LOCK = Path("/opt/jax-sif/recipe/debian.txt")
LISTS = Path("/var/lib/apt/lists")
# The build prints lines that begin with this at once.
NOTE = "==! "
_FORMAT = "${db:Status-Status} ${Package}:${Architecture}=${Version}\n"
_SHOWN = 5


def installed() -> dict[str, str]:
    """Version by name:architecture of every package that is installed."""
    command = ["dpkg-query", "--show", "--showformat", _FORMAT]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    return parse(line[10:] for line in lines if line.startswith("installed "))


def parse(lines: Iterable[str]) -> dict[str, str]:
    """Version by name:architecture, from lines of apt-get: name:arch=version."""
    found = {}
    for line in sorted(lines):
        name, equals, version = line.strip().partition("=")
        if equals and name[0] != "#":
            found[name] = version
    return found


def locked(path: Path = LOCK) -> dict[str, str]:
    return parse(path.read_text().splitlines())


def differences(
    found: dict[str, str], lock: dict[str, str], architecture: str
) -> list[str]:
    """One line for each package that the lock has not, or has in another version.

    Raises LookupError where the lock was not made for this architecture.
    """
    kinds = (architecture, "all")
    due = {name: v for name, v in lock.items() if name.partition(":")[2] in kinds}
    if not any(name.endswith(f":{architecture}") for name in due):
        raise LookupError(f"the lock of Debian's packages has none for {architecture}")
    return [
        f"{name} {found.get(name, 'missing')} (lock: {due.get(name, 'none')})"
        for name in sorted({*found, *due})
        if found.get(name) != due.get(name)
    ]


def comparison() -> tuple[str, list[str]]:
    """The entry of image.json about the lock: a summary, and each difference."""
    command = ["dpkg", "--print-architecture"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    try:
        found = differences(installed(), locked(), done.stdout.strip())
    except LookupError as error:
        return str(error.args[0]), []
    return (f"{len(found)} packages differ" if found else "same"), found


def archives(lists: Path = LISTS) -> dict[str, str]:
    """The date of each archive that the packages came from, by its suite."""
    found = {}
    for path in [*lists.glob("*InRelease"), *lists.glob("*Release")]:
        text = path.read_text(errors="replace")
        fields = dict(re.findall(r"^(Codename|Date): (.+)$", text, re.MULTILINE))
        if len(fields) == 2:
            found[fields["Codename"]] = fields["Date"]
    return dict(sorted(found.items()))


def main() -> int:
    result, different = comparison()
    if result == "same":
        return 0
    more = len(different) - _SHOWN
    shown = "; ".join(different[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    print(f"{NOTE}Debian's packages are not those of the lock: {result}", flush=True)
    if different:
        print(f"{NOTE}  {shown}", flush=True)
    if os.environ.get("JAX_SIF_STRICT"):
        print("image_debian.py: STRICT is set, so this ends the build", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
