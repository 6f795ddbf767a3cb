"""Read the transports that NCCL used from its own report (NCCL_DEBUG=INFO)."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Lines of NCCL 2.13 to 2.32, src/transport/{net,net_ib,net_socket,p2p,shm,nvls}.cc,
# src/graph/{topo,search}.cc, src/plugin/net.cc, src/init.cc; NET/OFI: aws-ofi-nccl.
_HOST = re.compile(r"^(?:\[\d{4}-\d\d-\d\d [\d:.]+\] )?([^\s:\[\]]+):\d+:\d+ \[\d+\]")
# `NCCL version 2.27.5+cuda12.9`, `RCCL version : 2.26.6-HEAD:64f48d7`
_VERSION = re.compile(r"\b[NR]?CCL version ?:? ?(\d+\.\d+\.\d+)")
_NETWORK = re.compile(r"NCCL INFO Using network (\S[^\n]{0,200})")
# `... [send] via NET/IBext_v8/2(5)/GDRDMA/Shared`: card 2, through rank 5's GPU.
_NET = re.compile(
    r"\bvia (?:NET|COLLNET)/([^/\n]{1,60})/(\d{1,9})(?:\(\d{1,9}\))?(/\S*|(?=\s|$))"
)
_P2P = re.compile(r"\bvia P2P/(MNNVL|IPC|CUMEM|direct pointer|indirect)")
_SHM = re.compile(r"\bvia (?:SHM/|SHM\b|direct shared memory)")
_NVLS = re.compile(r"\b([1-9]\d{0,8}) nvls channels|Connected NVLS tree|NVLS comm 0x")
# The topology: `+ NVL[264.0] - NVS/0`, and the search: `type NVL/PIX`.
_NVLINK = re.compile(r"NVL\[[\d.]+\] - (?:GPU|NVS)/|\btype NVL/")
# The same of RCCL: `+ XGMI[200.0] - GPU/C6000`, `type XGMI/PIX`.
_XGMI = re.compile(r"XGMI\[[\d.]+\] - GPU/|\btype XGMI/")
_TOPOLOGY = re.compile(r"=== System : maxBw|\bPattern \d+, crossNic")
_NODES = re.compile(r"\bn[Rr]anks \d{1,9} nNodes (\d{1,9}) ")
_CARDS = re.compile(r"NET/IB\w* : Using (.+)")
_CARD = re.compile(r"(?<![\w.+-])([\w.+-]{1,60}:\d{1,9})/(IB|RoCE)\b")
_SOCKETS = re.compile(r"NET/Socket : Using (.+)")
_SOCKET = re.compile(r"\[(\d{1,9})\]([^\s:]+)")
_PROVIDER = re.compile(
    r"NET/OFI Selected [Pp]rovider is (\w{1,60})(?:;\w{1,60})?[^\n(]{0,200}"
    r"(?:\(found (\d{1,9}) nics\))?"
)
_GPUDIRECT = re.compile(
    r"NET/([^:\n]{1,60}?) ?: GPU Direct RDMA (Enabled|Disabled) for HCA (\d{1,9})"
    r" '([^'\n]{1,60})'"
)
_RINGS = re.compile(r"Connected all rings, use ring PXN \d GDR ([01])\b")
_ALGORITHM = re.compile(r"-> Algo (\w{1,60}) proto (\w{1,60})")
_WARNING = re.compile(r"NCCL WARN (.+)")

# NCCL's own lines are shorter.
_MAX_LINE_CHARS = 4096

# By number in reports of NCCL 2.18 to 2.22 (NCCL_ALGO_* of src/include/nccl_common.h).
_ALGORITHMS = ("TREE", "RING", "COLLNET_DIRECT", "COLLNET_CHAIN", "NVLS", "NVLS_TREE")

# Why NCCL did not use a faster network, the most specific first.
_FALLBACK_REASONS = (
    (r"NCCL_IB_DISABLE set by environment to 1", "NCCL_IB_DISABLE=1 is set"),
    (r"NCCL_NET set by environment to Socket", "NCCL_NET=Socket is set"),
    (
        r"Failed to (?:open|load) (?:libibverbs|IB Verbs functions)",
        "libibverbs could not be loaded",
    ),
    (r"NET/IB : No device found", "NCCL found no RDMA device"),
    (
        r"NET/OFI (?:aws-ofi-nccl initialization failed|Initializing plugin failed)",
        "the libfabric plugin failed to start",
    ),
    (
        r"NET/Plugin ?: (?:Could not find|No plugin found|dlerror|Plugin load)",
        "no network plugin was found",
    ),
)


@dataclass(frozen=True)
class NcclReport:
    """The facts of one process's report; None or empty if not reported.

    `network` is NCCL's name for it (`IB`, `Socket`, `AWS Libfabric`), `provider` is
    libfabric's, `link` the protocol of its cards (`IB`, `RoCE`); `interfaces` are the
    cards or interfaces it offers, `count` their number if only that is reported.
    `has_net_channels`: whether this process itself uses it.
    """

    version: str | None = None
    network: str | None = None
    provider: str | None = None
    link: str | None = None
    interfaces: tuple[str, ...] = ()
    count: int = 0
    gpudirect: bool | None = None
    has_net_channels: bool = False
    has_p2p: bool = False
    has_shared_memory: bool = False
    has_nvls: bool = False
    # NVLink between GPUs of several nodes, as in a GB200 rack.
    has_multi_node_nvlink: bool = False
    has_nvlink: bool | None = None
    # AMD's Infinity Fabric between GPUs.
    has_xgmi: bool = False
    nodes: int | None = None
    algorithms: tuple[str, ...] = ()
    fallback_reasons: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether NCCL reported no transport."""
        return not (
            self.network
            or self.has_net_channels
            or self.has_p2p
            or self.has_shared_memory
            or self.has_nvls
            or self.has_multi_node_nvlink
        )


def read_report(text: str, host: str | None = None) -> NcclReport:
    """Parse a report. Lines that are cut, mixed or of other programs are ignored.

    Args:
      host: where this process runs; lines of other hosts, in a file that several share,
        are left out.
    """
    # What comes after the last line's end is still being written.
    lines = [
        line[:_MAX_LINE_CHARS] for line in text[: text.rfind("\n") + 1].splitlines()
    ]
    lines = [line for line in lines if _matches_host(line, host)]
    text = "\n".join(lines)
    channels = _channels(lines)
    network = channels[-1][0] if channels else _last(_NETWORK, text)
    used = {device for name, device, _ in channels if name == network}
    interfaces, link = _interfaces(network, used, text)
    provider = _PROVIDER.search(text)
    reported = int(provider[2] or 0) if provider else 0
    p2p = {match[1] for match in _P2P.finditer(text)}
    is_libfabric = _is_libfabric(network)
    return NcclReport(
        version=_last(_VERSION, text),
        network=network,
        provider=provider[1] if provider and is_libfabric else None,
        link=link,
        interfaces=interfaces,
        count=max(len(interfaces), reported if is_libfabric else 0, len(used)),
        gpudirect=_gpudirect(network, channels, text),
        has_net_channels=bool(channels),
        has_p2p=bool(p2p - {"MNNVL"}),
        has_shared_memory=bool(_SHM.search(text)),
        has_nvls=bool(_NVLS.search(text)),
        has_multi_node_nvlink="MNNVL" in p2p,
        has_nvlink=_has_nvlink(text),
        has_xgmi=bool(_XGMI.search(text)),
        nodes=max((int(match[1]) for match in _NODES.finditer(text)), default=None),
        algorithms=tuple(dict.fromkeys(_algorithms(text))),
        fallback_reasons=tuple(
            w for pattern, w in _FALLBACK_REASONS if re.search(pattern, text)
        ),
    )


def warnings(text: str) -> list[str]:
    """NCCL's own warnings, as whole lines, each once."""
    lines = [line.strip() for line in text.splitlines() if _WARNING.search(line)]
    return list(dict.fromkeys(lines))


def _matches_host(line: str, host: str | None) -> bool:
    match = _HOST.match(line)
    return host is None or match is None or _short_name(match[1]) == _short_name(host)


def _short_name(host: str) -> str:
    return host.partition(".")[0]


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    matches = pattern.findall(text)
    return str(matches[-1]).rstrip() if matches else None


def _channels(lines: Iterable[str]) -> list[tuple[str, int, bool]]:
    """For each network channel: network name, card, whether with GPUDirect."""
    matches = (_NET.search(line) for line in lines)
    return [
        (match[1], int(match[2]), match[3].startswith("/GDRDMA"))
        for match in matches
        # Any other suffix was cut, or belongs to another line.
        if match and re.match(r"(/GDRDMA(\(\w+\))?)?(/Shared)?$", match[3])
    ]


def _interfaces(
    network: str | None, used: set[int], text: str
) -> tuple[tuple[str, ...], str | None]:
    """Names, and for RDMA the kind of link; for sockets only those in use."""
    if network == "Socket":
        named = dict(_SOCKET.findall(_last(_SOCKETS, text) or ""))
        names = [name for number, name in named.items() if int(number) in used]
        return tuple(names or named.values()), None
    cards = _CARD.findall(_last(_CARDS, text) or "")
    if cards and network is not None and network.startswith("IB"):
        links = {link for _, link in cards}
        return tuple(dict.fromkeys(card for card, _ in cards)), (
            links.pop() if len(links) == 1 else "IB and RoCE"
        )
    names = [match[4] for match in _GPUDIRECT.finditer(text) if match[1] == network]
    return tuple(dict.fromkeys(names)), None


def _gpudirect(
    network: str | None, channels: list[tuple[str, int, bool]], text: str
) -> bool | None:
    """By the channels; if this process has none, by NCCL's report of the cards."""
    if network is None or network == "Socket":
        return None
    if channels:
        return all(with_gpudirect for _, _, with_gpudirect in channels)
    cards = [m[2] == "Enabled" for m in _GPUDIRECT.finditer(text) if m[1] == network]
    rings = _last(_RINGS, text)
    if rings is not None and cards:
        return rings == "1" and any(cards)
    return any(cards) if cards else None


def _has_nvlink(text: str) -> bool | None:
    """Whether NVLink joins this node's GPUs; None if the report has no topology."""
    if _NVLINK.search(text):
        return True
    return False if _TOPOLOGY.search(text) else None


def _is_libfabric(network: str | None) -> bool:
    return network is not None and ("Libfabric" in network or network == "OFI")


def _algorithms(text: str) -> Iterator[str]:
    for match in _ALGORITHM.finditer(text):
        name = match[1]
        if not name.isdecimal():
            yield name
        elif int(name) < len(_ALGORITHMS):
            yield _ALGORITHMS[int(name)]
