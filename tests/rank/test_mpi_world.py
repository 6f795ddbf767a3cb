"""MPI's world and the group: every process in both, or the rank ends; by libraries and a JAX that stand in."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ctypes
import sys
from types import ModuleType, SimpleNamespace

import pytest
from shared_library import shared_library

from jaxsif.rank import peers


@pytest.fixture
def wrapper(tmp_path):
    """A library that has been loaded, as jaxlib does it."""

    def load(size: int) -> str:
        path = tmp_path / f"libmpiwrapper-{size}.so"
        world = {"MPIABI_COMM_WORLD": 0x101}
        path.write_bytes(shared_library(world, {"MPIABI_Comm_size": size}))
        loaded.append(ctypes.CDLL(str(path)))
        return str(path)

    loaded: list[ctypes.CDLL] = []
    return load


def problems(library: str, *, on_cpu: bool = True) -> list[tuple[str, bool, str]]:
    environment = {"MPITRAMPOLINE_LIB": library}
    found = peers.world_troubles(environment, 8, computes_on_cpu=on_cpu)
    return [(t.kind, t.is_fatal, t.text) for t in found]


def test_one_world_of_all_is_well(wrapper):
    assert [] == problems(wrapper(8))


@pytest.mark.parametrize(("size", "words"), [(1, "1 process"), (4, "4 processes")])
def test_several_worlds_end_the_rank_with_a_cause_of_its_own(wrapper, size, words):
    ((kind, is_fatal, text),) = problems(wrapper(size))

    assert ("mpi-world", True) == (kind, is_fatal)
    assert f"MPI's world has {words} and the group 8" in text


def test_a_program_on_gpus_is_warned(wrapper):
    assert [("mpi-world", False)] == [t[:2] for t in problems(wrapper(1), on_cpu=False)]


def test_a_world_that_cannot_be_seen_is_said_and_ends_nothing(tmp_path):
    assert [("mpi-world", False)] == [t[:2] for t in problems(str(tmp_path / "no.so"))]


@pytest.mark.parametrize(("chosen", "calls"), [("mpi", 1), ("gloo", 0)])
def test_it_is_looked_at_once_jax_has_started_mpi(monkeypatch, chosen, calls):
    called: list[int] = []
    registration = SimpleNamespace(factory=lambda: "client")
    jax, internal = ModuleType("jax"), ModuleType("jax._src")
    choice = SimpleNamespace(value=chosen)
    internal.config = SimpleNamespace(cpu_collectives_implementation=choice)
    internal.xla_bridge = SimpleNamespace(_backend_factories={"cpu": registration})
    monkeypatch.setitem(sys.modules, "jax", jax)
    monkeypatch.setitem(sys.modules, "jax._src", internal)

    peers.call_after_start_of_mpi(lambda: called.append(1))

    assert [] == called
    assert "client" == registration.factory()
    assert calls == len(called)
