"""How fast collectives are: what is measured in the ranks, what is expected, how it is rated."""
# SPDX-License-Identifier: Apache-2.0
