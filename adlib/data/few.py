"""A few normal images to train on, where a data set has many."""

import zlib
from dataclasses import replace

import numpy as np

from adlib.data.dataset import DataSplits


def keep_few(data: DataSplits, few: int, seed: int = 0) -> DataSplits:
    """Keep some of the normal images of each category; the test stays as it is.

    They are drawn by the seed one after another, so that the five of a draw of 5 are among the ten
    of a draw of 10. A category that has no more keeps all. What is drawn of a category does not
    depend on the others.

    Args:
        data: Its `train` images are all normal.
        few: Images of each category, at least 1.
        seed: Draws which.
    Raises:
        ValueError: `few` is below 1.
    """
    if few < 1:
        raise ValueError(f"few counts normal images of each category, from 1 on; got {few}")
    kept: list[int] = []
    for category in data.train.categories:
        mine = [i for i, r in enumerate(data.train.references) if r.category == category]
        rng = np.random.default_rng([seed, zlib.crc32(category.encode())])
        kept += rng.permutation(mine)[:few].tolist()
    return replace(data, train=data.train.select(sorted(kept)))
