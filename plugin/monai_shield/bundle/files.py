# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Defended inference on files: one after the other, and none of them stops the rest."""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import DataLoader, Dataset
from monai.engines import Evaluator

from monai_shield.bundle.each_file import Record, for_each_file, remove, sweep
from monai_shield.bundle.written import check_written
from monai_shield.command_line import check_names, file_stem, shown
from monai_shield.locks import one_run
from monai_shield.networks.heads import Head, check_head
from monai_shield.utils import first_line, write_json

logger = logging.getLogger(__name__)


class FileRunner:
    """
    Run an evaluator over files, one engine run a file, so that a bad file costs only itself.

    For each file it leaves ``<name>_seg.nii.gz`` and ``<name>_shield.json`` (status, score, threshold, p-value,
    rejected, reason, per slice too), and at the end ``shield.json`` with the summary of all. What an earlier run left
    under these names is removed before the first file: a result belongs to the file that lies there now.

    A label is saved into ``staging_dir``, read in again by nibabel, compared with its file in shape and affine, and
    given its name last, after the JSON: a run that was killed leaves no label without a decision.

    Args:
        evaluator: MONAI evaluator with the shield as its inferer; its postprocessing leaves the decision in "result"
            and saves one label a file to ``staging_dir``.
        datalist: one dictionary a file, the file under "image".
        preprocessing: from file to network.
        output_dir: folder of the results; one run at a time.
        staging_dir: folder where the postprocessing saves; emptied. By default ``.unchecked`` in ``output_dir``.
        head: what the target's channels stand for, to know how many channels a label may have.

    Raises:
        ValueError: where two files have the same name, so that one result would overwrite the other, or where the
            results would be written into the folder of an input.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        datalist: Sequence[Mapping[str, Any]],
        preprocessing: Any,
        output_dir: str | Path,
        staging_dir: str | Path | None = None,
        head: Head | None = None,
    ) -> None:
        self.evaluator = evaluator
        # Else ignite keeps the remains of a run that failed, and the next one, on the next file, does nothing.
        self.evaluator.interrupt_resume_enabled = False
        self.datalist = list(datalist)
        self.head = check_head(head)
        self.output_dir = Path(output_dir)
        self.staging_dir = self.output_dir / ".unchecked" if staging_dir is None else Path(staging_dir)
        check_names([entry["image"] for entry in self.datalist], self.output_dir)
        self.preprocessing = preprocessing
        self.summary: list[Record] = []

    def run(self) -> list[Record]:
        """
        Segment every file; returns (and writes) one summary a file.

        Raises:
            RefusedError: where another run writes to the same folder.
            OSError: where the folder cannot be written to.
        """
        self.summary = []
        with one_run(self.output_dir):
            try:
                self._clear()
                entries = {str(entry["image"]): entry for entry in self.datalist}
                records = for_each_file(entries, "segmenting", lambda file: self._take(file, entries[file]), self._fail)
                self.summary = [
                    {key: value for key, value in record.items() if not key.startswith("slice_")} for record in records
                ]
                write_json(self.summary, self.output_dir / "shield.json")
            finally:
                shutil.rmtree(self.staging_dir, ignore_errors=True)
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

    def _clear(self) -> None:
        """Remove earlier results and what a kill left, labels first: none may stand without its decision."""
        shutil.rmtree(self.staging_dir, ignore_errors=True)
        pairs = [self._results(str(entry["image"])) for entry in self.datalist]
        for path in (*(label for label, _ in pairs), *(decision for _, decision in pairs)):
            remove(path)
        remove(self.output_dir / "shield.json")
        sweep(self.output_dir)

    def _results(self, file: str) -> tuple[Path, Path]:
        """Label and decision of a file."""
        stem = file_stem(file)
        return self.output_dir / f"{stem}_seg.nii.gz", self.output_dir / f"{stem}_shield.json"

    def _take(self, file: str, entry: Mapping[str, Any]) -> Record:
        """One file: its decision, then its label, for a label never stands without one."""
        label, decision = self._results(file)
        if len(os.fsencode(decision.name)) > os.pathconf(self.output_dir, "PC_NAME_MAX"):
            raise ValueError(f"'{file}': its name is too long: those of its results would be longer still.")
        record, unchecked = self._answer(file, entry)
        write_json(record, decision)
        unchecked.replace(label)
        return record

    def _answer(self, file: str, entry: Mapping[str, Any]) -> tuple[Record, Path]:
        """The decision on a file, and its label, which is as it must be but does not bear its name yet."""
        shutil.rmtree(self.staging_dir, ignore_errors=True)
        self.evaluator.data_loader = DataLoader(Dataset([dict(entry)], self.preprocessing), batch_size=1)
        self.evaluator.state.epoch_length = 1
        self.evaluator.state.output = None  # that of the file before
        self.evaluator.run()
        (output,) = self.evaluator.state.output
        decision = output["result"]["shield"]
        found = list(self.staging_dir.iterdir()) if self.staging_dir.is_dir() else []
        if len(found) != 1:
            raise ValueError(
                f"'{file}': the postprocessing saved {len(found)} labels to '{self.staging_dir}', not one."
            )
        check_written(found[0], file, self.head)
        return {"file": file, "status": "rejected" if decision["rejected"] else "accepted", **decision}, found[0]

    def _fail(self, file: str, record: Record) -> None:
        """No label, and the reason beside it; where not even that can be written, in the log and the summary."""
        label, decision = self._results(file)
        try:
            remove(label)
            write_json(record, decision)
        except OSError as error:
            logger.error("%s: cannot be written (%s)", shown(str(decision)), first_line(error))
