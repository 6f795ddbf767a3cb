"""The search for the slow node: rounds of pairs, their times, and which node or switch explains them."""
# SPDX-License-Identifier: Apache-2.0
