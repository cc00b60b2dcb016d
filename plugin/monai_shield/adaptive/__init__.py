# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Attacks that know the whole shield."""

from monai_shield.adaptive.pgd import AdaptivePGD
from monai_shield.adaptive.shielded import ShieldedNetwork
