"""What a recipe may ask of its data, and of the frontend that reads them."""

from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import require
from d2v_jax.data.config import DataConfig, batch_sizes


def check(fields: Mapping[str, Any]) -> None:
    """Raises `ConfigError` for impossible values among `fields` ("data.samples": 160000, ...)."""
    if "data.image_size" in fields:
        scale, ratio = fields["data.crop_scale"], fields["data.crop_ratio"]
        require(
            0 < scale[0] <= scale[1] <= 1,
            f"data.crop_scale={scale} must be two ascending shares of the area in (0, 1]",
        )
        require(
            0 < ratio[0] <= ratio[1],
            f"data.crop_ratio={ratio} must be two ascending positive ratios",
        )
        channels = fields["data.channels"]
        require(channels in (1, 3), f"data.channels={channels} must be 1 (grey) or 3 (RGB)")
        size, patch = fields["data.image_size"], fields["frontend.patch_size"]
        require(
            size % patch == 0,
            f"data.image_size={size} is not a multiple of frontend.patch_size={patch}",
        )
        for name in ("mean", "std"):
            values = fields[f"frontend.{name}"]
            require(
                fields["frontend.normalize"] != "dataset" or len(values) == channels,
                f"frontend.{name}={values} must have data.channels={channels} entries",
            )
        std = fields["frontend.std"]
        require(all(s > 0 for s in std), f"frontend.std={std} must be positive")
    weights = fields["data.weights"]
    require(all(w > 0 for w in weights), f"data.weights={weights} must be positive")
    if "data.buckets" in fields:
        buckets, total = fields["data.buckets"], fields["train.batch_size"] * fields["data.samples"]
        require(
            all(b > 0 for b in buckets) and list(buckets) == sorted(set(buckets)),
            f"data.buckets={buckets} must be positive numbers of samples, ascending",
        )
        require(
            not buckets or buckets[-1] <= total,
            f"data.buckets={buckets}: a batch of train.batch_size * data.samples = {total} samples "
            "is too small for one crop of the longest; raise train.batch_size or set data.buckets "
            "to () for crops of data.samples alone",
        )
    if "frontend.conv_layers" in fields:
        layers = fields["frontend.conv_layers"]
        require(
            len(layers) > 0 and all(number > 0 for layer in layers for number in layer),
            f"frontend.conv_layers={layers} must be positive (width, kernel, stride) triples",
        )
    if "frontend.vocab_size" in fields:
        vocabulary = fields["frontend.vocab_size"]
        for name in ("frontend.pad_id", "frontend.mask_id"):
            require(
                fields[name] < vocabulary,
                f"{name}={fields[name]} is outside frontend.vocab_size={vocabulary}",
            )
        tokens, most = fields["data.tokens"], fields["frontend.max_tokens"]
        require(tokens <= most, f"data.tokens={tokens} exceeds frontend.max_tokens={most}")


def check_batches(data: DataConfig, batch_size: int, micro_batches: int) -> None:
    """Raises `ConfigError` unless the batches of every length can be had in equal parts."""
    for shape, size in zip(data.example_shapes, batch_sizes(data, batch_size)):
        crops = f" of {shape[0]} samples" if len(data.example_shapes) > 1 else ""
        require(
            size % micro_batches == 0,
            f"train.batch_size={batch_size} makes batches of {size} examples{crops}, which "
            f"are not a multiple of train.micro_batches={micro_batches}",
        )
