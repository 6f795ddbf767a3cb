"""The bandwidth of collectives: measured, expected, and rated."""
# SPDX-License-Identifier: Apache-2.0
