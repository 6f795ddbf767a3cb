"""The charts of the page, for plotly.js."""
# SPDX-License-Identifier: Apache-2.0
