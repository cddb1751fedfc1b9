"""Learning curves of studies as one CSV: python docs/results/collect.py STUDY... > curves.csv (torch-free)."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from searcher.study_folder import StudyFolder

FIELDS = ("phase", "epoch", "train_loss", "val_loss", "accuracy", "seconds")


def main(folders: list[str]) -> None:
    """Write one row for every epoch of every trained trial."""
    out = csv.writer(sys.stdout)
    out.writerow(("study", "trial", "candidate", "outcome", *FIELDS))
    for folder in sorted(folders):
        for record in StudyFolder(Path(folder)).records():
            for epoch in record.metrics.epochs if record.metrics else ():
                values = [getattr(epoch, name) for name in FIELDS]
                rounded = [round(v, 4) if isinstance(v, float) else v for v in values]
                out.writerow((Path(folder).name, record.number, record.candidate.id, record.outcome.value, *rounded))


if __name__ == "__main__":
    main(sys.argv[1:])
