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
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from monai_shield.attacks import Attack, FrozenNetwork
from monai_shield.studies import AttackStudy

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "brain_mri_shield" / "configs"


@pytest.fixture
def config(tmp_path):
    parser = ConfigParser()
    overlay = ROOT / "configs" / "studies" / "attacks.json"
    parser.read_config([str(BUNDLE / "inference.json"), str(BUNDLE / "evaluate.json"), str(overlay)])
    parser["bundle_root"] = str(BUNDLE.parent)
    parser["dataset_dir"] = "nowhere"
    parser["evaluation_datalist"] = []
    parser["attack_study_dir"] = str(tmp_path)
    return parser


def test_the_study_of_the_attacks_is_what_its_config_says(config):
    study = config.get_parsed_content("attack_study_definition")
    assert isinstance(study, AttackStudy)
    assert isinstance(study.network, FrozenNetwork)
    assert all(isinstance(attack, Attack) for attack in study.attacks.values())
    assert study.exported <= set(study.attacks)


def test_the_names_in_its_table_tell_the_settings(config):
    for name, attack in config.get_parsed_content("attacks").items():
        assert not attack.attack_background
        assert attack.confine_to_mask
        if hasattr(attack, "epsilon"):
            assert f"{255 * attack.epsilon:g}/255" in name
        words = name.replace(",", "").split()
        if words[-1] in ("steps", "queries"):
            assert attack.max_steps == int(words[-2])
        assert name.lower().startswith(attack.info.name.lower())
