"""Check that gRPC, and so JAX, does not send the group's traffic to a proxy."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator

from jaxsif.core.problem import Problem
from jaxsif.node.host_info import HostInfo

# gRPC's rules: the first variable that is set counts, even if empty; lower case only;
# only http://; the first list that is set counts; an entry is a suffix of a name, or a
# range of addresses if the host is an address. No wildcard.
# (grpc/grpc: src/core/handshaker/http_connect/http_proxy_mapper.cc)
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


def proxy(host_info: HostInfo, coordinator_host: str | None) -> Iterator[Problem]:
    """Report a proxy between a rank and its coordinator; the rank would time out."""
    environment = host_info.environment
    name = next((name for name in _PROXIES if name in environment), None)
    if coordinator_host is None or name is None:
        return
    scheme, _, rest = environment[name].partition("://")
    if scheme.lower() != "http" or not rest:
        return
    exceptions = next((e for e in _EXCEPTIONS if e in environment), None)
    host = coordinator_host.strip("[]")
    if exceptions and _is_excepted(host, environment[exceptions]):
        return
    yield Problem(
        "proxy",
        f"{name} sends this rank's connection to the coordinator {host} to the proxy"
        f" {_without_password(rest)}; {_explain_no_proxy(host_info, exceptions)}",
        f"export no_grpc_proxy={host} (lower case, no wildcard), or start the program"
        " with `singularity run`, which sets it",
    )


def _is_excepted(host: str, exceptions: str) -> bool:
    return any(
        host.lower().endswith(entry.strip().lower()) or _is_within(host, entry.strip())
        for entry in exceptions.split(",")
        if entry
    )


def _is_within(host: str, entry: str) -> bool:
    if "/" not in entry:
        return False
    # Rarely needed, and four milliseconds to import.
    import ipaddress

    try:
        network = ipaddress.ip_network(entry, strict=False)
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def _explain_no_proxy(host_info: HostInfo, exceptions: str | None) -> str:
    if exceptions is None:
        upper = host_info.variable("NO_PROXY")
        return (
            f"gRPC does not read NO_PROXY={upper!r}"
            if upper
            else "no_proxy does not name it"
        )
    value = host_info.environment[exceptions]
    wildcard = ", and gRPC supports no wildcard" if "*" in value else ""
    return f"{exceptions}={value!r} does not name it{wildcard}"


def _without_password(address: str) -> str:
    return address.rpartition("@")[2].rstrip("/")
