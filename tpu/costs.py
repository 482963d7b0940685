"""What each recipe costs in device-hours, estimated from the FLOP count in its docstring.

    python tpu/costs.py [--mfu 0.3]

prints a Markdown table. Device-hours = FLOP of the whole schedule / (peak of one device x assumed
share of the peak that the model's own arithmetic reaches, MFU). Divide by the number of devices for
hours on the clock. Everything here is an estimate: no recipe has been run at full length.
"""

import argparse
import ast
import math
import pathlib
import re

FOLDER = pathlib.Path(__file__).parents[1] / "configs"

# Peak of dense bfloat16 matrix products of one chip or GPU, TFLOP/s. Cloud TPU documentation, "Peak
# compute per chip" of the pages TPU v4, v5e, v5p and v6e; NVIDIA A100 and H100 data sheets (SXM,
# "BFLOAT16 Tensor Core", without sparsity).
PEAKS = {"v4": 275, "v5e": 197, "v5p": 459, "v6e": 918, "A100": 312, "H100": 989}
MFU = 0.3


def schedule_flop(recipe: str) -> float | None:
    """FLOP of a recipe's whole schedule by its docstring; None where that has no FLOP count.

    "as NAME" in the cost line refers to another recipe. Raises ValueError for any other form.
    """
    text = ast.get_docstring(ast.parse((FOLDER / f"{recipe}.py").read_text())) or ""
    cost = " ".join(text.partition("Cost:")[2].partition("Expected:")[0].split())
    if other := re.search(r"\bas (\w+)\.", cost):
        return schedule_flop(other[1])
    if total := re.search(r"so ([0-9.]+e[0-9]+) FLOP for the whole schedule", cost):
        return float(total[1])
    if "FLOP" in cost or not cost:
        raise ValueError(
            f"configs/{recipe}.py: no 'so ... FLOP for the whole schedule' in its cost"
        )
    return None


def device_hours(flop: float, peak_tflops: float, mfu: float) -> float:
    """Hours of one device."""
    return flop / (peak_tflops * 1e12 * mfu) / 3600


def costs() -> dict[str, float]:
    """FLOP of every shipped recipe that states them."""
    names = sorted(path.stem for path in FOLDER.glob("*_*.py") if not path.stem.startswith("_"))
    found = {name: schedule_flop(name) for name in names}
    return {name: flop for name, flop in found.items() if flop is not None}


def rounded(hours: float) -> str:
    """Two significant digits: 376 -> "380"."""
    digits = 1 - math.floor(math.log10(hours))
    return f"{round(hours, digits):,.{max(digits, 0)}f}"


def table(mfu: float) -> str:
    """The Markdown table of device-hours."""
    lines = [
        "| recipe | FLOP | " + " | ".join(PEAKS) + " |",
        "|---|---" + "|--:" * len(PEAKS) + "|",
    ]
    for name, flop in costs().items():
        hours = " | ".join(rounded(device_hours(flop, peak, mfu)) for peak in PEAKS.values())
        lines.append(f"| `{name}` | {flop:.1e} | {hours} |".replace("e+", "e"))
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Device-hours per recipe, estimated.")
    parser.add_argument("--mfu", type=float, default=MFU, help="default %(default)s")
    given = parser.parse_args().mfu
    if not 0 < given <= 1:
        parser.error(f"--mfu {given}: a share of the peak, above 0 and at most 1")
    print(table(given))  # noqa: T201
