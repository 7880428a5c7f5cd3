"""The last stage of a frozen CNN as a part that learns, for PRN's arm `train_deepest`."""

import copy

from torch import nn

from adlib.nn.encoder import Encoder


class DeepestStage(nn.Sequential):
    """A copy of the encoder's stages between its third and its fourth level, to be trained.

    Its BatchNorms keep the encoder's statistics; ours.

    Raises:
        ValueError: The encoder is a ViT, whose blocks need tokens that its levels do not have.
    """

    def __init__(self, encoder: Encoder) -> None:
        if encoder.grids[2] == encoder.grids[3]:
            raise ValueError(f"train_deepest needs a CNN whose last stage halves the grid, got "
                             f"{encoder.name!r} with grids {encoder.grids}")  # fmt: skip
        stages = [encoder.model.feature_info[i]["module"].split(".") for i in encoder.layers[2:]]
        third, fourth = (path[-1] for path in stages)  # such as blocks.4 and blocks.6
        around = encoder.model.get_submodule(".".join(stages[1][:-1]))
        parts = dict(around.named_children())
        names = list(parts)
        between = names[names.index(third) + 1 : names.index(fourth) + 1]
        super().__init__(*(copy.deepcopy(parts[name]) for name in between))
        self.requires_grad_(True)
        super().train(False)

    def train(self, mode: bool = True) -> "DeepestStage":
        """Stay in eval mode, which is the norms' alone here."""
        return self
