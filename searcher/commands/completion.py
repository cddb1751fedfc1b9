"""The script that makes your shell complete commands, options and studies.

Tab then offers commands, options and their choices, the studies in runs/ (or
in the folder given by --runs), the numbers of a study's trials, and files.

  bash  once: eval "$(searcher completion bash)"
        for good: add that line to ~/.bashrc
  zsh   the same with zsh, in ~/.zshrc, after compinit
  fish  searcher completion fish > ~/.config/fish/completions/searcher.fish

Examples:
  searcher completion bash
  eval "$(searcher completion zsh)"
"""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh", "fish")
# Trials stay in the order of their numbers; bash before 4.4, as on macOS, does not know how and keeps the line before.
IN_ORDER = "complete -o nospace -o bashdefault -o nosort -F _python_argcomplete searcher 2>/dev/null || true"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["searcher"], use_defaults=False, shell=args.shell))
    if args.shell == "bash":
        print(IN_ORDER)
    return 0
