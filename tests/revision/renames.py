# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501
"""
The written table of what was renamed since the revision before, which is 923e0f7: old name on the left, new one on the
right. Nothing that was measured may change with a name, so the facts (``facts.py``) are defined in the old names only,
and this table carries them over to the code as it is now, and the files as they are now back to the old names.

How to add to it:

- ``NAMES``: a module, a class, a function, a method or a constant, dotted. The longest entry that fits counts, so that
  the entry of a module is enough for all that moved with it: ``"monai_shield.studies": "monai_shield.evaluation"``,
  and an exception gets a longer entry of its own.
- ``IDENTIFIERS``: an argument, an attribute, a method of an object, a key of a dictionary or of a JSON file, a key of
  a config, a heading of a CSV file, a part (between dots) of a tensor's name. Where a word has two new names, put the
  place before it: ``"monai_shield.detectors.Views::body_above"`` for an argument of a callable (by its old name),
  ``"docs/study/results.json::persons"`` for a file (by its old path). The entry with the longest fitting place counts.
- ``VALUES``: a string that stands as a value in a JSON file or a config, or as an argument, whole. A string of a config
  that is an expression or names a target needs no entry: its words go through ``NAMES`` and ``IDENTIFIERS``. A
  place may stand before it as above. For words inside longer strings, where they stand by themselves, see ``WORDS``.
- ``WORDS``: words inside of strings that present code, such as "TargetPart(class_weight_power=0.5)".
- ``FILES``: a path, or a folder with all that is in it; the longest entry that fits counts.
- ``GONE``: what was removed on purpose: its fact, or the beginning of the names of its facts up to a stroke, and why;
  of a fact that stands for several values, one of them after "#" (the snapshot is then to be written again from the
  revision before). Keep it short: whatever stands here is no longer compared.
- What has another shape, such as a threshold that became an object, is computed in either way by ``adapting.py``.

Every section is one-to-one for each place, so that it can be read backward; ``naming.py`` checks that.
"""

#: Modules, classes, functions, methods, constants.
NAMES: dict[str, str] = {
    "monai_shield.__main__.attack_words": "monai_shield.bundle.attack_table.attack_words",
    "monai_shield.attacks.asma.held_target_logit": "monai_shield.attacks.asma.target_logit",
    "monai_shield.attacks.base.AttackInfo": "monai_shield.info.Info",
    "monai_shield.attacks.base.check_image": "monai_shield.attacks.inputs.check_image",
    "monai_shield.attacks.base.crafting": "monai_shield.attacks.crafting.crafting",
    "monai_shield.attacks.base.plain": "monai_shield.attacks.inputs.plain",
    "monai_shield.attacks.base.with_meta_of": "monai_shield.attacks.inputs.with_meta_of",
    "monai_shield.attacks.loop.NORMS": "monai_shield.attacks.ball.NORMS",
    "monai_shield.attacks.loop.unit_l2": "monai_shield.attacks.ball.unit_l2",
    "monai_shield.attacks.loop.unit_linf": "monai_shield.attacks.ball.unit_linf",
    "monai_shield.attacks.vafa.dice_cross_entropy": "monai_shield.attacks.losses.dice_cross_entropy",
    "monai_shield.bundle.attack.MIN_BODY": "monai_shield.bundle.attacked_file.MIN_FOREGROUND",
    "monai_shield.bundle.attack.ROWS": "monai_shield.bundle.attack_table.ROWS",
    "monai_shield.bundle.attack_arguments": "monai_shield.command_line.arguments",
    "monai_shield.bundle.attack_arguments.NOT_FROM_THE_COMMAND_LINE": "monai_shield.command_line.attack_settings.NOT_OFFERED",
    "monai_shield.bundle.files.root_cause": "monai_shield.utils.root_cause",
    "monai_shield.bundle.names": "monai_shield.command_line.files",
    "monai_shield.bundle.target.BundleAttackError": "monai_shield.errors.BundleError",
    "monai_shield.bundle.target.NAMES": "monai_shield.command_line.arguments.CONFIGS",
    "monai_shield.bundle.trust": "monai_shield.command_line.trust",
    "monai_shield.data.cohort.cohort_person": "monai_shield.data.cohort.cohort_subject",
    "monai_shield.data.cohort_person": "monai_shield.data.cohort_subject",
    "monai_shield.detectors.precision.CallerAutocast": "monai_shield.detectors.precision.caller_autocast",
    "monai_shield.metrics.PersonResamples": "monai_shield.metrics.SubjectResamples",
    "monai_shield.metrics.bootstrap.person_bootstrap": "monai_shield.metrics.bootstrap.subject_bootstrap",
    "monai_shield.metrics.person_bootstrap": "monai_shield.metrics.subject_bootstrap",
    "monai_shield.metrics.resampling.PersonResamples": "monai_shield.metrics.resampling.SubjectResamples",
    "monai_shield.networks.RolledNetwork": "reproduction.RolledNetwork",
    "monai_shield.networks.ShuffledNetwork": "reproduction.ShuffledNetwork",
    "monai_shield.networks.circular_padding": "reproduction.circular_padding",
    "monai_shield.networks.dcgan": "reproduction.dcgan",
    "monai_shield.networks.dcgan_critic": "reproduction.dcgan_critic",
    "monai_shield.networks.dcgan_generator": "reproduction.dcgan_generator",
    "monai_shield.networks.rearranged": "reproduction.rearranged",
    "monai_shield.reformers.DefenseGAN": "reproduction.DefenseGAN",
    "monai_shield.reformers.defense_gan": "reproduction.defense_gan",
    "monai_shield.reformers.resample": "reproduction.resample",
    "monai_shield.reformers.training": "monai_shield.reformers.learned",
    "monai_shield.report.defense_figures": "reproduction.report.figures",
    "monai_shield.report.defense_page": "reproduction.report.page",
    "monai_shield.report.defense_page.GROUPS": "reproduction.report.page.GROUP_TITLES",
    "monai_shield.report.demo": "monai_shield.demo.story",
    "monai_shield.report.demo.closing_words": "monai_shield.report.words.closing_words",
    "monai_shield.report.demo_result": "monai_shield.demo.numbers",
    "monai_shield.studies": "reproduction",
    "monai_shield.studies.AttackStudy": "monai_shield.evaluation.AttackStudy",
    "monai_shield.studies.EvaluationSummary": "monai_shield.evaluation.EvaluationSummary",
    "monai_shield.studies.ShieldEvaluation": "monai_shield.evaluation.ShieldEvaluation",
    "monai_shield.studies.attack_study": "monai_shield.evaluation.attack_study",
    "monai_shield.studies.attack_study.SUCCESS": "monai_shield.evaluation.attack_study_summary.SUCCESS",
    "monai_shield.studies.attack_study.attack_study_table": "monai_shield.evaluation.attack_study_summary.attack_study_table",
    "monai_shield.studies.attack_study_table": "monai_shield.evaluation.attack_study_table",
    "monai_shield.studies.cells": "monai_shield.evaluation.cells",
    "monai_shield.studies.cells.fingerprint_of": "monai_shield.fingerprints.fingerprint_of",
    "monai_shield.studies.cells.presented": "monai_shield.fingerprints.stable_repr",
    "monai_shield.studies.claims": "reproduction.claims",
    "monai_shield.studies.data": "reproduction.data",
    "monai_shield.studies.data.person_of": "reproduction.data.subject_of",
    "monai_shield.studies.defense_rows": "reproduction.defense_rows",
    "monai_shield.studies.defense_summary": "reproduction.summary",
    "monai_shield.studies.defense_tables": "reproduction.tables",
    "monai_shield.studies.defense_tables.rival_table": "reproduction.tables.baseline_table",
    "monai_shield.studies.defenses": "reproduction.study",
    "monai_shield.studies.defenses.FACTS": "reproduction.adversarial_cells.FACTS",
    "monai_shield.studies.detection_rows": "reproduction.detection_rows",
    "monai_shield.studies.evaluation": "monai_shield.evaluation.shield_evaluation",
    "monai_shield.studies.hardened": "reproduction.robust_targets",
    "monai_shield.studies.image_set": "reproduction.image_set",
    "monai_shield.studies.jobs": "reproduction.jobs",
    "monai_shield.studies.measured": "reproduction.measured",
    "monai_shield.studies.origin": "monai_shield.evaluation.provenance",
    "monai_shield.studies.parts": "reproduction.parts",
    "monai_shield.studies.provenance": "monai_shield.evaluation.provenance.provenance",
    "monai_shield.studies.published": "reproduction.published",
    "monai_shield.studies.readings": "reproduction.study_values",
    "monai_shield.studies.readings.StudyReadings": "reproduction.study_values.StudyValues",
    "monai_shield.studies.readings.judged_by_body": "reproduction.calibration.adjusted_scores",
    "monai_shield.studies.readings.paper_calibration": "reproduction.calibration.paper_calibration",
    "monai_shield.studies.rival_cells": "reproduction.baseline_cells",
    "monai_shield.studies.rival_cells.RivalCells": "reproduction.baseline_cells.BaselineCells",
    "monai_shield.studies.rivals": "reproduction.baseline_defenses",
    "monai_shield.studies.run": "monai_shield.evaluation.run",
    "monai_shield.studies.run.run_defense_study": "reproduction.run.run_defense_study",
    "monai_shield.studies.run_evaluation": "monai_shield.evaluation.run_evaluation",
    "monai_shield.studies.spectra": "reproduction.spectra",
    "monai_shield.studies.summary": "monai_shield.evaluation.summary",
    "monai_shield.studies.tables": "monai_shield.evaluation.tables",
    "monai_shield.studies.training": "reproduction.training",
    "monai_shield.studies.volume": "monai_shield.evaluation.volume",
    "monai_shield.studies.wgan": "reproduction.wgan",
    "monai_shield.transforms.preprocessed.AffineIntensity": "monai_shield.transforms.affine_intensity.AffineIntensity",
    "monai_shield.transforms.preprocessed.CHUNK": "monai_shield.transforms.affine_intensity.CHUNK",
    "monai_shield.transforms.preprocessed.SAMPLE": "monai_shield.transforms.affine_intensity.SAMPLE",
    "monai_shield.transforms.preprocessed.TOLERANCE": "monai_shield.transforms.affine_intensity.TOLERANCE",
    "monai_shield.transforms.preprocessed.fit_affine_intensity": "monai_shield.transforms.affine_intensity.fit_affine_intensity",
}

#: Arguments, attributes, keys.
IDENTIFIERS: dict[str, str] = {
    "person": "subject",
    "persons": "subjects",
    "body": "foreground",
    "min_body": "min_foreground",
    "body_share": "foreground_share",
    "body_above": "foreground_above",
    "mean_over_body": "mean_over_foreground",
    "body_only": "foreground_only",
    "body_range": "foreground_range",
    "given_body": "adjusted",
    "above_own": "paired_win_rate",
    "turned": "flipped",
    "changed_in_loop": "flipped_in_loop",
    "changed_read_back": "flipped_read_back",
    "log_body": "log_share",
    "clean_log_body": "clean_log_share",
    # the study
    "hardened": "robust",
    "rivals": "baseline_defenses",
    "docs/study/results.json/rivals::rival": "defense",
    "docs/study/further/results.json/rivals::rival": "defense",
    "configs/studies/paper::hardened": "robust_targets",
    "configs/studies/paper::baselines": "baseline_detectors",
    # it was called foreground there already
    "bundles/brain_mri_shield/models/shield/detector.pt::foreground_above": "foreground_above",
}

#: Strings that are values.
VALUES: dict[str, str] = {
    "monai_shield.studies.defense_tables::rivals": "baseline_defenses",
    "docs/study/results.json::training 4.45, measuring 3.40, hardening and attacking 1.30": "training 4.45, measuring 3.40, robust training and attacking 1.30",
    "docs/study/further/results.json::driving 4.32, training 0.25, hardening and attacking 1.72, attacking the hardened, searching 2.38, measuring 1.01, distill 1.08, attack 0.06, dense 0.01": "driving 4.32, training 0.25, robust training and attacking 1.72, attacking the robust targets, searching 2.38, measuring 1.01, distill 1.08, attack 0.06, dense 0.01",
}

#: Words inside strings that present code.
WORDS: dict[str, str] = {}

#: Paths.
FILES: dict[str, str] = {
    "docs/study": "reproduction/results",
    "docs/study/further/networks/detectors/AE_I/0.ada5667cf9597506.pt": "reproduction/results/further/networks/detectors/AE_I/0.1cc964bcdfdfb241.pt",
    "docs/study/further/networks/detectors/AE_II/0.2075151e955dd54d.pt": "reproduction/results/further/networks/detectors/AE_II/0.6fd5f1c1fd3eb52d.pt",
    "docs/study/further/networks/detectors/AE_I__UNet_s_size/0.635f62644937642c.pt": "reproduction/results/further/networks/detectors/AE_I__UNet_s_size/0.a1c08a5990ea3cc9.pt",
    "docs/study/further/networks/detectors/DenseNet_frequency/0.aec464b6b0621e22.pt": "reproduction/results/further/networks/detectors/DenseNet_frequency/0.62e4fdc0eeac528a.pt",
    "docs/study/further/networks/detectors/DenseNet_shifted/0.ef6c6b0bcadedccc.pt": "reproduction/results/further/networks/detectors/DenseNet_shifted/0.516eebaaab8f5b87.pt",
    "docs/study/further/networks/detectors/DenseNet_spatial/0.c9352ccd7ecafbcf.pt": "reproduction/results/further/networks/detectors/DenseNet_spatial/0.c5ce0a9fd3d7cc1d.pt",
    "docs/study/further/networks/detectors/UNet_frequency/0.52c59c73baff51da.pt": "reproduction/results/further/networks/detectors/UNet_frequency/0.8d10dbc9add568ca.pt",
    "docs/study/further/networks/detectors/UNet_shifted/0.74a8d6e6ad76d779.pt": "reproduction/results/further/networks/detectors/UNet_shifted/0.1ac26b934746b4ae.pt",
    "docs/study/further/networks/detectors/UNet_spatial/0.d6378a786db9af27.pt": "reproduction/results/further/networks/detectors/UNet_spatial/0.97c1a072284718f7.pt",
    "docs/study/further/networks/detectors/UNet_spatial__a_third_of_the_steps/0.a845ae1ca55869b7.pt": "reproduction/results/further/networks/detectors/UNet_spatial__a_third_of_the_steps/0.91b3b9250a76f83c.pt",
    "docs/study/further/networks/rivals/Defense_GAN.47d0b4367bc4c2eb.pt": "reproduction/results/further/networks/baseline_defenses/Defense_GAN.1ef1d6d728e850be.pt",
    "docs/study/further/networks/targets/DenseNet.7074c94e0b10a02f.pt": "reproduction/results/further/networks/targets/DenseNet.7d8a5200de75e0ec.pt",
    "docs/study/further/networks/targets/SegNet.a72b9aa9079d3642.pt": "reproduction/results/further/networks/targets/SegNet.70392f332258e3a5.pt",
    "docs/study/further/networks/targets/UNet.0388d99b2552eaf4.pt": "reproduction/results/further/networks/targets/UNet.59b9ec837ad770ca.pt",
    "docs/study/further/networks/targets/UNet__adversarially_trained.d6d0772e6c4c5acb.pt": "reproduction/results/further/networks/targets/UNet__adversarially_trained.c64af6817f5f6da1.pt",
    "docs/study/further/networks/targets/UNet__distilled.d5f48b038231addc.pt": "reproduction/results/further/networks/targets/UNet__distilled.a060c7045e39ec1b.pt",
}

#: Facts that are no more, and why.
GONE: dict[str, str] = {
    "surface/monai_shield.networks.fc_densenet/FCDenseNet(act)": "always ReLU, as by default before",
    "surface/monai_shield.networks.fc_densenet/FCDenseNet103(act)": "always ReLU, as by default before",
    "attack/loss/vafa/2d/runner_up": "VAFA has no target; for other attacks this loss now grows toward one",
    "attack/loss/vafa/3d/runner_up": "VAFA has no target; for other attacks this loss now grows toward one",
    "surface/monai_shield.attacks.loop/DIRECTIONS": "Ball.direction",
    "surface/monai_shield.attacks.loop/into_ball": "Ball.project",
    "surface/monai_shield.attacks.loop/not_yet_target": "Problem.not_fooled",
    "surface/monai_shield.attacks.loop/sign": "Ball.direction",
    "surface/monai_shield.attacks.loop/still_label": "Problem.not_fooled",
    "surface/monai_shield.attacks.losses/COMPARABLE": "the loss of VAFA is one of the list, and comparable",
    "surface/monai_shield.attacks.noise/add_noise": "Ball.draw",
    "surface/monai_shield.attacks.problem/share_held": "Problem.share",
    "surface/monai_shield.attacks.vafa/VAFA(loss)": "the name of the loss in place of the function",
    "surface/monai_shield.bundle.attack/BundleAttack(background)": "an AttackScope; its default is the same",
    "surface/monai_shield.bundle.attack/BundleAttack(slices)": "an AttackScope; its default is the same",
    "surface/monai_shield.bundle.attack/RECORD_VERSION": "what is written of an attack is made anew",
    "surface/monai_shield.bundle.attack_arguments/make_attack": "command_line.check_settings, then the attack's class",
    "surface/monai_shield.data.slices/body_share": "Foreground.share; it counted pixels above 0, by default it counts those above 0.05",
    "surface/monai_shield.detectors.calibration/Calibration.fit(made_with)": "replace(calibration, made_with=...)",
    "surface/monai_shield.detectors.calibration/Calibration.rejects_volume": "decide_volume",
    "surface/monai_shield.detectors.precision/CallerAutocast": "caller_autocast, a function",
    "surface/monai_shield.detectors.sequential/SequentialDetector.calibrate": "Detector.calibrate, with views in place of scores",
    "surface/monai_shield.detectors.statistics/subject_statistics(foreground_above)": "a Foreground takes the place of the threshold; by default above 0.05 as before",
    "surface/monai_shield.detectors.views/Views(body_above)": "a Foreground takes the place of the threshold; by default above 0.05 as before",
    "surface/monai_shield.report.attack_figure/BODY": "MONAI's bounding box finds what is worth showing",
    "surface/monai_shield.report.attack_study_page": "pages are made from templates",
    "surface/monai_shield.report.defense_figures/READINGS": "the headings of defended.py",
    "surface/monai_shield.report.defense_page/GIVEN_BODY": "pages are made from templates",
    "surface/monai_shield.report.defense_page/defense_figures": "pages are made from templates",
    "surface/monai_shield.report.demo/Demo": "run_demo",
    "surface/monai_shield.report.demo/DemoError": "errors.UserError",
    "surface/monai_shield.report.demo_attack": "BundleTarget, attack_file and write_nifti, which the commands use too",
    "surface/monai_shield.report.demo_page/demo_page": "pages are made from templates",
    "surface/monai_shield.report.demo_page/number_rows": "pages are made from templates",
    "surface/monai_shield.report.evaluation_page": "pages are made from templates",
    "surface/monai_shield.report.figures/SliceScores": "figures draw the records of slices",
    "surface/monai_shield.report.figures/scan_scores": "figures draw the records of slices",
    "surface/monai_shield.report.html": "pages are made from templates",
    "surface/monai_shield.report.words/calibration_words": "pages are made from templates",
    "surface/monai_shield.studies.attack_study/AttackStudy(axis)": "a Slicing, with the same defaults",
    "surface/monai_shield.studies.attack_study/AttackStudy(device)": "an AttackedNetwork, with the same defaults",
    "surface/monai_shield.studies.attack_study/AttackStudy(min_body)": "a Slicing, with the same defaults",
    "surface/monai_shield.studies.attack_study/AttackStudy(settings)": "an AttackedNetwork, with the same defaults",
    "surface/monai_shield.studies.attack_study/AttackStudy.summary": "attack_study_summary",
    "surface/monai_shield.studies.checks": "a Grid and a StudySettings check themselves",
    "surface/monai_shield.studies.claims/READINGS": "the headings of defended.py",
    "surface/monai_shield.studies.data/StudyData(axis)": "a Slicing, with the same defaults",
    "surface/monai_shield.studies.data/StudyData(min_body)": "a Slicing, with the same defaults",
    "surface/monai_shield.studies.defense_summary/DefenseSummary(comparisons)": "Grid.comparisons",
    "surface/monai_shield.studies.defenses/CLEAN": "ImageSet('clean')",
    "surface/monai_shield.studies.defenses/DefenseStudy(batch_size)": "a Grid and a StudySettings, with the same defaults",
    "surface/monai_shield.studies.defenses/DefenseStudy(device)": "by default the first GPU where there is one, as in the config before",
    "surface/monai_shield.studies.defenses/DefenseStudy(groups)": "a Grid and a StudySettings, with the same defaults",
    "surface/monai_shield.studies.defenses/DefenseStudy(hardened)": "a Grid and a StudySettings, with the same defaults",
    "surface/monai_shield.studies.defenses/DefenseStudy(rivals)": "a Grid and a StudySettings, with the same defaults",
    "surface/monai_shield.studies.defenses/DefenseStudy(seed)": "a Grid and a StudySettings, with the same defaults",
    "surface/monai_shield.studies.defenses/DefenseStudy(seeds)": "a Grid and a StudySettings, with the same defaults",
    "surface/monai_shield.studies.defenses/DefenseStudy(t_fp)": "a Grid and a StudySettings, with the same defaults",
    "surface/monai_shield.studies.detection_rows/DetectionRows(comparisons)": "Grid.comparisons",
    "surface/monai_shield.studies.evaluation/ShieldEvaluation(device)": "an AttackedNetwork, with the same defaults",
    "surface/monai_shield.studies.evaluation/ShieldEvaluation(settings)": "an AttackedNetwork, with the same defaults",
    "surface/monai_shield.studies.run/run_attack_study": "run_evaluation",
    "surface/monai_shield.studies.run/run_defense_study(comparisons)": "Grid.comparisons",
    "surface/monai_shield.studies.run/run_evaluation": "it takes any evaluation, and the data set before the seed",
    "surface/monai_shield.studies.tables/fill_markers": "docs/build.py has it",
    "surface/monai_shield.studies.tables/short_table": "docs/build.py makes the first table of the README",
    "surface/monai_shield.studies.tables/write_results": "run_evaluation writes them",
    "surface/monai_shield.studies.wgan/train_wgan(batch_size)": "a WGANTraining, with the same defaults",
    "surface/monai_shield.studies.wgan/train_wgan(betas)": "a WGANTraining, with the same defaults",
    "surface/monai_shield.studies.wgan/train_wgan(checkpoint)": "a TrainingRun",
    "surface/monai_shield.studies.wgan/train_wgan(checkpoint_interval)": "a WGANTraining, with the same defaults",
    "surface/monai_shield.studies.wgan/train_wgan(critic_steps)": "a WGANTraining, with the same defaults",
    "surface/monai_shield.studies.wgan/train_wgan(device)": "a TrainingRun",
    "surface/monai_shield.studies.wgan/train_wgan(handlers)": "a TrainingRun",
    "surface/monai_shield.studies.wgan/train_wgan(learning_rate)": "a WGANTraining, with the same defaults",
    "surface/monai_shield.studies.wgan/train_wgan(penalty_weight)": "a WGANTraining, with the same defaults",
    "surface/monai_shield.studies.wgan/train_wgan(seed)": "a TrainingRun",
    "surface/monai_shield.transforms.border/MeasureBorder(foreground_above)": "a Foreground takes the place of the threshold; by default above 0.05 as before",
    "surface/monai_shield.transforms.border/MeasureBorderd(foreground_above)": "a Foreground takes the place of the threshold; by default above 0.05 as before",
    "surface/monai_shield.transforms.check/CheckVolumed(channels)": "the dictionary form hands its arguments on to the array form, whose defaults they are",
    "surface/monai_shield.transforms.fourier/FrequencyConverterd(eps)": "the dictionary form hands its arguments on to the array form, whose defaults they are",
    "surface/monai_shield.transforms.fourier/FrequencyConverterd(part)": "the dictionary form hands its arguments on to the array form, whose defaults they are",
    "surface/monai_shield.transforms.fourier/FrequencyConverterd(shift)": "the dictionary form hands its arguments on to the array form, whose defaults they are",
    "surface/monai_shield.transforms.fourier/FrequencyShiftd(inverse)": "the dictionary form hands its arguments on to the array form, whose defaults they are",
    "surface/monai_shield.transforms.fourier/SpectrumPartd(eps)": "the dictionary form hands its arguments on to the array form, whose defaults they are",
    "surface/monai_shield.transforms.fourier/SpectrumPartd(part)": "the dictionary form hands its arguments on to the array form, whose defaults they are",
    "surface/monai_shield.transforms.intensity/ScaleToWindowd(percentile)": "the dictionary form hands its arguments on to the array form, whose defaults they are",
    "surface/monai_shield.transforms.standardize/StandardizeFrequency(mean)": "a standardizer always has its statistics",
    "surface/monai_shield.transforms.standardize/StandardizeFrequency(std)": "a standardizer always has its statistics",
    "surface/monai_shield.utils/load_weights(check_sum)": "the sum is always checked",
}

#: What is decided otherwise now, so that a number can differ, and how the comparison leaves it out.
DECIDED: dict[str, str] = {
    "foreground of an attack on a bundle": "where the bundle's config declares a foreground, its pixels are attacked; "
    "before, those that are not the background of the file (compared with no foreground declared)",
    "foreground of attacks in an evaluation": "the pixels of the declared foreground are attacked; before, those above 0 "
    "(compared with images without faint noise)",
    "foreground of slices and images": "what is above 0.05 of the intensity window counts for the smallest share of "
    "foreground; before, what is above 0 (compared with images without faint noise, and Foreground(above=0.0))",
    "ZeroShare of images in float64": "a score in float64; before, in float32 (compared in float32)",
}
