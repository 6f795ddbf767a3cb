"""The image's bill of materials: complete, and as CycloneDX wants it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
from importlib import metadata

import image_sbom
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

FACTS = {
    "accel": "cpu",
    "built": "2026-01-01T00:00:00Z",
    "revision": "0123abc",
    "versions": {"jax": "0.12.0.1"},
    "kit": "0.1.0",
    "debian": "13.8",
    "debian_packages": {
        "libc6:amd64": "2.41-12+deb13u1",
        "libstdc++6:amd64": "1:14.2.0~rc1-19",
        "netbase:all": "6.5",
    },
}
PLOTLY = "/**\n* plotly.js v3.7.1\n* MIT\n*/\nvar x;"


@pytest.fixture
def plotly(tmp_path):
    path = tmp_path / "plotly.min.js"
    path.write_text(PLOTLY)
    return path


def test_it_meets_the_schema(plotly):
    components = [
        image_sbom.of_the_system(FACTS),
        image_sbom.of_the_kit(FACTS),
        image_sbom.of_plotly(plotly),
        *image_sbom.of_python(metadata.distributions()),
        *image_sbom.of_debian(FACTS),
    ]

    text = json.dumps(image_sbom.document(FACTS, components))

    assert len(components) > 10
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_debian_s_packages_are_named_as_scanners_look_for_them():
    found = image_sbom.of_debian(FACTS)

    assert [
        "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64&distro=debian-13",
        "pkg:deb/debian/libstdc%2B%2B6@1%3A14.2.0~rc1-19?arch=amd64&distro=debian-13",
        "pkg:deb/debian/netbase@6.5?arch=all&distro=debian-13",
    ] == [component["purl"] for component in found]


def test_what_no_package_manager_brought_is_listed_too(plotly):
    kit = image_sbom.of_the_kit(FACTS)
    charts = image_sbom.of_plotly(plotly)

    assert ("0.1.0", "pkg:generic/jax-sif@0.1.0") == (kit["version"], kit["purl"])
    assert "pkg:npm/plotly.js@3.7.1" == charts["purl"]
    digest = hashlib.sha256(PLOTLY.encode()).hexdigest()
    assert [{"alg": "SHA-256", "content": digest}] == charts["hashes"]


def test_a_plotly_without_a_version_is_an_error(plotly):
    plotly.write_text("var x;")

    with pytest.raises(ValueError, match="version"):
        image_sbom.of_plotly(plotly)


def test_python_s_packages_are_named_as_scanners_look_for_them():
    found = {c["name"]: c for c in image_sbom.of_python(metadata.distributions())}

    version = metadata.version("pytest")
    assert f"pkg:pypi/pytest@{version}" == found["pytest"]["purl"]
    assert [{"expression": "MIT"}] == found["pytest"]["licenses"]


def test_the_same_image_has_the_same_number_and_another_another():
    one, same = (image_sbom.document(FACTS, []) for _ in range(2))
    other = image_sbom.document({**FACTS, "revision": "fedcba9"}, [])

    assert one == same
    assert one["serialNumber"] != other["serialNumber"]
