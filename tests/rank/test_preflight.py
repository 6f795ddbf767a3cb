"""The way to the coordinator: each cause of a failure has a name of its own; on loopback addresses."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from checkout import SRC, TESTS

from jaxsif.core.errors import Problem
from jaxsif.core.slurm_env import Identity
from jaxsif.rank import preflight
from jaxsif.start import certificates

SECRET = b"s" * certificates.SECRET_BYTES


@contextlib.contextmanager
def listener(answer: Callable[[socket.socket], object]) -> Iterator[tuple[str, int]]:
    """A service that listens, and does `answer` to the first who connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError), server.accept()[0] as connection:
                connection.settimeout(5)
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()
        thread.join(10)


def kinds(where, limit_s=0.3, node="node1", **environment) -> list[tuple[str, str]]:
    problems = preflight.reach_coordinator(where, limit_s, node, environment)
    return [(t.kind, t.text) for t in problems]


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch):
    monkeypatch.setattr(preflight, "_RESOLVE_TIMEOUT_S", 0.0)
    monkeypatch.setattr(preflight, "_CONNECT_TIMEOUT_S", 0.3)
    # Here the coordinator is on this machine; see the test of its own below.
    monkeypatch.setattr(preflight, "is_own_address", lambda address: False)


def settings_frame(connection: socket.socket) -> None:
    connection.recv(64)
    connection.sendall(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))


def test_a_grpc_server_is_taken_for_the_coordinator():
    with listener(settings_frame) as where:
        assert [] == kinds(where)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda c: c.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "it replies b'SSH-2.0-Open"),
        (lambda c: c.recv(64), "it requires TLS, but this rank has no certificate"),
        (lambda c: c.sendall(b"\x15\x03\x03\0\2\2F"), "it requires TLS"),
        (lambda c: (c.recv(64), threading.Event().wait(1)), "timed out"),
    ],
)
def test_a_different_service_at_the_address_is_detected(answer, text):
    with listener(answer) as where:
        ((kind, got),) = kinds(where)

    assert "coordinator-wrong-service" == kind
    assert text in got


def tls(path, step: str) -> Callable[[socket.socket], object]:
    """A coordinator of a step, with certificates."""
    file = path / f"{step}.pem"
    file.write_bytes(certificates.credentials(SECRET, step, "node1"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(file)
    context.load_cert_chain(file)

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            context.wrap_socket(connection, server_side=True).recv(1)

    return answer


def credentials(path, step: str) -> dict[str, str]:
    file = path / "mine.pem"
    file.write_bytes(certificates.credentials(SECRET, step, "node1"))
    return {
        "JAX_MTLS_CERT_FILE": str(file),
        "JAX_MTLS_PEER_URI_PREFIX": certificates.group_uri(step),
    }


def test_the_coordinator_of_this_step_proves_itself(tmp_path):
    mine = credentials(tmp_path, "box.7.0.0")

    with listener(tls(tmp_path, "box.7.0.0")) as where:
        assert [] == kinds(where, **mine)


def test_the_coordinator_of_another_step_does_not(tmp_path):
    mine = credentials(tmp_path, "box.7.0.0")

    with listener(tls(tmp_path, "box.7.1.0")) as where:
        ((kind, text),) = kinds(where, **mine)

    assert "coordinator-wrong-service" == kind
    assert "TLS fails, certificate signature failure" in text


def test_a_port_without_a_listener_is_waited_for_and_then_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = server.getsockname()

    ((kind, text),) = kinds(where)

    assert "coordinator-not-listening" == kind
    assert "Connection refused" in text


def test_a_coordinator_that_is_late_is_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
    threading.Timer(0.3, lambda: serve_once(host, port)).start()

    assert [] == kinds((host, port), limit_s=10)


def serve_once(host: str, port: int) -> None:
    with socket.create_server((host, port)) as server:
        connection, _ = server.accept()
        with connection:
            settings_frame(connection)


def test_an_unknown_name_is_reported():
    ((kind, text),) = kinds(("no-such-node.invalid", 12345))

    assert "coordinator-unknown" == kind
    assert "'no-such-node.invalid'" in text
    assert "on node1" in text


def test_the_name_of_a_pod_that_has_still_to_start_is_waited_for(monkeypatch):
    found = socket.getaddrinfo
    asked = []

    def later(host, *rest, **more):
        asked.append(host)
        if len(asked) < 3:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found("127.0.0.1", *rest, **more)

    def refuse(*_):
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", later)
    monkeypatch.setattr(socket, "create_connection", refuse)

    (problem,) = preflight.reach_coordinator(
        ("train-0.train", 9), 1.0, "train-1", {}, has_late_names=True
    )

    assert ("coordinator-not-listening", 3) == (problem.kind, len(asked))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), "coordinator-packets-dropped"),
        (OSError(113, "No route to host"), "coordinator-unreachable"),
        (OSError(101, "Network is unreachable"), "coordinator-unreachable"),
    ],
)
def test_dropped_packets_and_missing_routes_are_distinguished(
    monkeypatch, error, expected
):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)

    ((kind, _),) = kinds(("127.0.0.1", 9))

    assert expected == kind


def test_a_node_that_takes_the_coordinator_for_itself_is_named(monkeypatch):
    monkeypatch.undo()

    ((kind, text),) = kinds(("localhost", 9), node="node2")

    assert "coordinator-resolves-to-self" == kind
    assert (
        "on node2 the name localhost of the coordinator's node resolves to node2 itself"
        in text
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_where_all_ranks_are_on_one_node_they_may_meet_at_its_loopback(
    monkeypatch, host
):
    monkeypatch.undo()

    (problem,) = preflight.reach_coordinator(
        (host, 9), 0.3, "node2", {}, has_one_node=True
    )

    # That port has no listener, which is another problem.
    assert "coordinator-not-listening" == problem.kind


@pytest.mark.parametrize(
    ("host", "node"),
    [("10.0.0.1", "node2"), ("node2.example.org", "node2"), ("node2", "node2.cluster")],
)
def test_another_rank_of_the_coordinators_node_may_look_for_it_there(
    monkeypatch, host, node
):
    def refuse(*_):
        raise ConnectionRefusedError

    monkeypatch.setattr(preflight, "is_own_address", lambda address: True)
    monkeypatch.setattr(preflight, "_resolve", lambda *_: ["10.0.0.1"])
    monkeypatch.setattr(socket, "create_connection", refuse)

    ((kind, _),) = kinds((host, 9), node=node)

    assert "coordinator-not-listening" == kind


def rank_0(node: str) -> Identity:
    return Identity("r", 0, 4, 0, node, node, launcher="Open MPI")


def elsewhere(host: str, is_chosen: bool = False) -> list[Problem]:
    where = (host, 5555)
    return list(preflight.check_coordinator_address(where, rank_0("node2"), is_chosen))


def test_rank_0_reports_that_the_others_connect_elsewhere():
    (problem,) = elsewhere("localhost")

    assert ("coordinator-on-other-node", True) == (problem.kind, problem.is_fatal)
    assert "rank 0 runs on node2, but according to Open MPI the others connect to" in (
        problem.text
    )
    assert "JAX_COORDINATOR_ADDRESS=node2:5555 for every rank" in problem.remedy


def test_an_address_that_the_user_chose_may_be_a_services():
    (problem,) = elsewhere("localhost", is_chosen=True)

    assert not problem.is_fatal
    assert "according to the address that was set the others connect to" in problem.text


@pytest.mark.parametrize("host", ["node2.example.org", "no-such-node.invalid"])
def test_rank_0_accepts_its_own_name_and_one_that_cannot_be_resolved(
    host,
):
    assert [] == elsewhere(host)


def test_rank_0_is_content_with_an_address_of_its_node(monkeypatch):
    monkeypatch.undo()

    assert [] == elsewhere("127.0.0.1")


def test_a_port_in_use_is_found_before_jax_shares_it():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        ((problem),) = preflight.check_port_free(("node1", port))
    assert "port-taken" == problem.kind
    assert str(port) in problem.text

    assert [] == list(preflight.check_port_free(("node1", port)))


WITHOUT_IPV6 = """
import socket
from jaxsif.rank import preflight
free = list(preflight.check_port_free(("node1", 0)))
with socket.create_server(("", 0)) as server:
    port = server.getsockname()[1]
    (taken,) = preflight.check_port_free(("node1", port))
print(free, taken.kind, preflight.is_own_address("::1"), preflight.is_own_address("::2"))
"""


def test_a_kernel_without_ipv6_is_no_reason_to_fail():
    done = subprocess.run(
        [
            sys.executable,
            TESTS / "helpers/no_ipv6.py",
            sys.executable,
            "-c",
            WITHOUT_IPV6,
        ],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
    )

    assert "[] port-taken True None\n" == done.stdout, done.stderr


def test_a_coordinator_whose_name_is_not_ascii_is_looked_up_as_it_stands():
    ((kind, text),) = kinds(("kn\u00f6ten.", 7))

    assert "coordinator-unknown" == kind
    assert "kn\u00f6ten." in text


def test_a_name_that_cannot_be_a_name_is_one_that_is_not_known():
    assert "coordinator-unknown" == kinds(("x" * 70, 7))[0][0]


def test_credentials_that_cannot_be_read_say_nothing_of_the_coordinator(tmp_path):
    with listener(settings_frame) as where, pytest.raises(FileNotFoundError):
        kinds(where, JAX_MTLS_CERT_FILE=str(tmp_path / "none.pem"))


def test_limits_of_this_process_are_no_finding_about_the_coordinator(monkeypatch):
    def full(*args):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "create_connection", full)

    with pytest.raises(OSError, match="Too many"):
        kinds(("127.0.0.1", 7))


@pytest.mark.parametrize(
    ("retransmits", "unacknowledged", "out_of_order", "expected"),
    [
        (0, 0, 0, False),
        (0, 3, 0, False),
        (1, 3, 0, False),
        (5, 3, 0, True),
        (5, 0, 0, False),
        (0, 0, 2, True),
    ],
)
def test_packets_that_do_not_arrive_show_in_what_the_kernel_counts(
    retransmits, unacknowledged, out_of_order, expected
):
    info = bytearray(232)
    info[2] = retransmits
    info[24:28] = unacknowledged.to_bytes(4, sys.byteorder)
    info[224:228] = out_of_order.to_bytes(4, sys.byteorder)

    assert expected == preflight.shows_loss(info)
    # As an older kernel reports it.
    assert (expected and not out_of_order) == preflight.shows_loss(info[:104])


def test_lost_large_packets_name_no_other_service(monkeypatch):
    monkeypatch.setattr(preflight, "loses_packets", lambda connection: True)

    def silent(connection):
        connection.recv(64)
        threading.Event().wait(1)

    with listener(silent) as where:
        ((kind, text),) = kinds(where)

    assert "large-packets-lost" == kind
    assert "127.0.0.1" in text
