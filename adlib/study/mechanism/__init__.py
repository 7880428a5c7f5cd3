"""What happens inside a detector that rebuilds tokens.

Pro-AD's abstract claims that many prototypes rebuild anomalies too ("soft identity mapping"), and
that its constraint cures that. Whether it is so shows here, on test images.

```text
separation.py   normal and anomalous patches, and how far apart their distances are
reading.py      the decoder walked through: what each block reads of its prototypes
pasting.py      what of a foreign patch survives the decoder
measurement.py  measure: all on a data set, at once or along a training; the noise probe
```
"""

from adlib.study.mechanism.measurement import (
    Probes,
    held_out_distances,
    measure,
    noise_probe,
    token_distances,
    without_counts,
)
from adlib.study.mechanism.pasting import survival
from adlib.study.mechanism.reading import walk
from adlib.study.mechanism.separation import defect_shares, patch_classes, separation

__all__ = [
    "Probes", "defect_shares", "held_out_distances", "measure", "noise_probe", "patch_classes",
    "separation", "survival", "token_distances", "walk", "without_counts",
]  # fmt: skip
