"""What is handed to JAX where a group is joined: nothing of the kit's contradicts what the user chose."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import socket

import pytest

from jaxsif.core.slurm_env import LOCAL_LAUNCH, Identity
from jaxsif.rank import distributed

NODE = "10.7.0.1"


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """A name service, and a node that answers to its own address."""
    known = {
        "node1": [NODE],
        "self": ["127.0.1.1"],
        "two": [NODE, "10.8.0.1"],
        "proxy": ["10.9.0.1"],
    }

    def look_up(host, *rest):
        return [(0, 0, 0, "", (a, 0)) for a in known.get(host, [host])]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(
        distributed, "is_own_address", lambda a: a == NODE or a.startswith("127.")
    )


def bound(host="node1", rank=0, launcher="Slurm", settings=None, **environment):
    who = Identity("c.7.0.0", rank, 8, rank, "node1", "node[1-2]", launcher=launcher)
    return distributed.address_to_bind((host, 5555), who, environment, settings or {})


def test_rank_0_listens_on_the_one_address_of_its_name():
    assert f"{NODE}:5555" == bound()


@pytest.mark.parametrize(
    "case",
    [
        {"rank": 3},
        {"host": "self"},
        {"host": "two"},
        {"host": "proxy"},
        {"JAX_COORDINATOR_ADDRESS": "node1:5555"},
        {"JAX_COORDINATOR_BIND_ADDRESS": "0.0.0.0:5555"},
        {"settings": {"coordinator_address": "node1:5555"}},
        {"settings": {"coordinator_bind_address": "0.0.0.0:5555"}},
    ],
)
def test_else_the_choice_is_the_users_or_jaxs(case):
    assert bound(**case) is None


def test_a_local_group_listens_to_this_machine_alone():
    where = {"JAX_COORDINATOR_ADDRESS": "127.0.0.1:5555"}

    assert "127.0.0.1:5555" == bound("127.0.0.1", launcher=LOCAL_LAUNCH, **where)


def test_certificates_that_the_program_names_are_those_of_the_preflight():
    settings = {"mtls_cert_file": "/my/cert.pem", "mtls_key_file": None}
    environment = {"JAX_MTLS_CERT_FILE": "/x", "JAX_MTLS_KEY_FILE": "/k"}

    merged = distributed.with_arguments(environment, settings)

    assert merged == {"JAX_MTLS_CERT_FILE": "/my/cert.pem", "JAX_MTLS_KEY_FILE": "/k"}
