"""Versions: what `jax-sif --version` prints, in an image and outside one."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest
from checkout import ROOT

from jaxsif import cli
from jaxsif.core import image

IMAGE_ENV = ROOT / "image.env"


def test_the_version_is_that_of_the_pins():
    assert f"JAX_SIF_VERSION={image.kit_version()}\n" in IMAGE_ENV.read_text()


def test_an_installed_package_has_the_same_version(monkeypatch, tmp_path):
    monkeypatch.setattr(image, "_PINS", (tmp_path / "image.env",))

    assert metadata.version("jax-sif") == image.kit_version()


def test_outside_an_image_it_names_the_kit_and_jax(capsys):
    assert 0 == cli.main(["--version"])

    first, last = capsys.readouterr().out.splitlines()
    assert f"jax-sif {image.kit_version()}" == first
    assert last.startswith("JAX ")


def test_in_an_image_it_names_the_image(tmp_path):
    description = tmp_path / "image.json"
    facts = {
        "accel": "cpu",
        "versions": {"jax": "1.0"},
        "built": "2026-11-21T02:15:12Z",
        "revision": "a68eec1",
    }
    description.write_text(json.dumps(facts))

    assert "image jax-sif-1.0-cpu, built 2026-11-21T02:15:12Z, revision a68eec1" in (
        image.version_text(description).splitlines()
    )
    assert image.Versions(image.kit_version(), "jax-sif-1.0-cpu", "1.0") == (
        image.versions(description)
    )


@pytest.mark.parametrize("content", ["", "{}", '{"versions": {}}'])
def test_a_damaged_description_hides_no_other_version(tmp_path, content):
    description = tmp_path / "image.json"
    description.write_text(content)

    assert 2 == len(image.version_text(description).splitlines())


def test_it_does_not_import_jax():
    program = (
        "import sys; from jaxsif import cli; cli.main(['--version']);"
        " sys.exit('jax' in sys.modules)"
    )

    assert 0 == subprocess.run([sys.executable, "-c", program]).returncode
