"""Writes sbom.cdx.json, every package of the image for a scanner, as CycloneDX; run by image_post.sh in the image being built."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

KIT = Path("/opt/jax-sif")
FIELDS = "${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n"


def main() -> None:
    facts = json.loads((KIT / "image.json").read_text())
    installed = subprocess.run(
        ["dpkg-query", "--show", "--showformat", FIELDS],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    components = [*of_python(metadata.distributions()), *of_debian(installed)]
    text = json.dumps(document(facts, components), indent=1) + "\n"
    (KIT / "sbom.cdx.json").write_text(text)


def document(
    facts: dict[str, Any], components: list[dict[str, Any]]
) -> dict[str, object]:
    """What CycloneDX 1.6 asks for; the same image has the same serial number."""
    name = f"jax-sif-{facts['versions']['jax']}-{facts['accel']}"
    content = json.dumps([facts, components])
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "timestamp": facts["built"],
            "component": {
                "type": "container",
                "name": name,
                "version": facts["revision"],
                "bom-ref": name,
            },
        },
        "components": components,
    }


def of_python(found: Iterator[metadata.Distribution]) -> list[dict[str, Any]]:
    """The wheels of the lock, and what the base's Python brings."""
    components = []
    for distribution in found:
        about = distribution.metadata
        # As PyPI and scanners write it.
        name = about["Name"].lower().replace("_", "-")
        component = _library(name, distribution.version, f"pkg:pypi/{quote(name)}")
        licence = about.get("License-Expression")
        if licence:
            component["licenses"] = [{"expression": licence}]
        components.append(component)
    return sorted(components, key=lambda c: str(c["bom-ref"]))


def of_debian(installed: str) -> list[dict[str, Any]]:
    """From lines of status, package, version and architecture."""
    components = []
    for line in installed.splitlines():
        status, name, version, architecture = line.split("\t")
        if status == "installed":
            package_url = f"pkg:deb/debian/{quote(name)}"
            component = _library(name, version, package_url)
            component["purl"] += f"?arch={architecture}"
            components.append(component)
    return components


def _library(name: str, version: str, package_url: str) -> dict[str, Any]:
    located = f"{package_url}@{quote(version, safe='')}"
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": located,
        "bom-ref": located,
    }


if __name__ == "__main__":
    main()
