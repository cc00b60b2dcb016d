# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What belongs to one file stays with it: names, earlier results, the place of its label, another run's."""

import json
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from filelock import FileLock
from monai.bundle import run

from monai_shield.bundle import FileRunner, image_files
from monai_shield.utils import TEMPORARY

LAS = np.diag([-1.0, 1.0, 1.0, 1.0])


@pytest.fixture
def infer(tiny_bundle):
    """Runs the bundle over files; returns its exit status."""

    def infer(files, output_dir, **settings):
        try:
            run(
                config_file=str(tiny_bundle / "configs" / "inference.json"),
                bundle_root=str(tiny_bundle),
                dataset_dir=files if isinstance(files, str) else [str(file) for file in files],
                output_dir=str(output_dir),
                device="cpu",
                logging_file=False,
                **settings,
            )
        except SystemExit as stop:
            return stop.code
        return 0

    return infer


def record(folder, stem):
    return json.loads((folder / f"{stem}_shield.json").read_text())


def label(folder, stem):
    return nib.load(folder / f"{stem}_seg.nii.gz")


def causes(error):
    while error is not None:
        yield str(error)
        error = error.__cause__


# --- where the voxels lie ---------------------------------------------------------------------------------------------

HEADERS = {
    "pixdim minutely off": lambda header: header["pixdim"].__setitem__(1, 0.9999),
    "pixdim far off": lambda header: header["pixdim"].__setitem__(2, 100),
    "sform scaled": lambda header: header["srow_y"].__setitem__(1, header["srow_y"][1] * 1.001),
    "sform sheared": lambda header: header["srow_x"].__setitem__(1, 0.02),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_qform_that_the_file_says_it_has_not_does_not_swap_left_and_right(name, infer, brain, write_nifti, tmp_path):
    plain = write_nifti(tmp_path / "plain.nii", brain(shape=(48, 24, 44)))
    image = nib.load(plain)
    image.set_qform(np.eye(4), code=0)
    HEADERS[name](image.header)
    image.header["vox_offset"] = 352
    # as bytes: nibabel would put the header in order
    changed = tmp_path / "changed.nii"
    changed.write_bytes(image.header.binaryblock + bytes(4) + np.asarray(image.dataobj).tobytes(order="F"))
    assert infer([plain, changed], tmp_path / "out", on_reject="keep") == 0
    found, reference = (label(tmp_path / "out", stem) for stem in ("changed", "plain"))
    np.testing.assert_allclose(found.affine, nib.load(changed).affine, atol=1e-4)
    values, expected = (np.asarray(each.dataobj) for each in (found, reference))
    if "sheared" not in name:
        assert (values == expected).mean() > 0.99
    else:  # resampled, perhaps to one voxel more; a network that halves its image answers a shift by one otherwise
        assert max((np.roll(values, shift, axis=0) == expected).mean() for shift in (-1, 0, 1)) > 0.8


# --- results of an earlier run ----------------------------------------------------------------------------------------


def test_no_label_outlives_the_file_it_was_for(infer, brain_file, tmp_path):
    file, out = brain_file(), tmp_path / "out"
    assert infer([file], out) == 0
    assert np.asarray(label(out, "brain").dataobj).any()
    file.write_bytes(b"garbage" * 1000)
    assert infer([file], out) == 1
    assert record(out, "brain")["status"] == "error"
    assert not (out / "brain_seg.nii.gz").exists()


def test_nor_one_that_is_rejected_now(infer, brain, write_nifti, tmp_path):
    values, out = brain(), tmp_path / "out"
    file = write_nifti(tmp_path / "scan.nii", values)
    assert infer([file], out) == 0
    noise = np.random.default_rng(0).normal(0, 20, values.shape)
    write_nifti(file, np.where(values > 0, np.clip(values + noise, 1, None), 0))
    assert infer([file], out) == 0
    assert record(out, "scan")["status"] == "rejected"
    assert not np.asarray(label(out, "scan").dataobj).any()


def test_nothing_of_an_earlier_run_is_there_once_the_first_file_is_looked_at(brain_file, tmp_path):
    """Where the process dies, in whatever file, what is left was answered by this run."""
    out, seen = tmp_path / "out", []
    out.mkdir()
    (out / ".unchecked").mkdir()
    names = ("a_seg.nii.gz", "a_shield.json", "b_seg.nii.gz", "b_shield.json", "shield.json", f"{TEMPORARY}1.json")
    for name in (*names, ".unchecked/a_seg.nii.gz", "of_another_seg.nii.gz"):
        (out / name).touch()

    class Evaluator:
        """Dies at its first file."""

        interrupt_resume_enabled = True

        class state:
            output = epoch_length = None

        def run(self):
            seen.extend(sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FileRunner(Evaluator(), image_files([tmp_path / "a.nii", tmp_path / "b.nii"]), None, out).run()
    assert seen == [".lock", "of_another_seg.nii.gz"]


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "answered"), [(213, True), (243, True), (244, False), (248, False)])
def test_a_long_name_costs_at_most_its_own_file(length, answered, infer, brain_file, tmp_path):
    """255 bytes is as long as a name may be."""
    file, good, out = brain_file(), brain_file("good.nii.gz"), tmp_path / "out"
    long = file.rename(tmp_path / ("x" * length + ".nii.gz"))
    assert infer([long, good], out) == (0 if answered else 1)
    first, second = json.loads((out / "shield.json").read_text())
    assert second["status"] == "accepted"
    assert (out / "good_seg.nii.gz").exists()
    assert first["status"] == ("accepted" if answered else "error")
    if answered:
        assert label(out, "x" * length).shape == nib.load(long).shape
    else:
        assert first["reason"] == "its name is too long: those of its results would be longer still."
        assert not list(out.glob("xxx*"))


@pytest.mark.parametrize("name", ["a b", "$x@y%z", "line\nbreak", "'\"", "-x", ".hidden", "ä\udcff", "a.b.c" * 30])
def test_a_strange_name_is_a_name(name, infer, brain_file, tmp_path, caplog):
    strange, out = brain_file().rename(tmp_path / f"{name}.nii.gz"), tmp_path / "out"
    assert infer([strange], out) == 0
    assert label(out, name).shape == nib.load(strange).shape
    assert record(out, name)["file"] == str(strange)
    assert all(len(entry.getMessage().splitlines()) == 1 for entry in caplog.records if "accepted" in entry.message)


def test_upper_case_endings_are_files_too_and_others_are_named(infer, brain_file, tmp_path, caplog):
    folder, out = tmp_path / "scans", tmp_path / "out"
    folder.mkdir()
    for name in ("a.NII.GZ", "b.NII"):
        shutil.move(brain_file(f"brain{'.nii.gz' if 'GZ' in name else '.nii'}"), folder / name)
    (folder / "c.mgz").touch()
    assert infer(str(folder), out) == 0
    assert [record(out, stem)["status"] for stem in "ab"] == ["accepted"] * 2
    assert any("passed over: c.mgz" in entry.getMessage() for entry in caplog.records)


def test_a_sharp_is_a_name_in_a_folder_and_no_file_where_monai_changes_it(infer, brain_file, tmp_path):
    """On the command line MONAI makes "::" of it: an error, and no label of another file."""
    folder = tmp_path / "scans"
    folder.mkdir()
    sharp = brain_file().rename(folder / "a#b.nii.gz")
    assert infer(str(folder), tmp_path / "out") == 0
    assert label(tmp_path / "out", "a#b").shape == nib.load(sharp).shape
    assert infer([sharp], tmp_path / "changed") == 1
    assert record(tmp_path / "changed", "a::b")["reason"] == "no such file."


@pytest.mark.parametrize("link", [False, True])
def test_results_never_go_where_an_input_lies(link, infer, brain_file, tmp_path):
    """The label of a.nii.gz would write over the input a_seg.nii.gz."""
    files = [brain_file("a.nii.gz"), brain_file("a_seg.nii.gz")]
    before = [file.read_bytes() for file in files]
    out = tmp_path
    if link:
        out = tmp_path / "link"
        out.symlink_to(tmp_path)
    with pytest.raises(RuntimeError) as error:
        infer(files, out)
    assert any(f"output_dir '{out}' is the folder of the input '{files[0]}'" in cause for cause in causes(error.value))
    assert [file.read_bytes() for file in files] == before
    assert not list(tmp_path.glob("*.json"))


# --- another run, another postprocessing ------------------------------------------------------------------------------


def test_a_second_run_in_the_same_folder_is_refused_before_its_first_file(infer, brain_file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "brain_seg.nii.gz").write_bytes(b"of the first run")
    hold = "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(out / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        assert str(infer([brain_file()], out)).startswith(f"monai-shield: another run writes to '{out}'")
        assert (out / "brain_seg.nii.gz").read_bytes() == b"of the first run"
        other.communicate(b"\n")
    assert infer([brain_file()], out) == 0
    with FileLock(out / ".lock", timeout=0):
        pass  # it is given back


def test_a_postprocessing_that_saves_nothing_is_an_error(infer, brain_file, tmp_path):
    assert infer([brain_file()], tmp_path / "out", **{"postprocessing#transforms#3#output_dir": str(tmp_path)}) == 1
    assert "saved 0 labels" in record(tmp_path / "out", "brain")["reason"]


def test_a_folder_with_a_dot_in_its_name_is_a_folder(infer, brain_file, tmp_path):
    assert infer([brain_file()], tmp_path / "results.v2") == 0
    assert record(tmp_path / "results.v2", "brain")["status"] == "accepted"


def test_a_label_in_another_place_is_not_given_its_name(infer, brain_file, tmp_path):
    """An inversion that forgets a step: the label is the network's image, and lies elsewhere."""
    settings = {"postprocessing#transforms#2#_disabled_": True}
    assert infer([brain_file()], tmp_path / "out", **settings) == 1
    reason = record(tmp_path / "out", "brain")["reason"]
    assert reason.startswith("its label would have shape")
    assert not (tmp_path / "out" / "brain_seg.nii.gz").exists()
