"""How a rank reads NCCL's report: the user's settings stay, the report is in memory, and the record names the library."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from checkout import TESTS
from sample_records import stamp

from jaxsif.core.record_lines import decode, encode
from jaxsif.core.slurm_env import Identity
from jaxsif.rank.reporter import Reporter
from jaxsif.transport import detect
from jaxsif.transport.detect import NcclLog

REPORT = TESTS / "nccl" / "infiniband-8-h100-2.27.log"


def rank(number: int = 0, processes: int = 16, local_processes: int = 8) -> Identity:
    return Identity(
        step="box.7.0.0",
        rank=number,
        processes=processes,
        local_rank=number % local_processes,
        node=f"node{number // local_processes + 1}",
        node_list="node[1-2]",
        local_processes=local_processes,
    )


@pytest.fixture
def jax(monkeypatch):
    """Stands in JAX's place: a back end, and how many devices there are."""

    def put(backend: str, devices: int = 16, **config: str) -> None:
        monkeypatch.setitem(
            sys.modules,
            "jax",
            SimpleNamespace(
                default_backend=lambda: backend,
                device_count=lambda: devices,
                config=SimpleNamespace(**config),
            ),
        )
        state = SimpleNamespace(coordinator_address="node1:4711")
        monkeypatch.setitem(sys.modules, "jax._src", SimpleNamespace())
        monkeypatch.setitem(
            sys.modules, "jax._src.distributed", SimpleNamespace(global_state=state)
        )

    return put


def write_as_nccl(environment: dict[str, str], text: str) -> None:
    """NCCL opens the file by its name, and writes line by line."""
    with open(environment["NCCL_DEBUG_FILE"], "w") as file:
        file.write(text)


def enable_nccl_log(environment: dict[str, str]) -> NcclLog:
    return detect.enable_nccl_log(environment, "node1.cluster.example", os.getpid())


def test_nccls_log_is_enabled_and_read_from_memory():
    environment: dict[str, str] = {}

    nccl_log = enable_nccl_log(environment)
    write_as_nccl(environment, "Using network IB\n")

    assert "INFO" == environment["NCCL_DEBUG"]
    assert "INIT,NET,GRAPH" == environment["NCCL_DEBUG_SUBSYS"]
    assert "Using network IB\n" == nccl_log.text()
    # No file of this name, on no disk.
    assert os.readlink(environment["NCCL_DEBUG_FILE"]).startswith("/memfd:nccl")


@pytest.mark.parametrize(
    ("users", "reason"),
    [
        ({"NCCL_DEBUG": "WARN"}, "NCCL_DEBUG=WARN is set"),
        ({"NCCL_DEBUG": "INFO"}, "NCCL_DEBUG=INFO is set"),
        ({"NCCL_DEBUG_FILE": "/x"}, "NCCL_DEBUG_FILE=/x is set"),
        ({"NCCL_DEBUG": "WARN", "NCCL_DEBUG_FILE": "/x"}, "NCCL_DEBUG=WARN is set"),
    ],
)
def test_what_the_user_set_stays_and_is_the_reason(users, reason):
    environment = dict(users)

    nccl_log = enable_nccl_log(environment)

    assert users == environment
    assert "" == nccl_log.text()
    assert nccl_log.unavailable_reason.startswith(reason)


def test_the_users_own_report_is_read(tmp_path):
    pattern = f"{tmp_path}/%%nccl.%h.%p"
    (tmp_path / f"%nccl.node1.{os.getpid()}").write_text("Using network Socket\n")

    nccl_log = enable_nccl_log({"NCCL_DEBUG": "info", "NCCL_DEBUG_FILE": pattern})

    assert "Using network Socket\n" == nccl_log.text()


def test_the_users_subsystems_stay():
    environment = {"NCCL_DEBUG_SUBSYS": "ALL"}

    enable_nccl_log(environment)

    assert "ALL" == environment["NCCL_DEBUG_SUBSYS"]


def test_where_memory_cannot_be_a_file_nccl_is_left_alone(monkeypatch):
    def refuse(name: str) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", refuse)
    environment: dict[str, str] = {}

    nccl_log = enable_nccl_log(environment)

    assert {} == environment
    assert "Function not implemented" in nccl_log.unavailable_reason


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"JAX_SIF_PLATFORM": "cpu"}, False),
        ({"JAX_PLATFORMS": "cpu"}, False),
        ({"JAX_PLATFORMS": "cuda,cpu"}, True),
    ],
)
def test_nccls_log_is_enabled_if_there_will_be_gpus(environment, expected):
    assert expected == detect.expects_gpus(environment)


@pytest.mark.parametrize(
    ("devices", "nccl_log", "words"),
    [
        (16, NcclLog(REPORT), "NVLink, InfiniBand x8, GPUDirect"),
        (16, NcclLog(Path("/nowhere")), "not known: NCCL wrote no report"),
        (
            16,
            NcclLog(unavailable_reason="NCCL_DEBUG=WARN is set"),
            "not known: NCCL_DEBUG=WARN is set",
        ),
        (16, None, "not known: NCCL's report was not enabled"),
    ],
)
def test_on_gpus_the_transport_is_what_nccl_reports(
    jax, monkeypatch, devices, nccl_log, words
):
    jax("gpu", devices)
    monkeypatch.setattr("socket.gethostname", lambda: "node1")

    found = detect.detect_transport(rank(), nccl_log)

    assert found is not None
    assert ("nccl", words) == (found.reported_by, found.summary)


def test_a_single_process_has_no_transport(jax):
    jax("gpu", devices=1)
    assert detect.detect_transport(rank(processes=1, local_processes=1), None) is None

    jax("cpu", devices=4)
    assert detect.detect_transport(rank(processes=1, local_processes=1), None) is None


def test_on_cpu_devices_the_library_is_named(jax):
    jax("cpu", jax_cpu_collectives_implementation="mpi")
    assert "not known: mpi does not report its transport" == found_words()

    jax("cpu", jax_cpu_collectives_implementation="gloo")
    assert "not known: this process has no connection to another" == found_words()


def found_words() -> str:
    found = detect.detect_transport(rank(), None)
    return found.summary if found else ""


@pytest.mark.parametrize(("number", "count"), [(0, 1), (3, 0), (8, 1)])
def test_the_first_rank_of_each_node_reports_and_the_record_fits(
    jax, monkeypatch, number, count
):
    jax("cpu", jax_cpu_collectives_implementation="mpi")
    written = []
    reporter = Reporter(rank(number))
    monkeypatch.setattr(reporter, "write", written.append)

    reporter.transport()

    assert ["transport"] * count == [record.phase for record in written]
    assert written == [decode(encode(record).encode(), 0) for record in written]


def test_a_rank_reports_the_declared_network(monkeypatch):
    written = []
    monkeypatch.setenv("JAX_SIF_NETWORK", "slingshot")
    reporter = Reporter(rank())
    monkeypatch.setattr(reporter, "write", written.append)

    reporter.started()

    assert ["slingshot"] == [record.network for record in written]


def test_a_record_with_very_many_cards_fits():
    names = tuple(f"rdmap{i:04}s0-with-a-long-name" for i in range(500))
    way = detect.Transport("nccl", "efa", "EFA x500", interfaces=names, count=500)

    record = detect.record(stamp(0), way)

    assert 500 == record.count
    assert decode(encode(record).encode(), 0).count == 500


def test_what_nccl_warned_of_is_printed_when_the_program_fails(monkeypatch, capsys):
    monkeypatch.setattr(os, "environ", {})
    reporter = Reporter(rank(), is_enabled=False)
    reporter.enable_nccl_log()
    write_as_nccl(
        os.environ, "node1:1:2 [0] misc/socket.cc:4 NCCL WARN socket gone\nnothing\n"
    )

    reporter.failed(RuntimeError("boom"))

    assert "node1:1:2 [0] misc/socket.cc:4 NCCL WARN socket gone\n" == (
        capsys.readouterr().err
    )
