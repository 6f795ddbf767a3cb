"""Linux system calls that Python 3.9 lacks; on the host and in nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV = 1, 2, 4
MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 4096, 16384, 1 << 18, 1 << 19
MNT_DETACH = 2

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME = 1, 4, 15

# The same on every architecture: these calls are younger than the common table.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4
_MOUNT_ATTR_IDMAP = 0x00100000

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def unshare(flags: int) -> None:
    _checked(_libc.unshare(ctypes.c_int(flags)), f"unshare {flags:#x}")


def setns(file_descriptor: int, what: str) -> None:
    _checked(_libc.setns(ctypes.c_int(file_descriptor), 0), f"setns {what}")


def mount(
    source: str, target: str, kind: str = "", flags: int = 0, data: str = ""
) -> None:
    _checked(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            os.fsencode(data) or None,
        ),
        f"mount {kind or 'bind'} {source} on {target}",
    )


def detach(target: str) -> None:
    result = _libc.umount2(os.fsencode(target), MNT_DETACH)
    _checked(result, f"umount {target}")


def die_with_parent(signal_number: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def make_inspectable() -> None:
    """Lets the user who owns the namespaces open /proc/PID/ns of this process.

    A change of user id disables that, until an exec.
    """
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def set_process_name(name: str) -> None:
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount_with_ids(source: str, target: str, user_namespace: int) -> None:
    """Binds source on target; owners on disk appear as the namespace maps them."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    tree = _libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags)
    _checked(tree, f"open_tree {source}")
    try:
        attributes = _MountAttributes(_MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        reference = ctypes.byref(attributes)
        _checked(
            _libc.syscall(
                _SYS_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, reference, size
            ),
            f"mount_setattr {source}",
        )
        _checked(
            _libc.syscall(
                _SYS_MOVE_MOUNT,
                tree,
                b"",
                _AT_FDCWD,
                os.fsencode(target),
                _MOVE_MOUNT_F_EMPTY_PATH,
            ),
            f"move_mount {target}",
        )
    finally:
        os.close(tree)
