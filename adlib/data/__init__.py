"""Images to train and test on, by name, from a folder or from a manifest."""

import inspect
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from adlib.data.dataset import DataSplits, ImageDataset, ImageRef, Sample
from adlib.data.readers.benchmarks import load_benchmark, not_own
from adlib.data.readers.files import expanded
from adlib.data.readers.folders import load_folder
from adlib.data.readers.manifest import is_manifest, load_manifest
from adlib.data.readers.solar import load_solar
from adlib.data.rendered.builtin import load_builtin
from adlib.data.tools.catalogue import BENCHMARKS
from adlib.system.printable import closest

__all__ = [
    "NAMES",
    "DataSplits",
    "ImageDataset",
    "ImageRef",
    "Sample",
    "load_benchmark",
    "load_builtin",
    "load_data",
    "load_folder",
    "load_manifest",
    "load_solar",
]

NAMES: dict[str, Callable[..., DataSplits]] = {"builtin": load_builtin, "solar": load_solar} | {
    name: partial(load_benchmark, name) for name in BENCHMARKS
}


def load_data(name_or_path: str | os.PathLike[str], **options: Any) -> DataSplits:
    """The data set of a name, or the one in a folder, or the one that a manifest names.

    Args:
        name_or_path: A name: "builtin", "solar", or a benchmark's such as "mvtec-ad", which lies in
            the folder that the option `root` names, or else below the one that the environment
            variable ADLIB_BENCHMARKS names. Or the path to a folder as `load_folder` expects it, or
            to a table as `load_manifest` does. A name wins over a folder of that name; write
            "./solar" for the folder.
        options: Passed on to `load_builtin`, `load_solar`, `load_benchmark`, `load_folder` or
            `load_manifest`.
    Raises:
        FileNotFoundError: A folder, or something in it, is not there.
        TypeError: An option is unknown; the message names those there are.
        ValueError: It is neither a known name nor a folder, or an option or image is wrong.
    """
    word = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and word in NAMES:
        load = NAMES[word]
        if word in BENCHMARKS:  # whose reader checks its options
            return load(**options)
        return _load(f"the data set {word!r}", load, **options)
    path = expanded(word)
    if is_manifest(path):
        return _load(f"the manifest {word}", load_manifest, path, **options)
    if not isinstance(name_or_path, str) or Path(word).name != word or path.exists():
        try:
            return _load(f"the folder {word}", load_folder, path, **options)
        except (FileNotFoundError, ValueError) as error:
            instead = not_own(path) if path.is_dir() else ""
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"{error}{instead}") from error
    raise ValueError(
        f"no data set is called {word!r}{closest(word, NAMES)}; names: {', '.join(NAMES)}; the "
        "path to a folder of images, or to a table of them, works too, but there is none either"
    )


def _load(what: str, load: Callable[..., DataSplits], *path: Path, **options: Any) -> DataSplits:
    known = [name for name in inspect.signature(load).parameters if name != "path"]
    for option in options:
        if option not in known:
            raise TypeError(f"{what} takes no option {option!r}; it takes: {', '.join(known)}")
    return load(*path, **options)
