"""The search for a slow node: rounds of pairs, their times, and what explains them."""
# SPDX-License-Identifier: Apache-2.0
