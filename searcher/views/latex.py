"""Tables and texts as LaTeX with the rules of the package booktabs."""

from __future__ import annotations

from collections.abc import Sequence

PACKAGES = "% needs \\usepackage{booktabs}\n"
_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "µ": r"$\mu$",
    "†": r"$^\dagger$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def escaped(text: str) -> str:
    """`text` with everything that LaTeX would read as a command made printable."""
    return "".join(_LATEX.get(character, character) for character in text)


def tabular(head: Sequence[str], rows: Sequence[Sequence[str]], alignment: str | None = None) -> str:
    """A tabular; without an `alignment` (`lrr`) the first column is words and the others are figures."""
    lines = [" & ".join(map(escaped, row)) + r" \\" for row in (head, *rows)]
    alignment = alignment or f"l{'r' * (len(head) - 1)}"
    begin, end = rf"\begin{{tabular}}{{{alignment}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", end, ""])
