"""Profile of a search space before any training.

Number of configurations, share within the budget, smallest, median and largest memory, OPs and latency, and which
single limit binds. Exit code 2 where nothing is within the budget.

Examples:
  searcher space search_spaces/demo.yaml
  searcher space search_spaces/pets_tiny.yaml --json
"""

from __future__ import annotations

import argparse

from searcher.feasible import profile
from searcher.space import load_space
from searcher.views.console import console, print_json
from searcher.views.space import space_json, space_view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="space file")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the profile."""
    space = load_space(args.file)
    found = profile(space)
    if args.json:
        print_json("space", space_json(space, found))
    else:
        console().print(space_view(space, found))
    return 0 if found.satisfiable else 2
