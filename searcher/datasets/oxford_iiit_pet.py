"""Oxford-IIIT Pet: 37 breeds by the official lists (Parkhi, Vedaldi, Zisserman, Jawahar, CVPR 2012; CC BY-SA 4.0)."""

from __future__ import annotations

from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.datasets.download import TorchvisionData
from searcher.datasets.listing import ImageList, Listing, image_list, stratified

FOLDER = "oxford-iiit-pet"  # where torchvision unpacks its download
LISTS = ("trainval.txt", "test.txt")
CLASSES = 37


def list_oxford_iiit_pet(root: Path, download: bool) -> Listing:
    """The official splits: a stratified tenth of the 3,680 trainval images is `val`, `test` are the 3,669 test images.

    The layout is `images/<Name>_<n>.jpg` and `annotations/{trainval,test}.txt`, in `root` or `root/oxford-iiit-pet`;
    segmentation masks are not needed. Where it is absent and `download` is set, torchvision fetches it (0.8 GB).
    Raises `MissingData` where it is absent and cannot be fetched, `InvalidInput` where lists and images disagree.
    """
    folder = DATA.folder(root, download)
    names: dict[int, str] = {}
    trainval = _listed(folder, "trainval.txt", names)
    test = _listed(folder, "test.txt", names)
    train, val = stratified(trainval)
    return Listing("oxford_iiit_pet", tuple(names[i] for i in sorted(names)), train, val, test)


def _located(root: Path) -> Path | None:
    for folder in (root, root / FOLDER):
        if (folder / "images").is_dir() and all((folder / "annotations" / name).is_file() for name in LISTS):
            return folder
    return None


DATA = TorchvisionData(
    "oxford_iiit_pet",
    "OxfordIIITPet",
    options={"split": "trainval"},  # its archives hold both splits
    layout=(f"{FOLDER}/images/<Name>_<n>.jpg", f"{FOLDER}/annotations/{{trainval,test}}.txt"),
    locate=_located,
)


def _listed(folder: Path, list_name: str, names: dict[int, str]) -> ImageList:
    """The images of one official list; `names` collects class index -> breed."""
    path = folder / "annotations" / list_name
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split()
        if len(fields) != 4 or not fields[1].isdigit() or not 1 <= int(fields[1]) <= CLASSES:
            raise InvalidInput(
                f"{path} line {number} must read `Name_n class-id species breed-id` with a class-id of 1..{CLASSES}, "
                f"but it is {line.strip()!r}; restore the official list."
            )
        label = int(fields[1]) - 1
        names[label] = fields[0].rpartition("_")[0]
        pairs.append((folder / "images" / f"{fields[0]}.jpg", label))
    present = {p.name for p in (folder / "images").iterdir()}
    absent = [p.name for p, _ in pairs if p.name not in present]
    if absent:
        raise InvalidInput(
            f"{folder / 'images'} must hold every image of {path}, but {len(absent)} are absent, first {absent[0]}; "
            "unpack images.tar.gz again."
        )
    return image_list(pairs)
