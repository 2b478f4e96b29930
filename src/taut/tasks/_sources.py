"""Where a public set comes from: a folder of the user's (``--data``), else the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from taut.errors import UsageError, one_line
from taut.tasks._loading import LoadOptions
from taut.tasks._reading import READERS, Row, read_file


@dataclass(frozen=True, slots=True)
class Source:
    """A public set."""

    hub: str
    """``owner/name`` on the Hugging Face hub."""
    split: str = "test"
    """Taken unless another is asked for."""
    config: str | None = None
    files: tuple[str, ...] = ()
    """Where it may lie in a data folder besides the hub's own layouts; ``{split}`` stands for the split."""


def rows(source: Source, options: LoadOptions) -> list[Row]:
    """All rows of the split. Raises `UsageError` where they cannot be had."""
    if options.argument:
        raise UsageError(f"{source.hub} takes nothing after a colon, but {options.argument!r} was given")
    split = options.split or source.split
    if options.data is None:
        return list(_from_hub(source, split))
    paths = find_files(source, split, options.data)
    found = [row for path in paths for row in read_file(path)]
    return [Row(row.cells, row.place, index) for index, row in enumerate(found)]


def find_files(source: Source, split: str, data: Path) -> list[Path]:
    """The files of a split under ``data``, which may be the set's own folder, its parent, or a copy of the hub's.

    Raises `UsageError` where there are none.
    """
    if not data.is_dir():
        raise UsageError(f"the data folder {data} does not exist or is no folder")
    for candidate in _own_layout(source, split):
        for path in (data / candidate, data / PurePosixPath(candidate).name):
            if path.is_file():
                return [path]
    for folder in _hub_folders(source, data):
        for pattern in _hub_patterns(source, split):
            if paths := sorted(folder.glob(pattern)):
                return paths
    owner_and_name = data / source.hub / f"{split}.parquet"
    raise UsageError(f"{data} has no split {split!r} of {source.hub}: expected {owner_and_name}, for example")


def _own_layout(source: Source, split: str) -> Iterator[str]:
    for file in source.files:
        if "{split}" in file or split == source.split:
            yield file.format(split=split)


def _hub_folders(source: Source, data: Path) -> Iterator[Path]:
    owner, _, name = source.hub.partition("/")
    roots = [data / owner / name, data / name, data / f"{owner}__{name}", data / f"{owner}--{name}"]
    roots += sorted((data / f"datasets--{owner}--{name}" / "snapshots").glob("*"))
    for root in (*roots, data):
        for inner in (source.config, "data", None):
            folder = root / inner if inner else root
            if folder.is_dir():
                yield folder


def _hub_patterns(source: Source, split: str) -> Iterator[str]:
    for ending in READERS:
        yield f"{split}{ending}"
        yield f"{split}-*-of-*{ending}"
        yield f"{split}/*{ending}"
    if source.config and split == source.split:
        yield f"{source.config}.csv"


def _from_hub(source: Source, split: str) -> Iterator[Row]:
    try:
        import datasets
    except ImportError:
        raise UsageError(
            f"fetching {source.hub} needs the package datasets: pip install 'taut[hub]', or give a data folder"
        ) from None
    try:
        dataset = datasets.load_dataset(source.hub, source.config, split=split)
    except Exception as error:
        # A dozen classes of three packages, all of which mean that it is not to be had.
        raise UsageError(f"{source.hub} could not be fetched from the hub: {one_line(error)}") from error
    for index, cells in enumerate(dataset):
        yield Row(cells, f"{source.hub}, {split} row {index + 1}", index)
