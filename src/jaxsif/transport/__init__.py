"""Which network NCCL used: read from its log and the sockets, and rated."""
# SPDX-License-Identifier: Apache-2.0
