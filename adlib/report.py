"""Records to tables."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

TITLES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "aupro": "AUPRO",
}


def table(record: dict[str, Any]) -> "DataFrame":
    """Show a record as the field's tables do: a row a category and their mean, in per cent.

    A metric that no category has (there were no masks) gets no column.
    """
    from pandas import DataFrame

    rows = {**record["categories"], "mean": record["mean"]}
    frame = DataFrame.from_dict(rows, orient="index").rename(columns=TITLES)
    frame.index.name = "category"
    return frame.dropna(axis="columns", how="all").astype(float).mul(100).round(1)
