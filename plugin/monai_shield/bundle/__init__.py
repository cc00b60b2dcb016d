# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a bundle needs around its networks."""

from monai_shield.bundle.attack import BundleAttack
from monai_shield.bundle.attack_table import attack_words
from monai_shield.bundle.attacked_file import AttackedBatch, AttackedFile, attack_file, bearing_cases
from monai_shield.bundle.calibrate import ShieldCalibrator
from monai_shield.bundle.command import bundle_command, run_bundle
from monai_shield.bundle.detector import fitted_detectors, load_detector
from monai_shield.bundle.files import FileRunner
from monai_shield.bundle.root import bundle_root, find_bundle
from monai_shield.bundle.shared import labeled_preprocessing, shared_part
from monai_shield.bundle.signature import make_keys, sign_bundle, verify_bundle
from monai_shield.bundle.target import BundleTarget
from monai_shield.bundle.written import check_written
from monai_shield.command_line import BundleTrustError, image_files, is_own_bundle, require_trust
from monai_shield.errors import BundleError
from monai_shield.locks import make_folder, or_exit
from monai_shield.utils import atomic_path, load_weights, save_weights, sha256, verify_sum, write_sum
