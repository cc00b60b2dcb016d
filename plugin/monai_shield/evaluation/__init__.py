# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a shield is worth, measured: attack, defend, count; resumable."""

from monai_shield.evaluation.attack_study import AttackStudy
from monai_shield.evaluation.attack_study_summary import attack_study_table
from monai_shield.evaluation.provenance import provenance
from monai_shield.evaluation.run import run_evaluation
from monai_shield.evaluation.shield_evaluation import ShieldEvaluation
from monai_shield.evaluation.slice_evaluation import AttackedNetwork
from monai_shield.evaluation.summary import EvaluationSummary
from monai_shield.evaluation.volume import Slicing
