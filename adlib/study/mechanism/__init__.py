"""What happens inside a detector that rebuilds tokens.

Pro-AD's abstract claims that many prototypes rebuild anomalies too ("soft identity mapping"), and
that its constraint cures that. Whether it is so shows here, on test images.
"""

from adlib.study.mechanism.measurement import distances_of, measure
from adlib.study.mechanism.separation import patch_classes, separation

__all__ = ["distances_of", "measure", "patch_classes", "separation"]
