# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a command is given, checked before torch and MONAI are imported: that takes ten seconds."""

from monai_shield.command_line.arguments import AttackScope, attack_files, inference_config, whole_number
from monai_shield.command_line.attack_settings import attack_settings, check_settings, settings_help
from monai_shield.command_line.files import check_names, file_stem, image_files, shown
from monai_shield.command_line.trust import BundleTrustError, check_trust, is_own_bundle, require_trust
