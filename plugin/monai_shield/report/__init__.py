# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures, tables and pages that a person reads."""

from monai_shield.report.attack_figure import AttackedSlice, attack_figure
from monai_shield.report.demo_page import render_demo
from monai_shield.report.pages import render_page
from monai_shield.report.study_page import StudyPageError, render_study
from monai_shield.report.words import closing_words
