"""The command `adlib info`: what device, weights and data are found here."""

import dataclasses
import os


@dataclasses.dataclass(kw_only=True)
class Info:
    """Say what device, weights and data are found here, and what is missing."""


def info(command: Info) -> None:
    """Print what is found here and what is missing."""
    import torch

    from adlib.data.readers import solar
    from adlib.data.readers.benchmarks import HOME, at_home
    from adlib.engine.features import cache_folder, cache_mib
    from adlib.engine.runs import commit, versions
    from adlib.nn.weights import PRESETS, packaged_path
    from adlib.system.hardware import choose_device, choose_dtype, describe

    device = choose_device()
    dtype = str(choose_dtype("auto", device)).removeprefix("torch.")
    print("versions   " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    print(f"commit     {commit() or 'not a git checkout'}")
    print(f"device     {describe(device)}, computes in {dtype}")
    if not torch.cuda.is_available():
        print("           no CUDA GPU found: training at the papers' size is not practical here")
    print(f"cache      {cache_folder()} ({cache_mib():,.0f} MiB; ADLIB_CACHE names another)")
    print("weights")
    for name, preset in PRESETS.items():
        if preset.packaged is None:
            state = "from the hub, on first use"
        elif packaged_path(preset.packaged):
            state = f"found in package {preset.packaged.package}"
        else:
            state = f"MISSING: {preset.packaged.install}"
        print(f"  {name:<19}{state}\n  {'':<19}{preset.note}")
    print("  timm:NAME          any other model of timm that gives features, from the hub")
    print("data")
    print("  builtin            made in memory")
    try:
        found = f"{len(solar.load_solar().train)} normal cells found in package {solar.PACKAGE}"
    except (ModuleNotFoundError, FileNotFoundError) as error:
        found = f"MISSING: {error}"
    print(f"  solar              {found}\n  {'':<19}CC BY-NC-SA 4.0, non-commercial use only")
    here, home = at_home(), os.environ.get(HOME)
    for name, place in here.items():
        print(f"  {name:<19}{place}")
    if not here:
        state = f"none in {home}" if home else f"not looked for: {HOME} is not set"
        print(f"  benchmarks         {state}; `adlib data list` names them")
    print("  FOLDER             MVTec AD layout, or good/ and bad/")
