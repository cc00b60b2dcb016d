# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Park et al. 2020 anew: the grid of the paper, measured with the plugin's parts."""

from reproduction.baseline_defenses import DefenseGANPart
from reproduction.data import StudyData
from reproduction.dcgan import dcgan_critic, dcgan_generator
from reproduction.defense_gan import DefenseGAN, resample
from reproduction.grid import Grid, StudySettings
from reproduction.paper import paper_study
from reproduction.parts import AttackPart, DetectorPart, TargetPart
from reproduction.rearranged import RolledNetwork, ShuffledNetwork, circular_padding
from reproduction.robust_targets import AdversarialTarget, DistilledTarget
from reproduction.run import run_defense_study
from reproduction.study import DefenseStudy
from reproduction.training import Training
