"""Finds the Debian mirror in this machine's own apt settings; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from errors import ClusterError

_SETTINGS = Path("/etc/apt")
MIRROR_KNOB = "JAX_SIF_MIRROR"
# Other archives have other suites, or other components, or both.
_DEBIAN_SUITES = frozenset(
    (
        *("oldoldstable", "oldstable", "stable", "testing", "unstable", "sid"),
        *("buster", "bullseye", "bookworm", "trixie", "forky", "duke"),
    )
)


def one_line_sources(text: str) -> list[tuple[str, list[str], list[str]]]:
    """(address, suites, components) of each `deb [options] ADDRESS SUITE PARTS`."""
    found = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words or words[0] != "deb":
            continue
        words = words[1:]
        if words and words[0].startswith("["):
            last = next((i for i, w in enumerate(words) if w.endswith("]")), len(words))
            words = words[last + 1 :]
        if len(words) >= 2:
            found.append((words[0], [words[1]], words[2:]))
    return found


def deb822_sources(text: str) -> list[tuple[str, list[str], list[str]]]:
    """(address, suites, components) of each enabled stanza of a .sources file."""
    found = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in "\n".join(lines).split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.lower()
                fields[name] = value.strip()
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0")
        if not enabled or "deb" not in fields.get("types", "").split():
            continue
        suites = fields.get("suites", "").split()
        components = fields.get("components", "").split()
        for address in fields.get("uris", "").split():
            found.append((address, suites, components))
    return found


def _resolved(address: str) -> str:
    """The first address of a `mirror+file:` list, or the address itself."""
    scheme, _, rest = address.partition(":")
    if scheme != "mirror+file":
        return address
    lines = Path("/" + rest.lstrip("/")).read_text().split()
    return lines[0] if lines else address


def _sources() -> list[tuple[str, list[str], list[str]]]:
    """All sources of this machine's apt, in the order of its files."""
    found = []
    for path in sorted(_SETTINGS.glob("sources.list.d/*.sources")):
        found += deb822_sources(path.read_text())
    one_line = [_SETTINGS / "sources.list", *_SETTINGS.glob("sources.list.d/*.list")]
    for path in one_line:
        if path.exists():
            found += one_line_sources(path.read_text())
    return found


def debian_mirror() -> str:
    """The address of a Debian archive, as this machine's apt uses it."""
    chosen = os.environ.get(MIRROR_KNOB)
    if chosen:
        return chosen.split()[0]
    for address, suites, components in _sources():
        if "main" in components and _DEBIAN_SUITES.intersection(suites):
            return _resolved(address)
    raise ClusterError(
        f"no Debian mirror in {_SETTINGS}/sources.list or {_SETTINGS}/sources.list.d;"
        f" name one: export {MIRROR_KNOB}=ADDRESS (any mirror of Debian will do)"
    )


def archives(suite: str) -> list[str]:
    """Address, suite and component of a suite, and of its updates if used here."""
    found = [f"{debian_mirror()} {suite} main"]
    chosen = os.environ.get(MIRROR_KNOB, "").split()
    if chosen:
        # The second address is that of the security updates.
        return [*found, *(f"{other} {suite}-security main" for other in chosen[1:2])]
    for kind in ("updates", "security"):
        stable = {f"{name}-{kind}" for name in _DEBIAN_SUITES}
        for address, suites, components in _sources():
            if "main" in components and stable.intersection(suites):
                found.append(f"{_resolved(address)} {suite}-{kind} main")
                break
    return found


def transport_options() -> list[str]:
    """This machine's proxies and certificates, as options for another apt."""
    if shutil.which("apt-config") is None:
        return []
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True)
    wanted = (
        "Acquire::http::",
        "Acquire::https::",
        "Acquire::http ",
        "Acquire::https ",
    )
    return [
        line.rstrip(";")
        for line in dump.stdout.splitlines()
        if line.startswith(wanted) and not line.endswith('"";')
    ]
