"""Coordinator ports: a fixed order, one launch each, free for JAX to listen on."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from jaxsif.core.errors import KitError, UsageError
from jaxsif.launch import environment as ports
from jaxsif.rank.preflight import check_port_free


@pytest.fixture
def free() -> list[int]:
    """Three ports that are free at the moment."""
    holders = [socket.socket() for _ in range(3)]
    for holder in holders:
        holder.bind(("127.0.0.1", 0))
    numbers = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return numbers


def listen_as_jax(number: int) -> socket.socket:
    """gRPC's server sets both options."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.bind(("127.0.0.1", number))
    server.listen()
    return server


def test_the_first_free_port_is_taken_and_the_next_launch_gets_the_next(free):
    with ports.reserve_port(free).lock, ports.reserve_port(free).lock as second:
        assert free[1] == second.getsockname()[1]


def test_an_ended_launch_gives_its_port_back(free):
    ports.reserve_port(free).lock.close()

    with ports.reserve_port(free).lock as lock:
        assert free[0] == lock.getsockname()[1]


def test_a_launch_in_another_process_gives_it_back_even_when_killed(free):
    program = (
        "import sys, time; from jaxsif.launch import environment as ports;"
        f" held = ports.reserve_port({free}); print(held.number, flush=True); time.sleep(600)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert f"{free[0]}\n" == other.stdout.readline()
    with ports.reserve_port(free).lock as meanwhile:
        assert free[1] == meanwhile.getsockname()[1]

    other.kill()
    other.wait()

    with ports.reserve_port(free).lock as afterwards:
        assert free[0] == afterwards.getsockname()[1]


def test_while_it_is_held_jax_can_listen_and_the_preflight_finds_nothing(free):
    held = ports.reserve_port(free)
    with held.lock:
        assert [] == list(check_port_free(("127.0.0.1", held.number)))
        with listen_as_jax(held.number):
            # What it looks for is there now, so it does look.
            assert 1 == len(list(check_port_free(("127.0.0.1", held.number))))


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_passed_over(free, address):
    with (
        socket.create_server((address, free[0]), reuse_port=True),
        ports.reserve_port(free).lock as lock,
    ):
        assert free[1] == lock.getsockname()[1]


def test_a_connection_that_has_just_ended_there_does_not_matter(free):
    with listen_as_jax(free[0]) as server:
        client = socket.create_connection(("127.0.0.1", free[0]))
        served, _ = server.accept()
        # The side that closes first keeps the port in TIME_WAIT.
        served.close()
        client.close()

    with ports.reserve_port(free).lock as lock:
        assert free[0] == lock.getsockname()[1]


def test_where_no_port_is_free_it_says_what_to_do(free):
    with ports.reserve_port(free[:1]).lock, pytest.raises(KitError) as raised:
        ports.reserve_port(free[:1])

    assert "set JAX_COORDINATOR_PORT to a free one" in str(raised.value)


def test_the_ports_lie_above_those_of_job_steps_and_below_those_of_linux():
    assert (12288 + 20011, 32767) == (ports.PORTS[0], ports.PORTS[-1])


def test_launches_have_ids_of_their_own_at_one_time_and_at_one_port(free):
    with socket.socket() as lock:
        held = [ports.ReservedPort(number, lock) for number in ports.PORTS]
        ids = {port.job_id(now_s) for port in held for now_s in (1.8e9, 1.8e9 + 0.02)}

    assert 2 * len(ports.PORTS) == len(ids)
    assert all(0 <= number < 2**31 for number in ids)


@pytest.mark.parametrize("port", ["x", "0", "70000", "-1"])
def test_a_port_of_the_users_that_is_none_is_refused(port):
    with pytest.raises(UsageError, match="expected a port"):
        ports.require_free_port(port)


def test_a_port_of_the_users_that_is_in_use_is_refused():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(UsageError, match="which another program uses"),
    ):
        ports.require_free_port(str(server.getsockname()[1]))
