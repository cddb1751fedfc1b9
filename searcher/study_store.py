"""The Optuna study in its SQLite file: created whole or not at all, opened with clear errors."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from bhvit.errors import InvalidInput
from bhvit.whole_files import write_with
from searcher.pruning import Hyperband, Median, NoPruning, Pruning

STUDY_NAME = "search"
PATIENCE = 30  # seconds to wait for another program that reads the file, such as optuna-dashboard


@contextlib.contextmanager
def open_study(database: Path, sampler: BaseSampler, pruning: Pruning) -> Iterator[optuna.Study]:
    """The study in `database`, made if there is none, maximising accuracy; to be used in a `with` block.

    Any failure of the database inside the block raises `InvalidInput`. Optuna prints nothing meanwhile.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if not database.exists():
                _create(database)
            study = _load(database, sampler, pruner_from(pruning))
            yield study
    except (StorageInternalError, SQLAlchemyError) as error:
        raise _unusable(database, error) from error
    finally:
        optuna.logging.set_verbosity(verbosity)


def pruner_from(rule: Pruning) -> BasePruner:
    """Optuna's pruner for a rule of the space file; steps are epochs of phase 2."""
    if isinstance(rule, NoPruning):
        return NopPruner()
    if isinstance(rule, Median):
        # Optuna spares steps below n_warmup_steps; our steps are epochs, which count from 1.
        return MedianPruner(n_startup_trials=rule.startup_trials, n_warmup_steps=rule.warmup_epochs + 1)
    if isinstance(rule, Hyperband):
        return HyperbandPruner(rule.min_epochs, rule.max_epochs, rule.reduction_factor)
    return SuccessiveHalvingPruner(min_resource=rule.min_epochs, reduction_factor=rule.reduction_factor)


def _create(database: Path) -> None:
    """Make the file under another name first: a process killed meanwhile leaves no half-made database."""

    def fill(path: Path) -> None:
        storage = _storage(path)
        optuna.create_study(study_name=STUDY_NAME, storage=storage, direction="maximize")
        storage.engine.dispose()

    write_with(database, fill)


def _storage(path: Path) -> RDBStorage:
    return RDBStorage(f"sqlite:///{path.resolve()}", engine_kwargs={"connect_args": {"timeout": PATIENCE}})


def _load(database: Path, sampler: BaseSampler, pruner: BasePruner) -> optuna.Study:
    try:
        return optuna.load_study(study_name=STUDY_NAME, storage=_storage(database), sampler=sampler, pruner=pruner)
    except (KeyError, RuntimeError) as error:  # a database without the study, or of another Optuna's schema
        raise _unusable(database, error) from error


def _unusable(database: Path, error: Exception) -> InvalidInput:
    cause = error.__cause__ or error
    reason = " ".join(str(getattr(cause, "orig", None) or cause).split())[:200] or type(cause).__name__
    return InvalidInput(
        f"{database} must be a usable study, but: {reason}; close other programs that write it, or restore it "
        "(the trials' records beside it are whole)."
    )
