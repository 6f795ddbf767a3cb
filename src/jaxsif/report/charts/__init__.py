"""The page's charts, as plotly.js takes them; pure."""
# SPDX-License-Identifier: Apache-2.0
