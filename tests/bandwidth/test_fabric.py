"""The record of a node's links: GPUs by the driver, cards by the kernel."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from fake_nodes import gpus, put, well
from fake_nvml import LOST, FakeNvml, NVMLError
from sample_records import stamp

from jaxsif.bandwidth.fabric import fabric, report_hardware
from jaxsif.core.record_lines import decode, encode
from jaxsif.core.records import NicInfo
from jaxsif.core.slurm_env import Identity
from jaxsif.rank.reporter import Reporter


@pytest.fixture
def node(tmp_path):
    gpus(tmp_path)
    folder = "/sys/class/infiniband/mlx5_0/ports/1"
    put(tmp_path, f"{folder}/link_layer", "InfiniBand\n")
    put(tmp_path, f"{folder}/rate", "400 Gb/sec (4X NDR)\n")
    put(tmp_path, f"{folder}/state", "4: ACTIVE\n")
    return well(tmp_path)


AT = stamp(0)


def driver(monkeypatch, *found: dict, **facts) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(*found, **facts))


@pytest.mark.parametrize(("version", "speed"), [(6, 450.0), (4, 450.0), (7, 900.0)])
def test_the_record_has_gpus_and_cards_of_a_node(monkeypatch, node, version, speed):
    links = {(link,): version for link in range(18)}
    driver(monkeypatch, *[{"NvLinkVersion": links}] * 2)

    record = fabric(AT, node)

    assert ("NVIDIA H100 80GB HBM3", 2) == (record.gpu, record.gpus)
    assert speed == record.nvlink_gb_per_s
    assert [NicInfo("mlx5_0:1", "infiniband", 50.0, True)] == record.nics
    assert record == decode(encode(record).encode(), 0)


def test_the_slowest_gpu_counts(monkeypatch, node):
    versions = {(link,): 6 for link in range(18)}
    half = {(link,): int(link < 9) for link in range(18)}
    driver(
        monkeypatch,
        {"NvLinkVersion": versions},
        {"NvLinkVersion": versions, "NvLinkState": half},
    )

    assert 225.0 == fabric(AT, node).nvlink_gb_per_s


@pytest.mark.parametrize("version", [99, NVMLError(3)])
def test_unknown_links_have_no_speed(monkeypatch, node, version):
    driver(monkeypatch, {"NvLinkVersion": {(n,): version for n in range(18)}})

    assert fabric(AT, node).nvlink_gb_per_s is None


def test_without_the_drivers_answer_the_record_has_no_gpus(monkeypatch, node):
    driver(monkeypatch, init=LOST)

    assert (None, 0) == (fabric(AT, node).gpu, fabric(AT, node).gpus)


def test_a_node_with_cpu_devices_does_not_ask_the_driver(monkeypatch, node):
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace())
    node.environment["JAX_PLATFORMS"] = "cpu"

    assert (None, 0) == (fabric(AT, node).gpu, fabric(AT, node).gpus)


def test_the_first_rank_of_a_node_reports_for_all(capfd):
    for local_rank in (0, 1):
        who = Identity("s", local_rank, 2, local_rank, "node1", "node1", 2)
        report_hardware(Reporter(who))

    assert 1 == capfd.readouterr().out.count('"phase":"fabric"')
