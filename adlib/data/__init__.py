"""Images to train and test on, by name or from a folder."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adlib.data.builtin import load_builtin
from adlib.data.folders import closest, load_folder
from adlib.data.sample import Data, Images, Reference, Sample
from adlib.data.solar import load_solar

__all__ = [
    "NAMES",
    "Data",
    "Images",
    "Reference",
    "Sample",
    "load_builtin",
    "load_data",
    "load_folder",
    "load_solar",
]

NAMES: dict[str, Callable[..., Data]] = {"builtin": load_builtin, "solar": load_solar}


def load_data(name_or_path: str | os.PathLike[str], **options: Any) -> Data:
    """The data set of a name ("builtin", "solar"), or the one in a folder.

    Args:
        name_or_path: A name, or the path to a folder as `load_folder` expects it. A name wins over
            a folder of that name; write "./solar" for the folder.
        options: Passed on to `load_builtin`, `load_solar` or `load_folder`.
    Raises:
        FileNotFoundError: A folder, or something in it, is not there.
        TypeError: An option is unknown; the message names those there are.
        ValueError: It is neither a known name nor a folder, or an option or image is wrong.
    """
    word = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and word in NAMES:
        load = NAMES[word]
        _check_options(f"the data set {word!r}", load, options)
        return load(**options)
    looks_like_a_path = not isinstance(name_or_path, str) or Path(word).name != word
    if looks_like_a_path or Path(word).expanduser().exists():
        _check_options(f"the folder {word}", load_folder, options)
        return load_folder(Path(word), **options)
    raise ValueError(
        f"no data set is called {word!r}{closest(word, NAMES)}; names: {', '.join(NAMES)}; the "
        "path to a folder of images works too, but there is no such folder either"
    )


def _check_options(what: str, load: Callable[..., Data], options: dict[str, Any]) -> None:
    known = inspect.signature(load).parameters
    for option in options:
        if option not in known or option == "path":
            accepted = ", ".join(name for name in known if name != "path")
            raise TypeError(f"{what} takes no option {option!r}; it takes: {accepted}")
