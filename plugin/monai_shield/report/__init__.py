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
"""Figures, tables and pages that a person reads."""

from .attack_figure import AttackedSlice, attack_figure
from .defense_page import defense_captions
from .demo import Demo, DemoError, closing_words
from .demo_attack import write_label
from .demo_page import render_demo
from .study_page import StudyPageError, render_study

__all__ = [
    "AttackedSlice",
    "Demo",
    "DemoError",
    "StudyPageError",
    "attack_figure",
    "closing_words",
    "defense_captions",
    "render_demo",
    "render_study",
    "write_label",
]
