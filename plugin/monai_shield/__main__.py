# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The command line: ``python -m monai_shield attack``, ``demo``, ``keys``, ``report``, ``sign``, ``verify``."""

import logging
import sys
from pathlib import Path
from typing import Any

import fire
from fire.decorators import SetParseFns

from monai_shield import __version__
from monai_shield.command_line import (
    AttackScope,
    attack_files,
    check_settings,
    check_trust,
    inference_config,
    settings_help,
    whole_number,
)
from monai_shield.errors import BundleError, UserError


@SetParseFns(output=str, models_dir=str)
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
    for name, value in {"subjects": subjects, "every_nth_slice": every_nth_slice, "slices": slices}.items():
        whole_number(name, value)
    whole_number("seed", seed, least=0)
    from monai_shield.bundle import find_bundle, is_own_bundle
    from monai_shield.demo import run_demo
    from monai_shield.report import closing_words

    name = "brain_mri_shield"
    root = find_bundle(name, Path(__file__).parent)
    if not is_own_bundle(root):  # the plugin is not installed in place
        root = find_bundle(name)
    result = run_demo(output, root, models_dir, subjects, every_nth_slice, slices, seed, trust)
    return closing_words(result, output)


@SetParseFns(folder=str, output=str)
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


@SetParseFns(bundle=str, input=str, output=str, label=str, weights=str, public_key=str)
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

    Further flags are settings of the attack, such as --epsilon 4/255 (PGD: of the intensity window), --max_steps 40,
    --norm l2, --target runner_up (DAG), or --confine_to_mask to keep the perturbation inside the foreground. They are:

    Args:
        bundle: folder of a bundle in the layout of MONAI's model zoo.
        attack: name of the attack, such as dag, pgd, apgd or sea.
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
        settings: settings of the attack, listed above.
    """
    chosen = check_settings(attack, settings)
    scope = AttackScope(slices, background)
    files = attack_files(input, label)
    inference_config(bundle)
    if weights is not None and not Path(weights).is_file():
        raise UserError(f"weight file '{weights}' is missing.")
    if public_key is None:
        check_trust(bundle, trust)
    from monai_shield.attacks import ATTACKS
    from monai_shield.bundle import BundleAttack, BundleTarget, attack_words, verify_bundle

    try:
        made = ATTACKS[attack](**chosen)
    except (TypeError, ValueError) as error:
        raise UserError(f"{attack}: {error}") from error
    if public_key is not None:
        verify_bundle(bundle, public_key)
        trust = True
    target = BundleTarget.open(bundle, device, weights, trust=trust)
    records = BundleAttack(target, made, files, output, scope).run()
    failed = [record for record in records if record["status"] == "error"]
    if failed:
        raise BundleError(f"{len(failed)} of {len(records)} files failed, '{failed[0]['file']}': {failed[0]['reason']}")
    return attack_words(records, output)


@SetParseFns(output=str)
def keys(output: str) -> str:
    """
    Make a pair of keys to sign bundles with. Files that are there are never overwritten.

    Args:
        output: folder to write private.pem, which nobody else may read, and public.pem to.
    """
    from monai_shield.bundle import make_keys

    private, public = make_keys(output)
    return f"{private}: signs bundles; keep it to yourself\n{public}: verifies them; hand it out"


@SetParseFns(bundle=str, key=str)
def sign(bundle: str, key: str) -> str:
    """
    Sign every file of a bundle as it is now, in its file SIGNATURE. Nothing of the bundle is run.

    Args:
        bundle: folder of the bundle.
        key: file of the private key.
    """
    from monai_shield.bundle import sign_bundle

    return str(sign_bundle(bundle, key))


@SetParseFns(bundle=str, key=str)
def verify(bundle: str, key: str) -> str:
    """
    Check that no file of a bundle was changed, added or removed since it was signed. Nothing of the bundle is run.

    Args:
        bundle: folder of the bundle.
        key: file of the public key, from its owner and not from the bundle.
    """
    from monai_shield.bundle import verify_bundle

    return f"{bundle}: {len(verify_bundle(bundle, key))} files, all as they were signed"


def version() -> str:
    """The version of monai-shield."""
    return __version__


def main() -> None:
    """Run a command; what its user can mend ends in one line instead of a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    commands = {each.__name__: each for each in (attack, demo, keys, report, sign, verify, version)}
    words = ["version" if word == "--version" else word for word in sys.argv[1:]]
    if {"-h", "--help"} & {*words} and "--" not in words:  # else fire takes it for a setting of an attack
        attack.__doc__ = str(attack.__doc__).replace("They are:", f"They are:\n\n{settings_help()}")
        words = [*words[: words[0] in commands], "--", "--help"]
    try:
        fire.Fire(commands, words, name="monai-shield")
    except (ImportError, OSError, UserError) as error:
        raise SystemExit(f"monai-shield: {error}") from error


if __name__ == "__main__":
    main()
