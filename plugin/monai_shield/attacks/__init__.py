# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Attacks on segmentation networks: ``attack(network, image, label=None, mask=None) -> AttackResult``."""

from monai_shield.attacks.alma_prox import ALMAProx
from monai_shield.attacks.apgd import APGD
from monai_shield.attacks.asma import ASMA
from monai_shield.attacks.base import Attack, AttackResult
from monai_shield.attacks.bpda import BPDA
from monai_shield.attacks.criteria import AllOf, AnyOf, Criterion, RemainingShare, StructureDice, TargetDice
from monai_shield.attacks.dag import DAG
from monai_shield.attacks.eot import ExpectationNetwork
from monai_shield.attacks.fgsm import BIM, FGSM, MIFGSM
from monai_shield.attacks.frozen import FrozenNetwork
from monai_shield.attacks.heads import MultiLabel, SelectOutput
from monai_shield.attacks.noise import UniformNoise
from monai_shield.attacks.pgd import PGD
from monai_shield.attacks.sea import SEA
from monai_shield.attacks.seg_pgd import CosPGD, SegPGD
from monai_shield.attacks.sliding import SlidingWindowNetwork
from monai_shield.attacks.smia import SMIA
from monai_shield.attacks.square import Square
from monai_shield.attacks.targets import TARGETS, Background, Dilate, Exchange, RunnerUp
from monai_shield.attacks.transfer import Transfer
from monai_shield.attacks.universal import UniversalPerturbation
from monai_shield.attacks.vafa import VAFA

ATTACKS: dict[str, type[Attack]] = {
    "alma_prox": ALMAProx,
    "apgd": APGD,
    "asma": ASMA,
    "bim": BIM,
    "cos_pgd": CosPGD,
    "dag": DAG,
    "fgsm": FGSM,
    "mi_fgsm": MIFGSM,
    "pgd": PGD,
    "sea": SEA,
    "seg_pgd": SegPGD,
    "smia": SMIA,
    "square": Square,
    "transfer": Transfer,
    "uniform_noise": UniformNoise,
    "universal": UniversalPerturbation,
    "vafa": VAFA,
}
