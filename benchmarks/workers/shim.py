"""Makes a checkout of fairseq importable beside today's Python, torch and omegaconf.

Its arithmetic stays as it is: only what is imported and not used in a step is replaced, and a few
small modules of timm where that is not installed.
"""

import dataclasses
import importlib
import importlib.util
import pathlib
import sys
import types

import hydra.core.config_store  # noqa: F401  before dataclasses change
import numpy as np
import torch
from torch import nn

COMPILED = ("data.data_utils_fast", "data.token_block_utils_fast", "libbleu", "libbase", "libnat")
FUNCTIONS = (
    "batch_by_size_fn",
    "batch_by_size_vec",
    "batch_fixed_shapes_fast",
    "_get_slice_indices_fast",
    "_get_block_to_dataset_index_fast",
)


def install(checkout: str) -> None:
    """`import fairseq` and `import examples.data2vec.models...` work from here on."""
    root = pathlib.Path(checkout)
    if not (root / "examples" / "data2vec" / "models" / "data2vec2.py").is_file():
        raise FileNotFoundError(f"{checkout} is no checkout of fairseq with data2vec 2.0 in it")
    sys.path.insert(0, str(root))
    for name, kind in (("float", float), ("int", int), ("bool", bool), ("object", object)):
        if name not in np.__dict__:
            setattr(np, name, kind)
    for name in COMPILED:
        _module(f"fairseq.{name}", **dict.fromkeys(FUNCTIONS))
    # Its __init__ reads data sets of pictures; the models need one enumeration only.
    data = _module("examples.data2vec.data")
    data.__path__ = [str(root / "examples" / "data2vec" / "data")]
    if importlib.util.find_spec("timm") is None:
        _timm()
    _hashable_defaults()
    # Here, and not by what imports it first: `examples` hides that a module is missing, and the
    # second attempt then fails of something else.
    importlib.import_module("fairseq")


def _module(name: str, **members: object) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    return module


def _hashable_defaults() -> None:
    """Python 3.11 refuses defaults without a hash; fairseq's are records that have none."""
    plain = dataclasses.dataclass

    def dataclass(cls=None, /, **options):
        def decorate(one):
            if one.__module__.startswith(("fairseq", "examples")) and not options.get("frozen"):
                return plain(one, **{**options, "unsafe_hash": True})
            return plain(one, **options)

        return decorate if cls is None else decorate(cls)

    dataclasses.dataclass = dataclass


class Patches(nn.Module):
    """Pixels to tokens: a convolution as wide as its stride."""

    def __init__(self, img_size=224, patch_size=16, in_chans=3, embed_dim=768, **_):
        super().__init__()
        pair = lambda x: x if isinstance(x, tuple) else (x, x)
        self.img_size, self.patch_size = pair(img_size), pair(patch_size)
        self.grid_size = tuple(a // b for a, b in zip(self.img_size, self.patch_size))
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.proj = nn.Conv2d(in_chans, embed_dim, self.patch_size, self.patch_size)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Mlp(nn.Module):
    def __init__(
        self, in_features, hidden_features=None, out_features=None, act_layer=nn.GELU, drop=0.0, **_
    ):
        super().__init__()
        hidden = hidden_features or in_features
        self.fc1, self.act = nn.Linear(in_features, hidden), act_layer()
        self.fc2, self.drop = nn.Linear(hidden, out_features or in_features), nn.Dropout(drop)

    def forward(self, x):
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class DropPath(nn.Module):
    def __init__(self, drop_prob=0.0, **_):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        if not (self.drop_prob and self.training):
            return x
        kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.drop_prob
        return x * kept / (1 - self.drop_prob)


def _timm() -> None:
    members = {
        "PatchEmbed": Patches,
        "Mlp": Mlp,
        "DropPath": DropPath,
        "Block": nn.Module,
        "Attention": nn.Module,
        "trunc_normal_": nn.init.trunc_normal_,
        "to_2tuple": lambda x: x if isinstance(x, tuple) else (x, x),
    }
    _module("timm").__path__ = []
    _module("timm.models").__path__ = []
    for name in ("timm.layers", "timm.models.layers", "timm.models.vision_transformer"):
        _module(name, **members)
