# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Facts of the transforms, of data sets and slices, of files that are checked, written and read back."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, LoadImaged, NormalizeIntensityd, Orientationd, SpatialPadd

from revision.adapting import call, made_decision
from revision.compact import Facts, digest
from revision.inputs import LAS, brain, draw, nifti
from revision.naming import Names

ROOM = "monai_shield.transforms"
SHAPE = (24, 20, 28)


def transform_facts(names: Names, facts: Facts, folder: Path) -> None:
    """Add them all."""
    for step in (_arrays, _dictionaries, _handlers):
        facts.step(step, names, facts)
    for each in (_checks, _exported, _data):
        facts.step(each, names, facts, folder)


def preprocessing(names: Names, keys: Any = "image", *, own_spacing: bool = True) -> Compose:
    """The brain bundle's steps on a smaller plane."""
    steps = [
        LoadImaged(keys, image_only=True, ensure_channel_first=True),
        Orientationd(keys, axcodes="LAS", labels=None),
        names.call(f"{ROOM}.ScaleToWindowd", keys="image"),
        CropForegroundd(keys, source_key="image", allow_smaller=True),
        SpatialPadd(keys, spatial_size=(32, -1, 32)),
    ]
    if own_spacing:
        steps.insert(2, names.call(f"{ROOM}.OwnSpacingd", keys="image", pixdim=(1.0, 1.0, 1.0), mode="bilinear"))
    return Compose(steps)


def _arrays(names: Names, facts: Facts) -> None:
    for dims, size in {"2d": (9, 8), "3d": (6, 5, 4)}.items():
        image = draw(2, *size) + 0.1
        spectrum = names.call(f"{ROOM}.fourier_transform", image, len(size))
        facts.add(f"transform/fourier/{dims}", spectrum)
        shifted = names.call(f"{ROOM}.shift_zero_frequency", spectrum, len(size))
        facts.add(f"transform/shift/{dims}", shifted)
        facts.add(f"transform/shift_back/{dims}", names.call(f"{ROOM}.shift_zero_frequency", shifted, len(size), True))
        for shift in (False, True):
            magnitude = names.call(f"{ROOM}.frequency_magnitude", image, len(size), shift)
            facts.add(f"transform/magnitude/{dims}/{shift}", magnitude)
        facts.add(f"transform/radius/{dims}", names.call(f"{ROOM}.frequency_radius", size))
        transforms = {
            "FourierTransform": {},
            "FrequencyConverter": {},
            "ScaleToWindow": {},
            "ScaleToWindow ": {"percentile": 90.0},
            "MeasureBorder": {"foreground_above": 0.6},
        }
        for part in ("magnitude", "log_magnitude", "real_imaginary"):
            transforms[f"FrequencyConverter{' ' * len(part)}"] = {"part": part, "shift": False}
        for name, settings in transforms.items():
            one = image if name.strip() != "MeasureBorder" else MetaTensor(image, affine=torch.eye(4))
            found = call(names, f"{ROOM}.{name.strip()}", **settings)(one)
            facts.add(f"transform/{name.strip()}/{len(name)}/{dims}", torch.as_tensor(found))
            border = getattr(found, "meta", {}).get("border")
            if border is not None:
                facts.add(f"transform/{name.strip()}/{len(name)}/{dims}/border", torch.as_tensor(border))
        for inverse in (False, True):
            found = names.call(f"{ROOM}.FrequencyShift", inverse=inverse)(spectrum)
            facts.add(f"transform/FrequencyShift/{inverse}/{dims}", torch.as_tensor(found))
        for part in ("magnitude", "log_magnitude", "real_imaginary"):
            facts.add(f"transform/SpectrumPart/{part}/{dims}", names.call(f"{ROOM}.SpectrumPart", part=part)(spectrum))
        facts.add(f"transform/window/{dims}", list(names.call(f"{ROOM}.intensity_window", image)))
        window = names.call(f"{ROOM}.intensity_window", image - 0.7, percentile=80.0)
        facts.add(f"transform/window/{dims}/percentile", list(window))
        kind = names.find(f"{ROOM}.StandardizeFrequency")
        standard = names.method(kind, "fit", [draw(2, *size, seed=seed) for seed in range(5)])
        for name in ("mean", "std", "scale"):
            facts.add(f"transform/standardize/{name}/{dims}", names.of(standard, name))
        facts.add(f"transform/standardize/{dims}", torch.as_tensor(standard(image)))
    labels = (draw(1, 9, 8) * 9).long()
    merged = names.call(f"{ROOM}.MergeLabels", label_map={"one": [1, 4], "two": [7], "three": [2, 3]})
    facts.add("transform/merged", torch.as_tensor(merged(labels)))
    structures = names.find("monai_shield.data.MICCAI2012_STRUCTURES")
    facts.add("transform/structures", digest(repr([(key, tuple(value)) for key, value in structures.items()]).encode()))
    tissues = names.find("monai_shield.data.COHORT_TISSUES")
    facts.add("transform/tissues", repr([(key, tuple(value)) for key, value in tissues.items()]))
    axes = names.call(
        f"{ROOM}.anatomical_axes",
        torch.tensor([[0, -2.0, 0, 5], [1, 0, 0, 3], [0, 0.1, 3, 1], [0, 0, 0, 1.0]]).double(),
        3,
    )
    facts.add("transform/axes", torch.tensor(axes).double())


def _dictionaries(names: Names, facts: Facts) -> None:
    """The dictionary forms do what the array forms do, on their keys only."""
    image = MetaTensor(draw(1, 9, 8) + 0.1, affine=torch.eye(4, dtype=torch.float64))
    settings: dict[str, dict[str, Any]] = {
        "FourierTransformd": {},
        "FrequencyConverterd": {},
        "ScaleToWindowd": {},
        "MeasureBorderd": {},
        "MergeLabelsd": {"label_map": {"one": [1, 4], "two": [7]}},
        "CheckVolumed": {},
    }
    for name, extra in settings.items():
        one = (image * 9).long() if name == "MergeLabelsd" else image
        found = names.call(f"{ROOM}.{name}", keys="image", **extra)({"image": one, "other": image})
        facts.add(f"transform/{name}", torch.as_tensor(found["image"]))
        facts.add(f"transform/{name}/other", bool(torch.equal(found["other"], image)))
    rejected = {"rejected": True, "score": 2.0, "threshold": 1.0, "p_value": 0.01, "reason": "far", "findings": []}
    for on_reject in ("empty", "keep"):
        apply = names.call(f"{ROOM}.ApplyShieldd", keys="pred", on_reject=on_reject)
        decision = made_decision(names, names.settings("shield", rejected))
        label = MetaTensor((draw(1, 9, 8) * 3).long(), meta={"shield": decision})
        found = apply({"pred": label})
        facts.add(f"transform/ApplyShieldd/{on_reject}", torch.as_tensor(found["pred"]))
        facts.add(f"transform/ApplyShieldd/{on_reject}/rejected", found["result"]["shield"][names.word("rejected")])


def _attempt(names: Names, facts: Facts, name: str, function: Any, *args: Any) -> None:
    try:
        function(*args)
        found = "passes"
    except Exception as error:
        found = type(error).__name__
    facts.add(name, found)


def _checks(names: Names, facts: Facts, folder: Path) -> None:
    """Which files and volumes pass."""
    values = brain(0, SHAPE)
    skewed = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    files = {
        "good": nifti(folder / "good.nii.gz", values),
        "large": nifti(folder / "large.nii", values, np.diag([30.0, 30, 30, 1])),
        "flat": nifti(folder / "flat.nii", values[:, :, 0]),
        "many": nifti(folder / "many.nii", np.stack([values, values], -1)),
        "skewed": nifti(folder / "skewed.nii", values, skewed),
        "missing": folder / "nowhere.nii",
    }
    (folder / "broken.nii").write_bytes(files["good"].read_bytes()[:200])
    files["broken"] = folder / "broken.nii"
    for name, file in files.items():
        for settings in ({}, {"max_extent": 20}, {"max_voxels": 9, "pixdim": (1.0, 1.0, 1.0)}):
            check = names.call(f"{ROOM}.CheckNiftiFile", **settings)
            _attempt(names, facts, f"check/file/{name}/{'_'.join(settings)}", check, str(file))
    image = MetaTensor(draw(1, 5, 4, 3), affine=torch.eye(4, dtype=torch.float64))
    volumes = {"good": image, "nan": image * torch.nan, "constant": image * 0, "channels": image.repeat(2, 1, 1, 1)}
    for name, volume in volumes.items():
        _attempt(names, facts, f"check/volume/{name}", names.call(f"{ROOM}.CheckVolume"), volume)


def _exported(names: Names, facts: Facts, folder: Path) -> None:
    """An attack in files of several types: its voxels, and the image that is read back."""
    affines = {"las": LAS, "ras": np.diag([1.0, 1, 1, 1]), "coarse": np.diag([-1.25, 0.8, 1.0, 1])}
    for kind, (dtype, slope) in {
        "int16": (np.int16, 1),
        "uint8": (np.uint8, 1),
        "float32": (np.float32, 1),
        "slope": (np.int16, 0.5),
    }.items():
        for place, affine in affines.items():
            if place != "las" and kind != "int16":
                continue
            name = f"{kind}_{place}"
            clean_file = nifti(folder / f"clean_{name}.nii.gz", brain(1, SHAPE), affine, dtype, slope)
            steps = preprocessing(names)
            clean = names.call(f"{ROOM}.PreprocessedFile", str(clean_file), steps)
            image = names.of(clean, "image").as_tensor()
            facts.add(f"export/{name}/image", image)
            perturbation = ((draw(*image.shape, seed=5) - 0.5) * 0.1).float()
            back = names.method(clean, "perturbation_in_file", perturbation)
            facts.add(f"export/{name}/in_file", np.asarray(back))
            facts.add(f"export/{name}/clip_range", np.stack(names.method(clean, "clip_range")))
            for background in ("border", None):
                path = folder / f"attacked_{name}_{background}.nii.gz"
                settings = names.settings(f"{ROOM}.export_attack", {"background": background})
                names.call(f"{ROOM}.export_attack", perturbation, clean, path, **settings)
                voxels = np.asanyarray(nib.load(path).dataobj)
                facts.add(f"export/{name}/{background}/voxels", voxels)
                facts.add(f"export/{name}/{background}/header", str(nib.load(path).get_data_dtype()))
                facts.add(f"export/{name}/{background}/read", steps({"image": str(path)})["image"].as_tensor())
            facts.add(f"export/{name}/values", names.call(f"{ROOM}.read_values", clean_file))
    values = brain(1, SHAPE)
    for name, shift in {"stripped": 0.0, "air": -1000.0}.items():
        facts.add(f"export/background/{name}", names.call(f"{ROOM}.border_background", values + shift))
    facts.add("export/background/none", names.call(f"{ROOM}.border_background", np.asarray(draw(8, 8, 8))))
    before = draw(1, 20, 20)
    for name, after in {
        "line": before * 3 - 1,
        "clipped": (before * 2).clamp(0.3, 1.5),
        "curve": before.square(),
    }.items():
        fitted = names.call(f"{ROOM}.fit_affine_intensity", before, after)
        facts.add(
            f"export/fit/{name}",
            None
            if fitted is None
            else torch.cat([names.of(fitted, part).flatten() for part in ("scale", "offset", "low", "high")]),
        )
    normalized = Compose(
        [LoadImaged("image", image_only=True, ensure_channel_first=True), NormalizeIntensityd("image")]
    )
    clean = names.call(f"{ROOM}.PreprocessedFile", str(folder / "clean_int16_las.nii.gz"), normalized)
    change = ((draw(1, *SHAPE, seed=6) - 0.5) * 0.3).float()
    facts.add("export/normalized/in_file", np.asarray(names.method(clean, "perturbation_in_file", change)))
    names.call(f"{ROOM}.write_like", values + 0.4, folder / "clean_int16_las.nii.gz", folder / "like.nii.gz")
    facts.add("export/write_like", np.asanyarray(nib.load(folder / "like.nii.gz").dataobj))


def brain_folder(root: Path, shape: tuple[int, ...] = (28, 24, 30)) -> Path:
    """A data set of six small brains, two scans of one subject among them."""
    for number in range(6):
        values = brain(number, shape)
        nifti(root / "volumes" / f"b{number}_SS.nii.gz", values)
        nifti(root / "volumes" / f"b{number}_glm.nii.gz", np.digitize(values, (1, 50, 65)), dtype=np.uint8)
    splits = {"official": {"train": ["b0", "b1"], "val": ["b2"], "test": ["b3", "b4", "b5"]}}
    (root / "splits.json").write_text(json.dumps(splits | {"repeat_scans_of_one_person": [["b3", "b4"]]}))
    return root


def _data(names: Names, facts: Facts, folder: Path) -> None:
    room = "monai_shield.data"
    root = brain_folder(folder / "brains")
    for split in ("train", "val", "test", "all"):
        items = names.call(f"{room}.volume_datalist", root, split=split)
        rows = [{names.key_before(key): Path(value).name for key, value in item.items()} for item in items]
        facts.add(f"data/list/{split}", digest(json.dumps(rows, sort_keys=True).encode()))
    items = names.call(f"{room}.volume_datalist", root, split="train")
    keys = ("image", "label")
    for name, settings in {"plain": {}, "some": {"every": 3, "min_body": 0.2}, "sagittal": {"axis": 0}}.items():
        slices = names.call(
            f"{room}.SliceDataset",
            items,
            preprocessing(names, keys, own_spacing=False),
            keys=keys,
            progress=False,
            **settings,
        )
        facts.add(f"data/slices/{name}/items", torch.tensor(names.of(slices, "items")))
        facts.add(
            f"data/slices/{name}/image",
            torch.stack([slices[k]["image"] for k in range(0, len(slices), 4)])
            if name != "sagittal"
            else slices[1]["image"],
        )
        facts.add(f"data/slices/{name}/label", slices[2]["label"])
        facts.add(f"data/slices/{name}/keys", ",".join(sorted(names.key_before(key) for key in slices[0])))
    facts.add("data/body_share", call(names, f"{room}.body_share", (draw(6, 1, 5, 4) - 0.5).clamp(min=0)))
    facts.add("data/slices_of", names.call(f"{room}.slices_of", draw(1, 5, 4, 3), 1))
    chosen = [names.call(f"{room}.evenly_spaced", torch.arange(3, 40), number) for number in (1, 4, 9, 60)]
    facts.add("data/evenly_spaced", torch.cat(chosen))
    reader = names.call(f"{room}.StandardNibabelReader")
    loaded, meta = reader.get_data(reader.read(str(root / "volumes" / "b0_SS.nii.gz")))
    facts.add("data/reader", np.asarray(loaded))
    facts.add("data/reader/affine", np.asarray(meta["affine"]))


def _handlers(names: Names, facts: Facts) -> None:
    """What a MONAI evaluator sees where an attack is one of its handlers."""
    from ignite.engine import Events
    from monai.data import DataLoader, Dataset
    from monai.engines import SupervisedEvaluator

    items = [
        {"image": draw(1, 6, 5, seed=seed).float(), "label": (draw(1, 6, 5, seed=seed) * 2).round()}
        for seed in range(5)
    ]
    network = torch.nn.Conv2d(1, 3, 3, padding=1)
    for number, parameter in enumerate(network.parameters()):
        parameter.data = (draw(*parameter.shape, seed=number) - 0.5).float()
    attack = names.call("monai_shield.attacks.PGD", epsilon=0.1, max_steps=3)
    for probability in (1.0, 0.5):
        settings = {"key_label": "label", "probability": probability, "seed": 3}
        handler = names.call("monai_shield.handlers.AttackHandler", attack, network, **settings)
        seen: list[Any] = []
        loader = DataLoader(Dataset(items), batch_size=2, num_workers=0)
        evaluator = SupervisedEvaluator(torch.device("cpu"), loader, network, val_handlers=[handler])

        evaluator.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine, seen=seen: seen.extend(engine.state.output)
        )
        evaluator.run()
        facts.add(f"handler/attack/{probability}/image", torch.stack([torch.as_tensor(each["image"]) for each in seen]))
        flags = [torch.as_tensor(each["is_adversarial"]).flatten().float() for each in seen]
        facts.add(f"handler/attack/{probability}/flag", torch.stack(flags))
