# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Detection and harm."""

from monai_shield.metrics.bootstrap import subject_bootstrap
from monai_shield.metrics.detection import detection_auc, detection_roc, outranks, pair_order
from monai_shield.metrics.dice import dice_of_counts, overlap_counts, rejected_as_zero, rejected_deferred
from monai_shield.metrics.harm import residual_harm
from monai_shield.metrics.resampling import SubjectResamples
