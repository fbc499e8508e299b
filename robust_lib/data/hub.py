"""Splits from the Hugging Face hub: one pinned parquet file each, no loading scripts.

The file is fetched by `huggingface_hub` and its features are decoded by `datasets`. `datasets.load_dataset`
would do both, but it fetches every split of a configuration (214 MB of MNLI for a development set of 5), and
when the hub does not answer it takes the newest commit in its cache, whichever was asked for.
"""

import hashlib
import re
import time
from functools import cache, partial
from pathlib import Path

import pandas as pd

from robust_lib.data import sources
from robust_lib.data.canonical import canonical
from robust_lib.data.places import ELSEWHERE, HUB, Place, remedy
from robust_lib.data.tasks import DataError, dataset

_PAUSES = (0.5, 1.0, 2.0)  # seconds before asking again a hub that is too busy to answer
_BUSY = (429, 500, 502, 503, 504)


def frame(path: str) -> pd.DataFrame:
    """The whole split in canonical form."""
    where = place(path)
    raw, class_names = sources.read(_intact(fetched(path)))
    described = f"{where.file} of the hub's {where.repository}"
    return canonical(_without_blanks(raw, where), dataset(path), described, class_names)


def _intact(file: Path) -> Path:
    """The file, unless it is not what the hub announced. Large files are kept under their SHA-256, unchecked."""
    blob = file.resolve()
    stat = blob.stat()
    if (
        re.fullmatch("[0-9a-f]{64}", blob.name)
        and sources.sha256(blob, stat.st_mtime_ns, stat.st_size) != blob.name
    ):
        raise DataError(f"{blob}: damaged on its way from the hub (another SHA-256): delete it and try again")
    return file


def fingerprint(path: str) -> str:
    """SHA-256 of repository, commit and file. Needs no network for a pinned commit, which nearly all are."""
    where = place(path)
    return hashlib.sha256(repr((where.repository, commit(path), where.file)).encode()).hexdigest()


def place(path: str) -> Place:
    """The file of a split on the hub; DataError saying where else the split is to be had."""
    if path not in HUB:
        raise DataError(f"{path}: no hub repository is known for this split: {remedy(path)}")
    return HUB[path]


@cache
def commit(path: str) -> str:
    """The commit of a split's file: the pinned one, or the one a branch points to now."""
    revision = place(path).revision
    # The client's cache is a folder of snapshots, each named by its commit.
    return revision if re.fullmatch("[0-9a-f]{40}", revision) else _snapshot(fetched(path))


def _snapshot(file: Path) -> str:
    return file.parts[file.parts.index("snapshots") + 1]


def fetched(path: str) -> Path:
    """The split's file in the client's cache (HF_HOME), fetched if it is not there. DataError if it fails."""
    import huggingface_hub as client
    from huggingface_hub import constants, errors

    where = place(path)
    download = partial(
        client.hf_hub_download, where.repository, where.file, revision=where.revision, repo_type="dataset"
    )
    try:
        return Path(download(local_files_only=True))
    except errors.LocalEntryNotFoundError:
        if constants.HF_HUB_OFFLINE:
            raise _unavailable(path, "HF_HUB_OFFLINE is set and the file is not in the cache") from None
    _reach(path)
    try:
        return Path(download())
    except Exception as error:  # its kinds of network error come from a library that changes its name
        raise _unavailable(path, _reason(error)) from None


def _reach(path: str) -> None:
    """Ask for the repository first: the client retries a file for 23 seconds, whatever the matter is."""
    import huggingface_hub as client
    from huggingface_hub import constants

    where = place(path)
    for pause in (*_PAUSES, None):
        try:
            client.HfApi().dataset_info(
                where.repository, revision=where.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT
            )
            return
        except Exception as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if pause is None or status not in _BUSY:
                raise _unavailable(path, _reason(error)) from None
            time.sleep(pause)


def _reason(error: Exception) -> str:
    """One line of what the client reports."""
    from huggingface_hub import errors

    known = {
        errors.GatedRepoError: "the repository is gated: ask for access and `hf auth login`",
        errors.RepositoryNotFoundError: "the hub has no such repository, or it is private",
        errors.RevisionNotFoundError: "the repository has no such revision",
        errors.EntryNotFoundError: "the repository has no such file",
    }
    for kind, reason in known.items():
        if isinstance(error, kind):
            return reason
    said = str(error).strip().split("\n")[0][:200]
    return f"{type(error).__name__}: {said or 'no answer'}"


def _unavailable(path: str, reason: str) -> DataError:
    from huggingface_hub import constants

    where = place(path)
    otherwise = (
        "run `python -m robust_lib.data export DIR` where there is a network and give DIR as the source"
    )
    if path in ELSEWHERE:
        otherwise = remedy(path)
    return DataError(
        f"{path}: cannot get {where.file} of {where.repository} at {where.revision[:20]} from "
        f"{constants.ENDPOINT}: {reason}; try again, or {otherwise}"
    )


def _without_blanks(raw: pd.DataFrame, where: Place) -> pd.DataFrame:
    """`raw` without the blank rows it is known to have; any other number of them is left to be refused."""
    if not where.blank:
        return raw
    texts = [column for column in raw if pd.api.types.is_string_dtype(raw[column])]
    blank = raw[texts].apply(lambda column: column.str.strip() == "").any(axis=1)
    return raw[~blank] if blank.sum() == where.blank else raw
