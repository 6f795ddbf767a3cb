"""Writes sbom.cdx.json, the image's packages as CycloneDX; run by image_post.sh."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

KIT = Path("/opt/jax-sif")
PLOTLY = KIT / "share/plotly/plotly.min.js"
_PLOTLY_VERSION = re.compile(r"plotly\.js v(\S+)")


def main() -> None:
    facts = json.loads((KIT / "image.json").read_text())
    components = [
        of_the_system(facts),
        of_the_kit(facts),
        of_plotly(PLOTLY),
        *of_python(metadata.distributions()),
        *of_debian(facts),
    ]
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


def of_the_system(facts: dict[str, Any]) -> dict[str, Any]:
    """By which a scanner knows whose security notices count."""
    version = facts["debian"]
    return {
        "type": "operating-system",
        "name": "debian",
        "version": version,
        "bom-ref": f"debian@{version}",
    }


def of_the_kit(facts: dict[str, Any]) -> dict[str, Any]:
    kit = _library("jax-sif", facts["kit"], "pkg:generic/jax-sif")
    kit["licenses"] = [{"license": {"id": "Apache-2.0"}}]
    return {**kit, "type": "application"}


def of_plotly(path: Path) -> dict[str, Any]:
    """The image's only file of plotly.js, with the version in its header."""
    content = path.read_bytes()
    version = _PLOTLY_VERSION.search(content[:100].decode(errors="replace"))
    if version is None:
        raise ValueError(f"{path} does not begin with the version of plotly.js")
    component = _library("plotly.js", version[1], "pkg:npm/plotly.js")
    component["licenses"] = [{"license": {"id": "MIT"}}]
    component["hashes"] = [
        {"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}
    ]
    return component


def of_python(found: Iterable[metadata.Distribution]) -> list[dict[str, Any]]:
    """The wheels of the lock, and what the base's Python brings."""
    components = []
    for distribution in found:
        about = distribution.metadata
        # As PyPI and scanners write it.
        name = re.sub(r"[-_.]+", "-", about["Name"].lower())
        component = _library(name, distribution.version, f"pkg:pypi/{quote(name)}")
        licence = about.get("License-Expression")
        if licence:
            component["licenses"] = [{"expression": licence}]
        components.append(component)
    return sorted(components, key=lambda c: str(c["bom-ref"]))


def of_debian(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """From image.json's list of name:architecture and version."""
    release = facts["debian"].partition(".")[0]
    components = []
    for key, version in sorted(facts["debian_packages"].items()):
        name, _, architecture = key.partition(":")
        component = _library(name, version, f"pkg:deb/debian/{quote(name)}")
        # A scanner looks the package up in the release of this name.
        component["purl"] += f"?arch={architecture}&distro=debian-{release}"
        component["bom-ref"] = component["purl"]
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
