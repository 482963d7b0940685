"""fairseq's own models, from a user's checkout, at their published base configurations.

Only the batch is smaller, and Adam is torch's fused one, faster than fairseq's. A step is the
model, the losses as its criterion sums them, the way back, Adam, the teacher's move.
"""

import sys
from typing import Any

import shim
import torch
from learning import DEVICE, adam, count, device_name, prepare, rounded, update, wait
from omegaconf import DictConfig, OmegaConf
from protocol import Step, serve
from torch import nn

# Recipe -> the YAML below examples/data2vec/config.
PUBLISHED = {
    "v2_image_base": "v2/base_images_only_task.yaml",
    "v2_audio_base": "v2/base_audio_only_task.yaml",
    "v2_image_large": "v2/large_images_only_task.yaml",
    "v2_text_base": "v2/base_text_only_task.yaml",
    "v1_audio_base": "audio/pretraining/base_librispeech.yaml",
    "v1_text_base": "text/pretraining/base.yaml",
}


def build(spec: dict[str, Any]) -> tuple[Step, dict[str, Any]]:
    """spec: `recipe`, `checkout`, `dtype`, and the sizes of our own step."""
    if spec["recipe"] not in PUBLISHED:
        raise ValueError(f"has {', '.join(PUBLISHED)}, not {spec['recipe']}")
    shim.install(spec["checkout"])
    prepare()
    yaml = f"{spec['checkout']}/examples/data2vec/config/{PUBLISHED[spec['recipe']]}"
    published = OmegaConf.load(yaml)
    with torch.device(DEVICE):  # teachers are made with the model, and not a part of it
        model = (_version_2 if spec["recipe"].startswith("v2") else _version_1)(published, spec)
    model.to(DEVICE).train()
    model.set_num_updates(0)
    optimizer = adam(model.parameters())
    clip = published.optimization.get("clip_norm")
    views = published.model.get("clone_batch", 1)
    inputs = {name: x.to(DEVICE) for name, x in _inputs(spec, views).items()}
    done = 0
    facts = {
        "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
        "device": device_name(),
        "dtype": spec["dtype"],
        "student": count(model),
        "teacher": _owned(model),
        "examples": spec["examples"],
        "tokens": spec["tokens"],
        "views": views,
    }

    def one() -> torch.Tensor:
        nonlocal done
        with rounded(spec["dtype"]):
            result = model(**inputs)
        size = result["sample_size"]
        if "hidden" not in facts:  # a number may lie on the device
            facts["hidden"] = int(size) / spec["examples"] / views
        loss = sum(term.float().sum() for term in result["losses"].values()) / size
        loss = update(loss, optimizer, clip)
        done += 1
        model.set_num_updates(done)
        return loss

    return one, facts


class Words:
    """As much of a dictionary as the models ask for."""

    def __len__(self) -> int:
        return 50_265

    def bos(self) -> int:
        return 0

    def pad(self) -> int:
        return 1

    def eos(self) -> int:
        return 2

    def unk(self) -> int:
        return 3

    def index(self, word: str) -> int:
        return 50_264


class Task:
    """As much of a task as the models ask for."""

    source_dictionary = Words()
    cfg = OmegaConf.create({"data": "none"})


def _version_2(published: DictConfig, spec: dict[str, Any]) -> nn.Module:
    from examples.data2vec.models.data2vec2 import Data2VecMultiConfig, Data2VecMultiModel

    config = _resolved(Data2VecMultiConfig, published)
    return Data2VecMultiModel(config, [config.supported_modality], task=Task())


def _version_1(published: DictConfig, spec: dict[str, Any]) -> nn.Module:
    if "text" in spec["recipe"]:
        from examples.data2vec.models.data2vec_text import Data2VecTextConfig, Data2VecTextModel

        config = _resolved(Data2VecTextConfig, published)
        return Data2VecTextModel.build_model(config, Task())
    from examples.data2vec.models.data2vec_audio import Data2VecAudioConfig, Data2VecAudioModel

    config = _resolved(Data2VecAudioConfig, published)
    return Data2VecAudioModel.build_model(config)


def _resolved(kind: type, published: DictConfig) -> DictConfig:
    """The model's fields with its defaults, which refer to those of other sections."""
    fields = OmegaConf.merge(OmegaConf.structured(kind), _unnamed(published.model))
    sections = {name: published.get(name, {}) for name in ("task", "optimization", "common")}
    return OmegaConf.create({**sections, "model": fields}).model


def _unnamed(fields: DictConfig) -> dict[str, Any]:
    """Without the names by which its registry finds classes."""
    plain = OmegaConf.to_container(fields)
    strip = lambda node: (
        {key: strip(value) for key, value in node.items() if key != "_name"}
        if isinstance(node, dict)
        else node
    )
    return strip(plain)


def _owned(model: nn.Module) -> int:
    """Parameters that the teacher averages; the others it copies in every step."""
    ema = (model if hasattr(model, "ema") else model.encoder).ema
    named = ema.model.named_parameters()
    return sum(one.numel() for name, one in named if name not in ema.skip_keys)


def _inputs(spec: dict[str, Any], views: int) -> dict[str, Any]:
    """Masks come with the batch and hide as many as ours; only text of 2.0 draws its own."""
    size, shape = spec["examples"], spec["example_shape"]
    mask = torch.rand(size * views, spec["tokens"]).argsort(1) < round(spec["hidden"])
    made = {"precomputed_mask": mask.to(torch.uint8)}
    match spec["recipe"].split("_")[1]:
        case "image":
            return {"source": torch.randn(size, 3, *shape[:2]), **made}
        case "audio":
            waves = {"source": torch.randn(size, *shape)}
            return {**waves, **(made if spec["recipe"][:2] == "v2" else {"mask_indices": mask})}
    ids = torch.randint(4, 50_000, (size, *shape))
    if spec["recipe"].startswith("v2"):
        return {"source": ids}
    pad = torch.full_like(ids, 1)
    return {"src_tokens": ids.masked_fill(mask, 50_264), "target_tokens": ids.where(mask, pad)}


if __name__ == "__main__":
    serve(build, wait)
