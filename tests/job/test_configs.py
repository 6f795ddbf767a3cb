"""Profiles and sites as files: what is right, and what a wrong one is answered with."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jaxsif.core.errors import UsageError
from jaxsif.job import build, configs
from jaxsif.job.schema import Network, Profile, Site

KINDS = {"profiles": Profile, "sites": Site, "networks": Network}
SHIPPED = [
    (kind, entry.name) for kind in KINDS.values() for entry in configs.entries(kind, {})
]


@pytest.fixture
def home(tmp_path):
    """Variables of a user, and how he writes a file of his own."""

    class Home:
        def __init__(self) -> None:
            self.variables = {"HOME": str(tmp_path)}

        def write(self, kind: str, name: str, text: str) -> Path:
            path = tmp_path / ".config/jax-sif" / kind / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return path

    return Home()


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_what_is_shipped_can_be_read(kind, name):
    assert configs.find(kind, name, {}).description


def test_the_shipped_profiles_have_the_sizes_that_they_are_known_for():
    sizes = {
        name: (t.nodes, t.devices_per_node)
        for name in ("debug", "small", "medium", "large", "production")
        for t in [configs.find(Profile, name, {}).parse_topology()]
    }

    assert {
        "debug": (1, 4),
        "small": (2, 8),
        "medium": (4, 16),
        "large": (8, 16),
        "production": (8, 32),
    } == sizes


def test_every_network_that_a_shipped_site_names_is_there():
    networks = {entry.name for entry in configs.entries(Network, {})}

    assert {
        configs.find(Site, entry.name, {}).network
        for entry in configs.entries(Site, {})
    } <= networks


def test_ones_own_comes_in_the_place_of_what_is_shipped(home):
    home.write("profiles", "debug", "description: mine\ntopology: G2N1p2\n")

    assert "mine" == configs.find(Profile, "debug", home.variables).description
    assert "G2N1p2" in configs.profile_table(home.variables)


def test_a_file_is_read_by_its_path(home):
    path = home.write("sites", "here", "description: here\naccount: me\n")

    assert "me" == configs.find(Site, str(path), {}).account


def test_a_time_and_a_version_are_text_whatever_yaml_thinks(home):
    path = home.write(
        "profiles",
        "x",
        "description: x\ntopology: G1N1p1\ntime_limit: 1:30:00\n"
        "environment: {A: 1.10, B: no, C: 0x10, D: ~}\n",
    )

    profile = configs.read(Profile, path)

    assert "1:30:00" == profile.time_limit
    assert {"A": "1.10", "B": "no", "C": "0x10", "D": "~"} == profile.environment


def test_a_shape_stands_for_a_topology(home):
    path = home.write(
        "profiles",
        "x",
        "description: x\ntopology: {nodes: 2, processes_per_node: 4}\n",
    )

    assert "G8N2p8" == configs.read(Profile, path).parse_topology().label


WRONG = [
    ("profiles", "", ":1: expected fields, got `null`"),
    ("profiles", "topology: G1N1p1\n", ":1: the field 'description' is missing"),
    (
        "profiles",
        "description: x\ntopology: G1N1p1\ntime_limt: 5\n",
        ":3: unknown field 'time_limt'; there are description, topology,",
    ),
    (
        "profiles",
        "description: x\ntopology: G1N1p1\ntime_limt: 5\n",
        "; did you mean time_limit?",
    ),
    (
        "profiles",
        "description: x\ntopology: G1N1p1\ntime_limit: soon\n",
        ":3: time_limit: expected a time as Slurm writes it",
    ),
    (
        "profiles",
        "description: x\ntopology: G1N1p1\n\ncpus_per_process: 0\n",
        ":4: cpus_per_process: expected `int` >= 1",
    ),
    (
        "profiles",
        "description: x\ntopology: G1N1p1\ncpus_per_process: many\n",
        ":3: cpus_per_process: expected `int`, got `str`",
    ),
    (
        "profiles",
        "description: x\ntopology: {nodes: 2, process_per_node: 4}\n",
        "; did you mean processes_per_node?",
    ),
    (
        "profiles",
        "description: x\ntopology: G1N1p1\nmemory_per_process: 8\n",
        ":3: memory_per_process: expected an amount of memory such as 8G",
    ),
    (
        "profiles",
        "description: x\ntopology: G1N1p1\nsignal: soon\n",
        ":3: signal: expected a signal and seconds before the time limit",
    ),
    (
        "profiles",
        "description: x\ntopology: G1N1p1\nplatform: tpu\n",
        ":3: platform: invalid enum value 'tpu'",
    ),
    (
        "profiles",
        "description: x\ntopology: G1N1p1\ntopology: G2N1p1\n",
        "duplicate field 'topology'",
    ),
    ("sites", "description: [\n", "is not YAML"),
    (
        "sites",
        "description: x\ngpus:\n  reqest: gres\n",
        ":3: unknown field 'reqest'; there are request, type, partition, constraint;"
        " did you mean request?",
    ),
    (
        "sites",
        "description: x\nenvironment:\n  A: {value: b}\n",
        ":2: the field 'reason' is missing in environment",
    ),
    (
        "sites",
        'description: x\naccount: "a\\nb"\n',
        ":2: account: expected one line of text",
    ),
    ("sites", "description: x\nruntime: docker\n", "invalid enum value 'docker'"),
]


@pytest.mark.parametrize(("kind", "text", "complaint"), WRONG)
def test_a_wrong_file_is_answered_with_line_and_field(home, kind, text, complaint):
    path = home.write(kind, "wrong", text)

    with pytest.raises(UsageError) as error:
        configs.read(KINDS[kind], path)

    assert str(error.value).startswith(str(path))
    assert complaint in str(error.value)


def test_an_unknown_name_is_answered_with_those_there_are_and_the_nearest():
    with pytest.raises(UsageError) as error:
        configs.find(Profile, "mediun", {"HOME": "/home/me"})

    assert "no profile 'mediun'; there are " in str(error.value)
    assert "did you mean medium?" in str(error.value)
    assert "/home/me/.config/jax-sif/profiles/" in str(error.value)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(
        UsageError, match=r"cannot read the site '/no/such.yaml': No such"
    ):
        configs.find(Site, "/no/such.yaml", {})


def test_a_wrong_file_says_so_in_the_list_and_hides_no_other(home):
    home.write("profiles", "wrong", "description: x\n")

    shown = configs.profile_table(home.variables)

    assert "INVALID: " in shown and "'topology' is missing" in shown
    assert "production" in shown


def test_the_list_of_sites_marks_the_one_that_is_used():
    assert "ibex *" in configs.site_table({"JAX_SIF_SITE": "ibex"})
    assert "generic *" in configs.site_table({})


@pytest.mark.parametrize("noun", ["profile", "site"])
def test_a_shown_file_can_be_read_again(noun, tmp_path):
    kind = {"profile": Profile, "site": Site}[noun]
    for entry in configs.entries(kind, {}):
        path = tmp_path / f"{entry.name}.yaml"
        path.write_text(configs.text_of(noun, entry.name, {}))

        assert configs.find(kind, entry.name, {}) == configs.read(kind, path)


def test_a_topology_is_shown_as_the_profile_that_it_is(tmp_path):
    path = tmp_path / "shown.yaml"
    path.write_text(configs.text_of("profile", "G8N2p4", {}))

    assert build._profile("G8N2p4", {}) == configs.find(Profile, str(path), {})


def test_of_two_files_of_one_name_ones_own_is_shown(home):
    home.write("profiles", "debug", "description: mine\ntopology: G2N1p2\n")

    assert "mine" in configs.text_of("profile", "debug", home.variables)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("debgu", "did you mean debug?"), ("wrong", "'topology' is missing")],
)
def test_a_file_that_is_missing_or_wrong_is_not_shown(home, name, complaint):
    home.write("profiles", "wrong", "description: x\n")

    with pytest.raises(UsageError, match=re.escape(complaint)):
        configs.text_of("profile", name, home.variables)
