"""What the README says of the repository."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MADE_LATER = "runs"  # by the first search
NAME = re.compile(r"[\w*]+(?:\.py|/(?=[\s,)]))")


def listed() -> list[tuple[str, str]]:
    """Top folder and name (a glob) of everything that the list of files names, the folder of top folders is `.`."""
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("## Files\n\n```\n")[1].split("```")[0]
    found, folder = [], ""
    for line in tree.splitlines():
        names = [name.rstrip("/") for name in NAME.findall(f"{line}\n")]
        if not line.startswith(" "):
            folder = names.pop(0)
            found.append((".", folder))
        found += [(folder, name) for name in names]
    return found


def test_every_file_and_folder_of_its_list_exists() -> None:
    names = listed()
    assert {(".", "bhvit"), ("bhvit", "quantizers"), ("searcher", "improvement.py"), ("docs", "results")} <= set(names)
    deep = [(ROOT / folder, name if folder == "." else f"**/{name}") for folder, name in names if name != MADE_LATER]
    absent = [pattern for folder, pattern in deep if not any(folder.glob(pattern))]
    assert not absent
