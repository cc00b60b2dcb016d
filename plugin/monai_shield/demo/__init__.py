# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The demo: one attack on one brain, with and without the shield."""

from monai_shield.demo.story import run_demo
