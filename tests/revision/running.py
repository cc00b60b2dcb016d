# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts of the shipped bundle: its networks, the label and the decision it writes of a scan, an attack on it."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from revision.adapting import bundle_target, call
from revision.compact import Facts
from revision.configured import config_facts, parser_of, run_config, trained_facts
from revision.inputs import LAS, draw, nifti
from revision.naming import Names
from revision.transforming import brain_folder

BUNDLE = "bundles/brain_mri_shield"
#: Coronal slices of a made-up brain that are enough to see whether anything changed.
SLAB = slice(100, 106)
#: What is written of a label differs, on another machine, by a voxel between two structures here and there.
NEARLY = 2e-3


def bundle_facts(names: Names, facts: Facts, root: Path, folder: Path) -> None:
    """Add them all."""
    bundle, scan = root / names.path(BUNDLE), folder / "scan" / "scan.nii.gz"
    facts.step(_cohort, names, facts, scan)
    facts.step(_parts, names, facts, bundle, scan)
    facts.step(config_facts, names, facts, bundle, folder)
    facts.step(_inference, names, facts, bundle, scan, folder)
    if facts.portable:
        return
    facts.tolerance = None  # attacks in float32
    facts.step(_attack, names, facts, bundle, scan, folder)
    facts.step(_calibration, names, facts, bundle, folder)
    facts.step(trained_facts, names, facts, bundle, folder)
    facts.tolerance = 1e-5


def _cohort(names: Names, facts: Facts, scan: Path) -> None:
    """A made-up subject; some of its slices are the scan of what follows."""
    subject = names.call("monai_shield.data.cohort_person", 700)
    facts.tolerance = NEARLY
    image, label = (np.asarray(subject[key][0]).astype(np.float64) for key in ("image", "label"))
    facts.add("cohort/image", image[::3, ::3, ::3])
    facts.add("cohort/label", np.bincount(label.astype(int).ravel(), minlength=4).astype(float))
    facts.add("cohort/affine", np.asarray(subject["image"].affine))
    facts.tolerance = 1e-5
    nifti(scan, np.rint(image[:, SLAB]), LAS)


def _parts(names: Names, facts: Facts, bundle: Path, scan: Path) -> None:
    """The networks as the config builds them and fills them, on one slice."""
    parser = parser_of(names, bundle)
    image = torch.cat(
        [torch.zeros(1, 1, 192, 16), draw(1, 1, 192, 160, seed=3).float(), torch.zeros(1, 1, 192, 16)], dim=-1
    )
    target = parser.get_parsed_content(names.word("network_def", "configs"))
    weights = parser.get_parsed_content(names.word("target_weights", "configs"))
    names.call("monai_shield.bundle.load_weights", target, weights)
    parts = {part: parser.get_parsed_content(names.word(part, "configs")).eval() for part in ("detector", "reformer")}
    state = names.find("monai_shield.detectors.weights_sum")
    for part, module in {"target": target.eval(), **parts}.items():
        tensors = {
            names.key_before(key): value
            for key, value in module.state_dict().items()
            if isinstance(value, torch.Tensor)
        }
        lines = {
            key: f"{value.dtype} {tuple(value.shape)} {float(value.double().sum())!r}" for key, value in tensors.items()
        }
        facts.lines(f"bundle/{part}/tensors", lines)
        if part != "detector":
            facts.add(f"bundle/{part}/sum", state(module))
    with torch.no_grad():
        facts.add("bundle/target/logits", target(image))
        facts.add("bundle/reformer/image", parts["reformer"](image))
        views = names.call("monai_shield.detectors.Views", image, target, parts["reformer"])
        facts.add("bundle/detector/single", names.before(names.method(parts["detector"], "single_scores", views)))
        facts.add("bundle/detector/score", parts["detector"](views))
    calibration = names.method(parts["detector"], "calibrated")
    for name in ("threshold", "t_fp", "rule", "volume_limit", "num_volumes"):
        facts.add(f"bundle/detector/{name}", names.of(calibration, name))
    asked = torch.linspace(-2, 4, 60).double()
    facts.add("bundle/detector/p_value", names.method(calibration, "p_value", asked))
    preprocessing = parser.get_parsed_content(names.word("preprocessing", "configs"))
    loaded = preprocessing({"image": str(scan)})["image"]
    facts.add("bundle/preprocessed", loaded.as_tensor())
    facts.add("bundle/preprocessed/affine", torch.as_tensor(loaded.affine))


def _inference(names: Names, facts: Facts, bundle: Path, scan: Path, folder: Path) -> None:
    """A label and a decision, kept though rejected and as shipped; of the clean scan and of a noisy one."""
    noisy = np.asanyarray(nib.load(scan).dataobj).astype(float)
    noise = np.asarray(draw(*noisy.shape, seed=4)) - 0.5
    scans = {
        "clean": scan,
        "noisy": nifti(folder / "scan" / "noisy.nii.gz", np.where(noisy > 0, np.maximum(noisy + 300 * noise, 1), 0)),
    }
    for on_reject in ("keep", "empty"):
        kept = folder / "inference" / on_reject
        files = [str(file) for file in (scans.values() if on_reject == "keep" else [scans["noisy"]])]
        settings = {"dataset_dir": files, "output_dir": str(kept), "on_reject": on_reject, "batch_size": 4}
        facts.add(f"bundle/inference/{on_reject}/code", run_config(names, bundle, "inference", **settings))
        for name in scans:
            if not (kept / f"{name if name == 'noisy' else 'scan'}_seg.nii.gz").is_file():
                continue
            stem = name if name == "noisy" else "scan"
            voxels = np.asanyarray(nib.load(kept / f"{stem}_seg.nii.gz").dataobj)
            place = f"bundle/inference/{on_reject}/{name}"
            facts.tolerance = NEARLY
            facts.add(f"{place}/label", voxels.astype(np.float64))
            facts.add(f"{place}/classes", np.bincount(voxels.ravel(), minlength=28).astype(float))
            facts.tolerance = 1e-4
            decision = names.before(json.loads((kept / f"{stem}_shield.json").read_text()))
            words = {
                key: bool(decision[key]) for key in ("file", "reason", "findings", "label", "image") if key in decision
            }
            facts.table(f"{place}/decision", decision | words)
            facts.tolerance = 1e-5


def _attack(names: Names, facts: Facts, bundle: Path, scan: Path, folder: Path) -> None:
    """An attack on the bundle's network, through files."""
    target = bundle_target(names, str(bundle))
    for name, settings in {"pgd": {"epsilon": 4 / 255, "max_steps": 2}, "dag": {"max_steps": 2}}.items():
        attack = call(names, "monai_shield.bundle.make_attack", name, names.settings("monai_shield.attacks", settings))
        output = folder / "attacked" / name
        made = call(
            names,
            "monai_shield.bundle.BundleAttack",
            target=target,
            attack=attack,
            files={scan: None},
            output_dir=output,
            slices=2,
        )
        (record,) = names.method(made, "run")
        record = names.before(record)
        numbers = {key: value for key, value in record.items() if isinstance(value, (int, float)) and key != "seconds"}
        facts.add(f"bundle/attack/{name}", numbers)
        facts.add(f"bundle/attack/{name}/slices", record["slices"])
        for file in sorted(output.glob("*.nii.gz")):
            facts.add(f"bundle/attack/{name}/{file.name}", np.asanyarray(nib.load(file).dataobj))
        facts.add(f"bundle/attack/{name}/status", record["status"])


def _calibration(names: Names, facts: Facts, bundle: Path, folder: Path) -> None:
    """A site calibrates again: the scores and the threshold that come of it."""
    root = brain_folder(folder / "site", (60, 7, 60))
    settings = {"dataset_dir": str(root), "split": "all", "t_fp": 0.1, "run_dir": str(folder / "calibrated")}
    run_config(names, bundle, "calibrate", run_id="calibration", **settings)
    for file in sorted((folder / "calibrated").rglob("*.pt")):
        state = torch.load(file, weights_only=True)["_extra_state"]
        before = {names.key_before(key): value for key, value in state.items()}
        for key in ("scores", "threshold", "volume_limit", "volumes", "num_volumes", "t_fp"):
            facts.add(f"bundle/calibration/{key}", before[key])
        plausible = before["plausibility"]
        if plausible:
            facts.add(
                "bundle/calibration/plausible",
                {names.key_before(key): value for key, value in plausible.items()}["values"],
            )
