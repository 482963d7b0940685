"""How much of an accelerator's peak a recipe's step can reach at best: an estimate, nothing is run.

    python benchmarks/roofline.py [--peak 989 --bandwidth 3.35 --matmul 0.75]

Time of a step = matrix products at a share of the peak that good ones reach + bytes that have to
travel between them, none of it at the same time. Bytes are counted as if everything between two
matrix products were one kernel, in bfloat16, softmax and norms reading and writing once:

  a block forwards, values per token of width d: qkv 6d, mixed heads 2d, out and residual and norm
  6d, MLP hidden layer 16d (written, read, written after gelu, read), out and residual and norm 6d;
  backwards twice that. Attention logits, where they are not kept on the chip: float32, written,
  read, weights written and read in bfloat16; backwards twice that.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from d2v_jax.data2vec import flops
from d2v_jax.data2vec.model import Model
from d2v_jax.encoder import masking
from d2v_jax.train.recipe import resolve as recipes

RECIPES = (
    "v1_audio_base",
    "v1_image_base",
    "v1_text_base",
    "v2_audio_base",
    "v2_image_base",
    "v2_text_base",
    "v2_image_large",
)
BLOCK, DECODER_LAYER = 36, 8  # values per token and width, forwards
LOGIT = 12  # bytes per pair of tokens and head, forwards
BF16 = 2


def traffic(config: recipes.Config, fused: bool) -> tuple[float, float]:
    """(bytes of one example, of them attention's logits); 0 logits where they are `fused`."""
    model = config.objective.cfg
    trunk, views = model.trunk, model.mask.views
    tokens = Model(model).token_count(config.data.example_shape)
    hidden = masking.hidden_most(model.mask, tokens)
    seen = (tokens - hidden if model.mask.hide == "remove" else tokens) + trunk.prefix_tokens
    blocks, rows = trunk.depth + trunk.prenet_depth, tokens + trunk.prefix_tokens
    values = BLOCK * trunk.width * blocks * (rows + 3 * views * seen)
    values += 3 * views * tokens * DECODER_LAYER * model.decoder.width * model.decoder.layers
    pairs = trunk.heads * blocks * (rows**2 + 3 * views * seen**2)
    logits = 0 if fused else LOGIT * pairs
    return BF16 * values + logits, logits


def share(config: recipes.Config, args: argparse.Namespace, fused: bool) -> float:
    """Of the peak, for large batches, in which the update is nothing."""
    products = flops.of_example(config.objective.cfg, config.data.example_shape).total
    moved, _ = traffic(config, fused)
    at_peak = products / (args.peak * 1e12)
    return at_peak / (at_peak / args.matmul + moved / (args.bandwidth * 1e12))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peak", type=float, default=989, help="TFLOP/s, bfloat16; H100 SXM")
    parser.add_argument("--bandwidth", type=float, default=3.35, help="TB/s; H100 SXM")
    parser.add_argument(
        "--matmul",
        type=float,
        default=0.75,
        help="share of the peak that large matrix products reach",
    )
    args = parser.parse_args()
    print(
        "| recipe | FLOP per byte | logits' share of the bytes | of the peak | logits kept on "
        "the chip |\n|---|--:|--:|--:|--:|"
    )
    for name in RECIPES:
        config = recipes.resolve(recipes.load(name))
        products = flops.of_example(config.objective.cfg, config.data.example_shape).total
        moved, logits = traffic(config, fused=False)
        print(
            f"| `{name}` | {products / moved:,.0f} | {logits / moved:.0%} | "
            f"{share(config, args, False):.0%} | {share(config, args, True):.0%} |"
        )


if __name__ == "__main__":
    main()
