"""What an arm costs: parameters and floating-point operations, counted without running it.

No number is computed and no weight takes memory: torch follows shapes through the forward pass
(fake tensors), so the papers' sizes are counted on any machine in seconds.
"""

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adlib.methods import METHODS, PRN

FORMULAS = {  # of shapes, for what torch does not count itself: a matrix and its right sides
    torch.ops.aten.linalg_cholesky_ex: lambda a, *_, **__: a.numel() * a[-1] // 3,
    torch.ops.aten.cholesky_solve: lambda b, a, *_, **__: 2 * b.numel() * a[-1],
}


def flops(part: nn.Module, *shapes: tuple[int, ...]) -> int:
    """Count the FLOPs of one forward pass: 2 for a multiplication and an addition.

    Of matrix products and factorisations only: element-wise work (norms, GELU, elu, softmax),
    sorting and moving data are not counted.

    Args:
        part: On the meta device; it is left without numbers.
        shapes: Of its inputs.
    """
    # The meta device itself has no autocast; fused attention would not be counted.
    with FakeTensorMode(allow_non_fake_inputs=True), sdpa_kernel(SDPBackend.MATH):
        part.to_empty(device="cpu")
        inputs = [torch.empty(shape) for shape in shapes]
        with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
            part(*inputs)
    return counter.get_total_flops()


def cost(config: Any) -> dict[str, int]:
    """Count what the trained part of a method costs, at any size.

    Args:
        config: Of a method that trains, such as `ProADConfig.paper()`.
    Returns:
        {"parameters", "flops"}: trainable parameters, and FLOPs of bottleneck and decoder (and
        extractor) for one image, forward, in eval mode, as `flops` counts. The frozen encoder is in
        neither. PRN is counted with one prototype a scale; each further one takes 2 c h w FLOPs.
    Raises:
        ValueError: A method that trains nothing, or that is not known.
    """
    cls = next((cls for cls, of in METHODS.values() if isinstance(config, of)), None)
    if cls is None or not config.steps:
        raise ValueError(f"cost counts what is trained, got {config!r}")
    draws_no_weights = {"reset_parameters": lambda self, generator: None}
    shell = type(cls.__name__, (cls,), draws_no_weights)
    with torch.device("meta"):
        method = shell(replace(config, weights="random")).eval()
    if isinstance(method, PRN):
        for part, (c, h, w) in zip(method.prototypes, method.shapes, strict=False):
            part.p = torch.empty(1, h, w, c, device="meta")
        features = 1, 1, 1, sum(map(prod, method.shapes))
    else:
        (rows, columns), width = method.grid, method.encoder.widths[0]
        features = 1, 2, rows * columns, width
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    del method.encoder  # frozen, and no part of the forward pass from its features
    return {"parameters": trained, "flops": flops(method, features)}
