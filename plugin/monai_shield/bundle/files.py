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
"""Defended inference on files: one after the other, and none of them stops the rest."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import DataLoader, Dataset
from monai.engines import Evaluator
from tqdm import tqdm

from monai_shield.utils import atomic_path, first_line

__all__ = ["FileRunner", "file_stem", "image_files", "root_cause"]

logger = logging.getLogger(__name__)


def image_files(path: str | Path | Sequence[str | Path]) -> list[dict[str, str]]:
    """
    A datalist of files.

    Args:
        path: one file, several, or a folder: then its ``volumes/*_SS.nii.gz`` where it has such, else whatever
            ``*.nii`` and ``*.nii.gz`` lie in it.

    Raises:
        FileNotFoundError: where the folder holds no NIfTI file.
    """
    if not isinstance(path, (str, Path)):
        return [{"image": str(entry)} for entry in path]
    root = Path(path)
    if not root.is_dir():
        return [{"image": str(root)}]
    found = sorted(root.glob("volumes/*_SS.nii.gz")) or sorted([*root.glob("*.nii"), *root.glob("*.nii.gz")])
    if not found:
        raise FileNotFoundError(f"no NIfTI file in folder '{root}'.")
    return [{"image": str(file)} for file in found]


class FileRunner:
    """
    Run an evaluator over files, one engine run a file, so that a bad file costs only itself.

    Beside the segmentations it writes one ``<name>_shield.json`` a file (status, score, threshold, p-value, rejected,
    reason, per slice too) and, at the end, ``shield.json`` with the summary of all.

    Args:
        evaluator: MONAI evaluator with the shield as its inferer; its postprocessing leaves the decision in "result".
        datalist: one dictionary a file, the file under "image".
        preprocessing: from file to network.
        output_dir: folder of the JSON files.

    Raises:
        ValueError: where two files have the same name: one result would overwrite the other.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        datalist: Sequence[Mapping[str, Any]],
        preprocessing: Any,
        output_dir: str | Path,
    ) -> None:
        self.evaluator = evaluator
        # Else ignite keeps the remains of a run that failed, and the next one, on the next file, does nothing.
        self.evaluator.interrupt_resume_enabled = False
        self.datalist = list(datalist)
        count = Counter(file_stem(entry["image"]) for entry in self.datalist)
        twice = [name for name, times in count.items() if times > 1]
        if twice:
            raise ValueError(f"several files are named {', '.join(twice)}: their results would overwrite one another.")
        self.preprocessing = preprocessing
        self.output_dir = Path(output_dir)
        self.summary: list[dict[str, Any]] = []

    def run(self) -> list[dict[str, Any]]:
        """Segment every file; returns (and writes) one summary a file."""
        self.summary = []
        for entry in tqdm(self.datalist, desc="segmenting", unit="file"):
            record = self._run_one(entry)
            self._write(self.output_dir / f"{file_stem(entry['image'])}_shield.json", record)
            self.summary.append({key: value for key, value in record.items() if not key.startswith("slice_")})
            log = logger.error if record["status"] == "error" else logger.info
            log("%s: %s%s", record["file"], record["status"], f" ({record['reason']})" if record["reason"] else "")
        self._write(self.output_dir / "shield.json", self.summary)
        return self.summary

    def finish(self) -> None:
        """
        Say how it went.

        Raises:
            SystemExit: with 1, where a file failed.
        """
        failed = [record["file"] for record in self.summary if record["status"] == "error"]
        rejected = sum(record["status"] == "rejected" for record in self.summary)
        logger.info("%d files: %d rejected, %d failed.", len(self.summary), rejected, len(failed))
        if failed:
            raise SystemExit(1)

    def _run_one(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        file = str(entry["image"])
        try:
            # Loading, inference and saving are all inside: whatever fails, fails for this file alone.
            self.evaluator.data_loader = DataLoader(Dataset([dict(entry)], self.preprocessing), batch_size=1)
            self.evaluator.state.epoch_length = 1
            self.evaluator.state.output = None  # that of the file before
            self.evaluator.run()
            (output,) = self.evaluator.state.output
            decision = output["result"]["shield"]
        except (Exception, SystemExit) as error:
            reason = root_cause(error)
            return {"file": file, "status": "error", "reason": reason.replace(f"'{file}': ", "")}
        status = "rejected" if decision["rejected"] else "accepted"
        return {"file": file, "status": status, **decision}

    @staticmethod
    def _write(path: Path, content: Any) -> None:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def file_stem(file: Any) -> str:
    """The name of a NIfTI file, without its folder and its ending."""
    return Path(str(file)).name.removesuffix(".gz").removesuffix(".nii")


def root_cause(error: BaseException) -> str:
    """What went wrong first, in one line: MONAI wraps the error of a transform in one that names the transform."""
    while error.__cause__ is not None and not isinstance(error, (FileNotFoundError, ValueError)):
        error = error.__cause__
    return first_line(error)
