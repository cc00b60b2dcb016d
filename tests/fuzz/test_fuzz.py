# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The search itself: a case is what its number says, and what is wrong is seen."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fuzz import pool, worker
from fuzz.answer import Answer
from fuzz.bench import Bench, fingerprint, strange
from fuzz.case import PARTS, generator, part_of
from fuzz.idle import idle
from fuzz.mutate_header import make as make_header
from fuzz.oracle import Results, judge_start, plain_text_fault
from fuzz.scans import LAS, Scan, plain_image
from fuzz.table import fill_page, table
from fuzz.twin import compare, twin_of
from support.tiny_bundle import make_tiny_bundle, noisy

FILE = "scan.nii"


@pytest.fixture(scope="module")
def scan(brain) -> Scan:
    return Scan("brain", brain(shape=(48, 12, 44)).astype(np.int16))


@pytest.fixture
def answered(tmp_path, scan):
    """A scan that was answered as it should be: its file, its label's values and a function that judges it."""
    file, out = tmp_path / FILE, tmp_path / "out"
    out.mkdir()
    nib.save(plain_image(scan.values), file)
    label = np.digitize(scan.values, (1, 50, 65)).astype(np.uint8)
    nib.save(nib.Nifti1Image(label, nib.load(file).affine), out / "scan_seg.nii.gz")
    record = {"file": str(file), "status": "accepted", "rejected": False, "reason": "", "slice_scores": [0.0]}
    write(out, record)

    def judge(code=0, logged=(), before=()):
        results = Results(Answer(out, set(before), code, [], list(logged)))
        verdict = results.judge(file, str(file))
        return verdict, results.fault(), results.left()

    return file, out, record, judge


def write(out: Path, record: dict) -> None:
    (out / "scan_shield.json").write_text(json.dumps(record))
    (out / "shield.json").write_text(json.dumps([record]))


def test_a_right_answer_is_right(answered):
    verdict, fault, left = answered[3]()
    assert (verdict.outcome, fault, left) == ("right", "", [])


@pytest.mark.parametrize(
    ("change", "affine"),
    [
        (lambda label: label, LAS @ np.diag([-1, 1, 1, 1])),
        (lambda label: label, LAS + np.eye(4)[:, [3, 0, 1, 2]] * 0.1),
        (lambda label: label[1:], LAS),
        (lambda label: label.astype(np.int16), LAS),
    ],
)
def test_a_label_in_another_space_or_type_is_wrong(change, affine, answered):
    _, out, _, judge = answered
    label = np.asarray(nib.load(out / "scan_seg.nii.gz").dataobj)
    nib.save(nib.Nifti1Image(change(label), affine), out / "scan_seg.nii.gz")
    assert judge()[0].outcome == "wrong"


def test_a_label_beside_an_error_is_wrong_and_without_it_the_file_is_refused(answered):
    file, out, _, judge = answered
    write(out, {"file": str(file), "status": "error", "reason": "is damaged."})
    line = f"{file}: error (is damaged.)"
    verdict, _, left = judge(1, [line])
    assert verdict.outcome == "wrong"
    assert left == ["scan_seg.nii.gz"]
    assert judge(1, [line], ["scan_seg.nii.gz"])[0].outcome == "wrong"  # of an earlier run
    (out / "scan_seg.nii.gz").unlink()
    assert judge(1, [line])[0].outcome == "refused"
    assert judge(1, [])[0].outcome == "wrong"  # no line of the log names it
    assert judge(1, [line, line])[0].outcome == "wrong"
    assert judge(0, [line])[1] == "exit code 0, expected 1"


def test_what_is_missing_stale_or_left_is_wrong(answered):
    _, out, record, judge = answered
    (out / "scan_shield.json").write_text(json.dumps(record | {"an earlier run": True}))
    assert judge()[0].outcome == "wrong"
    write(out, record)
    (out / "x.nii").write_text("left")
    assert judge()[2] == ["x.nii"]
    (out / "scan_seg.nii.gz").unlink()
    assert judge()[0].outcome == "wrong"
    (out / "shield.json").unlink()
    assert judge()[0].outcome == "wrong"


def test_a_rejection_needs_a_reason_and_an_empty_label(answered):
    _, out, record, judge = answered
    rejected = record | {"status": "rejected", "rejected": True, "reason": "12 of 12 slices are rejected"}
    write(out, rejected)
    assert judge()[0].outcome == "wrong"
    label = nib.load(out / "scan_seg.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(label.shape, np.uint8), label.affine), out / "scan_seg.nii.gz")
    assert judge()[0].outcome == "rejected"
    write(out, rejected | {"reason": ""})
    assert judge()[0].outcome == "wrong"


@pytest.mark.parametrize(
    "reason", ["", "np.uint8(7)", "two\nlines", "x" * 301, "w2 should be positive", "asks for 500000000000000000 B"]
)
def test_a_reason_that_nobody_can_read_is_a_fault(reason):
    assert plain_text_fault(reason)
    assert not plain_text_fault("is truncated: 50000 of 101728 bytes are there.")


def test_a_run_that_ends_names_what_it_is_about_and_leaves_nothing(tmp_path):
    def judge(*errors):
        return judge_start(Answer(tmp_path, set(), None, list(errors)), [tmp_path / FILE], ["batch_size"]).outcome

    assert judge("RuntimeError: cannot be made", "ValueError: batch_size must be at least 1.") == "refused"
    assert judge(f"ValueError: '{tmp_path / FILE}' is in the way.") == "refused"
    assert judge("ValueError: something is wrong.") == "wrong"
    (tmp_path / "a_seg.nii.gz").write_text("")
    assert judge("ValueError: batch_size must be at least 1.") == "wrong"


def test_a_flipped_label_does_not_agree_with_that_of_the_plain_file_wherever_the_file_s_axes_lie(answered, tmp_path):
    """The twin has axes of its own; a label that is right agrees through the affines, its mirror image does not."""
    file, out, _, judge = answered
    twin = twin_of(file)
    assert nib.aff2axcodes(twin.affine) == ("R", "A", "S")
    plain = judge()[0]
    label = nib.load(out / "scan_seg.nii.gz")
    other = nib.as_closest_canonical(label)
    plain_label = tmp_path / "plain_seg.nii.gz"
    nib.save(other, plain_label)
    twin_verdict = type(plain)("right", label=plain_label, record=plain.record)
    assert compare(file, plain, twin_verdict).outcome == "right"
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj)[::-1], label.affine), out / "scan_seg.nii.gz")
    assert compare(file, judge()[0], twin_verdict).outcome == "wrong"


@pytest.fixture(scope="module")
def bench(brain, tmp_path_factory):
    """A bench around a bundle that accepts small brains."""
    folder = tmp_path_factory.mktemp("bench")
    scans = [Scan(f"brain{seed}", brain(seed, (48, 12, 44)).astype(np.int16)) for seed in range(3)]
    images = [*(scan.values for scan in scans), noisy(scans[0].values, 20, 100)]
    files = [folder / f"clean{number}.nii" for number in range(len(images))]
    for file, values in zip(files, images):
        nib.save(plain_image(values.astype(np.int16)), file)
    bundle = make_tiny_bundle(folder / "bundles" / "brain_mri_shield", files, size=64)
    probes = [files[0], folder / "strange.nii"]
    nib.save(strange(scans[0].values), probes[1])
    bench = Bench(bundle, probes, scans, folder / "work", 0)
    bench.know_probes()
    return bench


@pytest.mark.parametrize("part", PARTS)
def test_a_case_is_the_same_whenever_it_is_made(part, bench):
    number = next(n for n in range(1000) if part_of(generator(0, n)) == part)
    details, contents = set(), set()
    for _ in range(2):
        mutant = bench.make(number)
        assert mutant.files or mutant.dataset
        details.add(mutant.detail)
        contents.add(tuple(p.read_bytes() for p in sorted((bench.folder / str(number)).rglob("*.nii*")) if p.is_file()))
    assert len(details) == len(contents) == 1


def test_a_few_cases_are_answered_and_judged(bench):
    found = {}
    bench.solve(range(100, 107), lambda number, mutant, verdict: found.update({number: verdict}))
    assert sorted(found) == list(range(100, 107))
    assert {verdict.outcome for verdict in found.values()} <= {"refused", "rejected", "right", "wrong"}
    assert all(verdict.outcome != "wrong" for verdict in found.values()), found


def test_the_search_comes_by_the_headers_that_were_once_misread(scan, tmp_path):
    """sform alone, no quaternion, a pixdim a little other than the sform's columns: MONAI's reader changed sides."""
    seen = 0
    for number in range(300):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = make_header(generator(0, number), [scan], folder).files[0]
        try:
            header = nib.load(file).header
        except Exception:  # what nibabel cannot read is not what is looked for
            continue
        columns = np.linalg.norm(header.get_sform()[:3, :3], axis=0)
        off = np.abs(columns / np.where(header["pixdim"][1:4] > 0, header["pixdim"][1:4], 1) - 1).max()
        alone = header["sform_code"] > 0 and header["qform_code"] == 0
        seen += bool(alone and not any(header[f"quatern_{axis}"] for axis in "bcd") and 1e-5 < off < 0.3)
    assert seen >= 3


@pytest.mark.parametrize("how", ["wait", "compute", "grow", "die"])
def test_who_hangs_grows_or_dies_is_found_alone_and_the_others_are_solved(how, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "SECONDS", 1)
    monkeypatch.setattr(pool, "WAITING", 2)
    monkeypatch.setattr(pool, "MEMORY", 1 << 27)
    found = {}
    pool.solve_all(
        range(6), {"output": str(tmp_path), "bad": 4, "how": how}, 1, lambda o: found.update({o["number"]: o}), idle
    )
    assert {number: outcome["outcome"] for number, outcome in found.items()} == {
        number: "wrong" if number == 4 else "right" for number in range(6)
    }
    assert found[4]["why"].startswith({"grow": "memory", "die": "died"}.get(how, "hangs"))
    assert worker.MEMORY == 2 << 30


def test_a_changed_input_is_seen(tmp_path):
    file = tmp_path / FILE
    file.write_text("a")
    before = fingerprint(file)
    assert fingerprint(file) == before
    file.write_text("b")
    assert fingerprint(file) != before


def test_the_table_counts_and_fills_its_place(tmp_path):
    outcomes = [
        {"what": "a", "outcome": "right"},
        {"what": "a", "outcome": "wrong"},
        {"what": "b", "outcome": "refused"},
    ]
    lines = table(outcomes).splitlines()
    assert lines[2:] == ["| a | 2 | 0 | 0 | 1 | 1 |", "| b | 1 | 1 | 0 | 0 | 0 |", "| all | 3 | 1 | 0 | 1 | 1 |"]
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- fuzz -->\nold\n<!-- /fuzz -->\nafter\n")
    fill_page(page, "new")
    assert page.read_text() == "before\n<!-- fuzz -->\nnew\n<!-- /fuzz -->\nafter\n"
