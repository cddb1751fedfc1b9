r"""Fine-tune a teacher on the data set of a space file, or continue it: the same command goes on where it was stopped.

FILE gives data set, classes and image size; its recipe is that of the students and is not looked at. The teacher is a
timm model and starts from timm's pretrained weights, from those of --checkpoint (a head of another number of classes
is replaced), or from random ones with --scratch. Every finished epoch is kept. The result is one safetensors that
carries what it was trained on: a space uses it with `recipe: {base: pets, teacher: PATH}`, and one with other classes,
or whose test images the teacher has learned, is refused.

--recipe is `pets`, the published one (50 epochs, batch 256), or a YAML file such as this:

  {base: pets, batch_size: 32, phase: {epochs: 20, learning_rate: 0.0003}}

Examples:
  searcher teacher search_spaces/pets_tiny.yaml --device cuda
  searcher teacher search_spaces/pets_tiny.yaml \
      --checkpoint deit_tiny_patch16_224.safetensors
  searcher teacher search_spaces/demo.yaml --model resnet18 --scratch \
      --batch-size 32 --out teachers/demo.safetensors
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path

import yaml

from bhvit.errors import InvalidInput
from searcher.numbers import percent_text
from searcher.outcomes import Diverged, OutOfMemory
from searcher.recipe import SAFETENSORS, DataConfig, with_length
from searcher.space import Space, load_space
from searcher.teacher_file import TeacherCard
from searcher.teacher_recipe import PUBLISHED, TeacherRecipe, teacher_recipe_from
from searcher.views.console import console
from searcher.views.training import LiveTraining
from searcher.yaml_file import read_yaml

MODEL = "deit_tiny_patch16_224"
TEACHERS = Path("teachers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="space file")
    parser.add_argument("--model", default=MODEL, metavar="NAME", help=f"timm model (default: {MODEL})")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--checkpoint", type=Path, metavar="PATH", help="initial weights: .safetensors, or .pth of tensors"
    )
    start.add_argument("--scratch", action="store_true", help="start from random weights")
    parser.add_argument("--recipe", default=PUBLISHED, metavar="NAME", help=f"name or YAML file (default: {PUBLISHED})")
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="epochs, warm-up at most a quarter of them (default: the recipe's)"
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="images a step (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed (default: 0)")
    parser.add_argument("--out", type=Path, metavar="PATH", help="the file (default: teachers/DATA-MODEL.safetensors)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")


def run(args: argparse.Namespace) -> int:
    r"""Fine-tune, then print the accuracy and how to use the file."""
    space = load_space(args.file)
    if space.data is None:
        raise InvalidInput(f"{args.file}: a teacher needs a data set, but the space lacks data; add it.")
    space.data.list_images().require_classes(space.classes)
    recipe = _recipe(args)
    out = args.out or TEACHERS / f"{space.data.name}-{args.model}{SAFETENSORS}"
    if out.suffix != SAFETENSORS:
        raise InvalidInput(f"--out must end in {SAFETENSORS}, but it is {out}; use {out.with_suffix(SAFETENSORS)}.")
    try:
        card = _fine_tuned(args, space, space.data, recipe, out)
    except KeyboardInterrupt:
        console().print("Interrupted; nothing is lost, the same command goes on.", style="bold")
        return 130
    except OutOfMemory as error:
        raise InvalidInput(str(error)) from error
    except Diverged as error:
        raise InvalidInput(f"the loss must stay finite, but {error}; use a recipe of lower learning_rate.") from error
    _show(args.file, space, out, card)
    return 0


def _recipe(args: argparse.Namespace) -> TeacherRecipe:
    recipe = teacher_recipe_from(args.recipe)
    if args.epochs is not None:
        recipe = dataclasses.replace(recipe, phase=with_length(recipe.phase, args.epochs))
    if args.batch_size is not None:
        recipe = dataclasses.replace(recipe, batch_size=args.batch_size)
    return recipe


def _fine_tuned(
    args: argparse.Namespace, space: Space, data: DataConfig, recipe: TeacherRecipe, out: Path
) -> TeacherCard:
    from searcher.teacher_start import Start  # torch takes seconds to load: only when it is needed
    from searcher.teacher_training import FineTuning, fine_tune

    start = Start(args.model, space.image_size, args.checkpoint, args.scratch)
    tuning = FineTuning(start, data, recipe, args.seed)
    with LiveTraining(console(), recipe.phase.epochs) as live:
        live.say(f"{args.model} on {data.name} at {start.image_size} px, from {start.origin}, to {out}")
        return fine_tune(
            tuning,
            out,
            device=args.device,
            threads=space.search.threads,
            say=live.say,
            report=live.on_epoch,
            progress=live.on_step,
        )


def _show(file: str, space: Space, out: Path, card: TeacherCard) -> None:
    console().print(
        f"{out}: {percent_text(card.accuracy)} Top-1 on the validation split (epoch {card.epoch} of "
        f"{card.recipe['phase']['epochs']})",
        "In a space file:",
        f"  {recipe_line(file, space, out)}",
        sep="\n",
        soft_wrap=True,
    )


def recipe_line(file: str, space: Space, teacher: Path) -> str:
    """The space file's recipe with this teacher in it, ready to paste; `pets` where the file has none by name."""
    recipe = read_yaml(Path(file)).get("recipe")
    base = recipe.get("base", PUBLISHED) if isinstance(recipe, Mapping) else recipe or PUBLISHED
    keys: dict[str, object] = {"base": base, "teacher": str(teacher)}
    if space.recipe is not None and not space.recipe.loss.distillation:
        keys["loss"] = {"distillation": 0.8}  # a recipe that gives teachers no weight would not hear this one
    text = yaml.safe_dump(keys, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return f"recipe: {text.strip()}"
