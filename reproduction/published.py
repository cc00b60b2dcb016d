# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What Park et al. 2020 (arXiv 2009.11090) report: Table 1, ROC-AUC in percent."""

#: By the name a detector has in the configs, then by target.
PAPER_AUC = {
    name: dict(zip(("UNet", "SegNet", "DenseNet", "mean"), values))
    for name, values in {
        "AE I": (54.27, 57.87, 57.18, 56.44),
        "AE II": (53.17, 56.09, 56.10, 55.12),
        "UNet spatial": (84.58, 97.36, 92.49, 91.48),
        "DenseNet spatial": (80.29, 95.21, 87.56, 87.69),
        "UNet frequency": (52.74, 53.81, 52.90, 53.15),
        "DenseNet frequency": (52.39, 55.35, 55.49, 54.41),
        "UNet shifted": (96.12, 98.82, 99.34, 98.09),
        "DenseNet shifted": (90.62, 98.09, 97.42, 95.38),
    }.items()
}
