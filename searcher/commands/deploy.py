"""A trained model as files that run without us, each checked against PyTorch before it is put in place.

Formats, all of them unless --format says otherwise:
  onnx       model.onnx: float32, for ONNX Runtime and others
  onnx-int8  model-int8-weights.onnx: binary weights stored as INT8, and
             model-qdq.onnx: INT8, its ranges from training images
  packed     model.bhvit: binary layers at one bit, run by bhvit.runtime

The model is a trial of a study, or a checkpoint: one in a study says by its
place which candidate it is; for any other, such as a full-precision parent in
runs/_warm_starts, --space and --set say so. fp16 layers have their weights
rounded to half precision, as they are deployed.

The check runs PyTorch in float64 and every file on validation images and on
noise. Rounding alone can turn signs of a binary network, so its files must
stand as well to float64 as PyTorch's float32 does: as many images with the same
largest class, and with equal logits up to rounding. Files of a model without
quantized layers must differ by rounding alone. model-qdq.onnx deviates on
purpose; how much is reported. Files that exist are replaced only with
--overwrite.

Examples:
  searcher deploy demo 3 --out deployed
  searcher deploy demo 3 --format onnx,packed --out deployed
  searcher deploy --checkpoint kept.safetensors --space one.yaml --out deployed
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bhvit.errors import InvalidInput, unknown_name
from bhvit.families import family_named
from bhvit.runtime.families import PACKED_FAMILIES, PACKED_TITLES
from bhvit.wording import listed
from searcher.candidate import Candidate
from searcher.checkpoint_files import BEST, torn
from searcher.commands.arguments import add_settings, chosen, count, trial_number
from searcher.commands.program import program
from searcher.commands.studies import add_runs_argument, study_of, trained_trial
from searcher.deployed_files import CALIBRATION, CHECKED, FORMATS, Deployment, DeployOptions, steps_of
from searcher.files import make_folder
from searcher.records import RECORD_FILE, read_record
from searcher.space import Space, load_space
from searcher.study_folder import StudyFolder
from searcher.views.console import console, print_json
from searcher.views.deploy import deployment_json, deployment_view
from searcher.views.training import LiveTraining


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "study", metavar="STUDY", nargs="?", help="folder of the study, or its name in the folder of all studies"
    )
    parser.add_argument("trial", metavar="TRIAL", nargs="?", type=trial_number, help="number of the trial")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="the weights, instead of STUDY and TRIAL")
    parser.add_argument("--space", type=Path, metavar="FILE", help="space file of the checkpoint's candidate and data")
    add_settings(parser)
    parser.add_argument(
        "--format",
        dest="formats",
        action="append",
        metavar="NAMES",
        help=f"of {', '.join(FORMATS)}; with commas or repeated (default: all)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the files")
    parser.add_argument("--overwrite", action="store_true", help="replace files of another model")
    parser.add_argument(
        "--calibration",
        type=count,
        default=CALIBRATION,
        metavar="N",
        help=f"training images from which model-qdq.onnx gets its ranges (default: {CALIBRATION})",
    )
    parser.add_argument(
        "--images",
        type=count,
        default=CHECKED,
        metavar="N",
        help=f"validation images to check every file on (default: {CHECKED})",
    )
    parser.add_argument("--seed", type=int, default=0, help="draws both kinds of images (default: 0)")
    add_runs_argument(parser)
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Export, check, put in place, and print what there is now."""
    options = DeployOptions(args.out, _formats(args.formats), args.calibration, args.images, args.seed, args.overwrite)
    if options.seed < 0:
        raise InvalidInput(f"--seed must be at least 0, but it is {options.seed}.")
    space, candidate, label, weights = _of_trial(args) if args.checkpoint is None else _of_checkpoint(args)
    _check_deployable(candidate, space, args)
    make_folder(options.folder)
    deployment = _deployed(space, candidate, weights, options, args)
    if args.json:
        print_json("deploy", deployment_json(deployment))
    else:
        console().print(deployment_view(deployment, program(), label))
    return 0


def _check_deployable(candidate: Candidate, space: Space, args: argparse.Namespace) -> None:
    """Raise `InvalidInput` where the candidate's family is none that can be exported, with what can be done instead."""
    if family_named(candidate.family).deployable:
        return
    which = args.checkpoint or f"trial {args.trial}"
    others = [model.label for model in space.models if family_named(model.family).deployable]
    remedy = f"search a model of {listed(PACKED_FAMILIES, 'or')}"
    if others and args.checkpoint is None:
        held = " or ".join(f"model={label}" for label in others)
        remedy = f"choose another trial, see `{program()} show {args.study} --where '{held}'`"
    elif others:
        remedy = f"choose a checkpoint of {listed(others, 'or')}"
    raise InvalidInput(
        f"models of {PACKED_TITLES} can be exported, but {which} is a {candidate.architecture.title}; {remedy}."
    )


def _deployed(
    space: Space, candidate: Candidate, weights: Path, options: DeployOptions, args: argparse.Namespace
) -> Deployment:
    from searcher.deployment import Source, deploy  # torch takes seconds to load: only when it is needed

    recipe, data = space.training
    with LiveTraining(console(error=args.json), steps_of(options.formats), unit="step") as live:
        return deploy(Source(candidate, recipe, data, weights), options, live.on_step)


def _formats(texts: list[str] | None) -> tuple[str, ...]:
    names = tuple(FORMATS) if texts is None else tuple(name.strip() for text in texts for name in text.split(","))
    for name in names:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    return names


def _of_trial(args: argparse.Namespace) -> tuple[Space, Candidate, str, Path]:
    """The study's space, the trial's candidate, the label of its model (empty for the only one) and weights."""
    if args.study is None or args.trial is None:
        raise InvalidInput("deploy takes STUDY and TRIAL, or --checkpoint FILE; see `searcher deploy --help`.")
    if args.space is not None or args.settings:
        raise InvalidInput("--space and --set say what a --checkpoint is, but a trial is known; leave them out.")
    folder = study_of(args)
    record, space = trained_trial(folder, "deploy", args.trial), folder.space()
    return space, record.candidate, space.model_of(record.choices).label, _whole(folder.trial(record) / BEST)


def _of_checkpoint(args: argparse.Namespace) -> tuple[Space, Candidate, str, Path]:
    """The same of a checkpoint that lies in a study, or is said to be of a space file."""
    if args.study is not None:
        raise InvalidInput("deploy takes STUDY and TRIAL or --checkpoint FILE, but both are given; leave one out.")
    weights = _whole(args.checkpoint)
    if args.space is not None:
        space = load_space(args.space)
        if space.size > 1 and not args.settings:
            names = ", ".join(v.name for v in space.variables)
            raise InvalidInput(
                f"--space must say which candidate the checkpoint is, but {args.space} has {space.size} "
                f"configurations; choose with --set VARIABLE=VALUE, its variables are {names}."
            )
        choices = chosen(space, args.settings)
        return space, space.candidate(choices), space.model_of(choices).label, weights
    if args.settings:
        raise InvalidInput("--set chooses a candidate of --space FILE, but there is none; add it, or leave --set out.")
    place = weights.resolve().parent
    study = StudyFolder(place.parent.parent)
    if not (place / RECORD_FILE).exists() or not study.space_file.exists():
        raise InvalidInput(
            f"a checkpoint outside of a study's trials needs its candidate, but {args.checkpoint} is no trial's; add "
            "--space FILE (and --set VARIABLE=VALUE)."
        )
    record, space = read_record(place), study.space()
    return space, record.candidate, space.model_of(record.choices).label, weights


def _whole(weights: Path) -> Path:
    """`weights`, which must be a whole safetensors file."""
    if not weights.is_file():
        raise InvalidInput(f"the weights must be on disk, but {weights} is no file; train the model (again).")
    reason = torn(weights)
    if reason is not None:
        raise InvalidInput(f"{weights} must be a whole safetensors file, but {reason}; restore it, or train again.")
    return weights
