# Copyright (c) The monai-shield authors.
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Studies: what a shield is worth, measured."""

from .attack_study import AttackStudy, attack_study_table
from .data import StudyData
from .defenses import DefenseStudy
from .evaluation import ShieldEvaluation
from .hardened import AdversarialTarget, DistilledTarget
from .origin import provenance
from .parts import AttackPart, DetectorPart, TargetPart
from .rivals import DefenseGANPart
from .run import run_attack_study, run_defense_study, run_evaluation
from .summary import EvaluationSummary
from .tables import write_results
from .training import Training
from .wgan import gradient_penalty, train_wgan
