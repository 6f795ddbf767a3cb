"""Which proxies gRPC follows and which exceptions it knows: its own rules, row by row."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from nodes import only, well

from jaxsif.node.network import proxy

HTTP = {"http_proxy": "http://proxy.site:3128"}


@pytest.mark.parametrize(
    ("environment", "host"),
    [
        ({}, "node1"),
        (HTTP, None),
        ({"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:1"}, "node1"),
        ({"all_proxy": "http://p:1"}, "node1"),
        ({**HTTP, "grpc_proxy": ""}, "node1"),
        ({"http_proxy": "https://p:1"}, "node1"),
        ({"http_proxy": "p:1"}, "node1"),
        ({**HTTP, "no_proxy": "node1"}, "node1"),
        ({**HTTP, "no_proxy": "localhost, NODE1"}, "node1"),
        ({**HTTP, "no_proxy": ".cluster"}, "node1.cluster"),
        ({**HTTP, "no_proxy": "10.0.0.0/8"}, "10.0.0.1"),
        ({**HTTP, "no_proxy": "10.0.0.1"}, "10.0.0.1"),
        ({**HTTP, "no_proxy": "fd00::/8"}, "[fd00::1]"),
        ({**HTTP, "no_proxy": "other", "no_grpc_proxy": "node1"}, "node1"),
        ({**HTTP, "no_proxy": "localhost, "}, "node1"),
    ],
)
def test_the_coordinator_is_reached_without_a_proxy(tmp_path, environment, host):
    assert [] == list(proxy(well(tmp_path, environment), host))


@pytest.mark.parametrize(
    ("environment", "host", "said"),
    [
        (HTTP, "node1", "http_proxy sends"),
        ({"https_proxy": "http://p:1", **HTTP}, "node1", "https_proxy sends"),
        ({"grpc_proxy": "http://p:1", **HTTP}, "node1", "grpc_proxy sends"),
        ({**HTTP, "no_proxy": "*"}, "node1", "gRPC supports no wildcard"),
        ({**HTTP, "no_proxy": "*.cluster"}, "node1.cluster", "no_proxy='*.cluster'"),
        ({**HTTP, "NO_PROXY": "node1"}, "node1", "gRPC does not read NO_PROXY='node1'"),
        ({**HTTP, "no_proxy": "node10"}, "node1", "does not name it"),
        # A range says nothing of a name, although the name has an address there.
        ({**HTTP, "no_proxy": "10.0.0.0/8"}, "node1", "does not name it"),
        ({**HTTP, "no_proxy": "10.0.0.0/99"}, "10.0.0.1", "does not name it"),
        (
            {**HTTP, "no_proxy": "node1", "no_grpc_proxy": "x"},
            "node1",
            "no_grpc_proxy='x'",
        ),
        ({**HTTP, "no_proxy": ""}, "node1", "no_proxy='' does not name it"),
    ],
)
def test_the_coordinator_would_be_asked_for_through_a_proxy(
    tmp_path, environment, host, said
):
    problem = only(proxy(well(tmp_path, environment), host))

    assert ("proxy", True) == (problem.kind, problem.is_fatal)
    assert said in problem.text
    assert f"no_grpc_proxy={host}" in problem.remedy


def test_a_password_is_not_repeated(tmp_path):
    environment = {"http_proxy": "http://me:secret@proxy:3128/"}

    problem = only(proxy(well(tmp_path, environment), "node1"))

    assert "to the proxy proxy:3128;" in problem.text
    assert "secret" not in str(problem)
