# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent in place of features, by the state of the channel."""
