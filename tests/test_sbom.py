"""The image's bill of materials: complete, and as CycloneDX wants it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from importlib import metadata

import image_sbom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

FACTS = {
    "accel": "cpu",
    "built": "2026-01-01T00:00:00Z",
    "revision": "0123abc",
    "versions": {"jax": "0.12.0.1"},
}
DPKG = """installed\tlibc6\t2.41-12+deb13u1\tamd64
config-files\tgone\t1.0\tamd64
installed\tlibstdc++6\t1:14.2.0~rc1-19\tamd64
"""


def test_it_meets_the_schema():
    components = [
        *image_sbom.of_python(metadata.distributions()),
        *image_sbom.of_debian(DPKG),
    ]

    text = json.dumps(image_sbom.document(FACTS, components))

    assert len(components) > 10
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_debian_s_packages_are_named_as_scanners_look_for_them():
    found = image_sbom.of_debian(DPKG)

    assert [
        "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64",
        "pkg:deb/debian/libstdc%2B%2B6@1%3A14.2.0~rc1-19?arch=amd64",
    ] == [component["purl"] for component in found]


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
