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
"""What a bundle needs around its networks."""

from monai_shield.locks import or_exit
from monai_shield.utils import atomic_path, load_weights, save_weights, sha256, verify_sum, write_sum

from .attack import BundleAttack
from .attack_arguments import attack_files, make_attack
from .calibrate import ShieldCalibrator
from .detector import load_detector
from .files import FileRunner
from .names import image_files
from .root import find_bundle
from .signature import make_keys, sign_bundle, verify_bundle
from .target import BundleAttackError, BundleTarget
from .trust import BundleTrustError, is_own_bundle, require_trust
from .written import check_written
