# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The command line: ``python -m monai_shield demo``, ``report``, ``attack``, ``keys``, ``sign`` and ``verify``."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_shield.errors import BundleError, UserError


def demo(
    output: str = "demo",
    models_dir: str | None = None,
    subjects: int = 4,
    every_nth_slice: int = 4,
    slices: int = 24,
    seed: int = 0,
    trust: bool = False,
) -> str:
    """
    Attack a made-up brain and see whether the shield notices and repairs it. No data set, no internet.

    Args:
        output: folder to write to; report.html is the page to open.
        models_dir: folder of the weights; by default the one the bundle ships with.
        subjects: clean subjects the shield is calibrated on.
        every_nth_slice: of each of them.
        slices: slices to attack.
        seed: of the subjects.
        trust: whether to run the bundle's code where it is not that of the repository the plugin is installed from.
    """
    from monai_shield.bundle import find_bundle, is_own_bundle, require_trust
    from monai_shield.report import Demo, closing_words

    name = "brain_mri_shield"
    root = find_bundle(name, Path(__file__).parent)
    if not is_own_bundle(root):  # the plugin is not installed in place
        root = find_bundle(name)
    story = Demo(output, root, models_dir, subjects, every_nth_slice, slices, seed)
    require_trust(root, trust)
    return closing_words(story.run(), output)


def report(folder: str = "demo", output: str | None = None) -> str:
    """
    Write report.html anew, from the numbers and files of a demo or from the results of any study.

    Args:
        folder: with the result.json of a demo, or the results.json of an evaluation, of a study of attacks or of a
            study of defenses, the last with its spectra.npz.
        output: folder to write a study's page and figures to; by default the same. A demo's stay in its folder.
    """
    from monai_shield.report import render_demo, render_study

    if output is not None or (Path(folder) / "results.json").is_file():
        return str(render_study(folder, output))
    render_demo(folder)
    return str(Path(folder) / "report.html")


def attack(
    bundle: str,
    attack: str,
    input: str,
    output: str,
    label: str | None = None,
    slices: int | None = None,
    background: float | str | None = "border",
    weights: str | None = None,
    device: str | None = None,
    trust: bool = False,
    public_key: str | None = None,
    **settings: Any,
) -> str:
    """
    Attack the network of any MONAI bundle on files, through the bundle's own preprocessing.

    Writes, for each file, the attacked NIfTI file (of the same type and header) and the network's answers before and
    after, and table.csv, results.json and figure.png. Success is measured after the attacked file was read in again.
    Killed and started again it goes on where it was.

    A bundle's config and scripts are code, which is run. Unless the bundle is one of this repository's, nothing is
    opened without --trust, or --public_key to check its signature first.

    Further flags are settings of the attack, such as --epsilon 0.0157 (PGD: 4/255 of the intensity window),
    --max_steps 40, --norm l2, --target runner_up (DAG), or --confine_to_mask to keep the perturbation inside the
    foreground.

    Args:
        bundle: folder of a bundle in the layout of MONAI's model zoo.
        attack: a name in monai_shield.attacks.ATTACKS, such as dag, pgd, apgd or sea; a wrong one lists them all.
        input: a NIfTI file, or a folder of them.
        output: folder to write to.
        label: true label of the file, or a folder with one of the same name for each; by default the network's own
            prediction on the clean file.
        slices: of a network of slices: how many to attack in each volume, evenly spaced; by default all.
        background: value of the file's background, which is restored; by default what fills the border of the volume.
        weights: file of weights; by default the bundle's own.
        device: where to compute; by default the GPU where there is one.
        trust: whether to run the bundle's code.
        public_key: file of the key that the bundle must be signed with; its code is run where it is.
        settings: settings of the attack, described in monai_shield.attacks; a wrong one lists them all.
    """
    from monai_shield.bundle import (
        BundleAttack,
        BundleTarget,
        attack_files,
        make_attack,
        verify_bundle,
    )

    chosen = make_attack(attack, settings)
    files = attack_files(input, label)
    if public_key is not None:
        verify_bundle(bundle, public_key)
        trust = True
    target = BundleTarget.open(bundle, device, weights, trust=trust)
    records = BundleAttack(target, chosen, files, output, slices, background).run()
    failed = [record for record in records if record["status"] == "error"]
    if failed:
        raise BundleError(f"{len(failed)} of {len(records)} files failed, '{failed[0]['file']}': {failed[0]['reason']}")
    return attack_words(records, output)


def attack_words(records: Sequence[Mapping[str, Any]], output: str) -> str:
    """What an attack on files came to, a line a file."""
    lines = []
    for record in records:
        share = record["changed_read_back"]
        changed = "none" if share is None else f"{share:.1%}"
        dice = " to ".join(
            "-" if record[key] is None else f"{record[key]:.3f}" for key in ("dice_clean", "dice_attacked")
        )
        lines.append(f"{record['file']}: {changed} of the attacked pixels changed, mean Dice {dice}")
    return "\n".join([*lines, str(Path(output) / "figure.png")])


def keys(output: str) -> str:
    """
    Make a pair of keys to sign bundles with. Files that are there are never overwritten.

    Args:
        output: folder to write private.pem, which nobody else may read, and public.pem to.
    """
    from monai_shield.bundle import make_keys

    private, public = make_keys(output)
    return f"{private}: signs bundles; keep it to yourself\n{public}: verifies them; hand it out"


def sign(bundle: str, key: str) -> str:
    """
    Sign every file of a bundle as it is now, in its file SIGNATURE. Nothing of the bundle is run.

    Args:
        bundle: folder of the bundle.
        key: file of the private key.
    """
    from monai_shield.bundle import sign_bundle

    return str(sign_bundle(bundle, key))


def verify(bundle: str, key: str) -> str:
    """
    Check that no file of a bundle was changed, added or removed since it was signed. Nothing of the bundle is run.

    Args:
        bundle: folder of the bundle.
        key: file of the public key, from its owner and not from the bundle.
    """
    from monai_shield.bundle import verify_bundle

    return f"{bundle}: {len(verify_bundle(bundle, key))} files, all as they were signed"


def main() -> None:
    """Run a command; what its user can mend ends in one line instead of a traceback."""
    import fire

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        commands = {"attack": attack, "demo": demo, "keys": keys, "report": report, "sign": sign, "verify": verify}
        fire.Fire(commands, name="monai-shield")
    except (ImportError, OSError, UserError) as error:
        raise SystemExit(f"monai-shield: {error}") from error


if __name__ == "__main__":
    main()
