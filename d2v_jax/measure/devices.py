"""What the makers of accelerators promise."""

import jax

# Dense bfloat16 matrix products of one device, TFLOP/s, by what its `device_kind` contains; the
# first that fits counts. NVIDIA data sheets without sparsity (SXM where there are several forms);
# Cloud TPU documentation, "peak compute per chip".
PEAKS = {
    "H200": 989,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "GH200": 989,
    "B200": 2250,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "A10G": 70,
    "RTX 4090": 165,
    "RTX 3090": 71,
    "TPU v4": 275,
    "TPU v5 lite": 197,
    "TPU v5e": 197,
    "TPU v5p": 459,
    "TPU v5": 459,
    "TPU v6": 918,
}
# float32 inputs on the same units, as a share of that: TensorFloat-32 has half the rate, TPUs
# round to bfloat16 unless told otherwise.
FLOAT32 = {"gpu": 0.5, "tpu": 1.0}


def peak_flops(device: jax.Device, dtype: str) -> float | None:
    """FLOP/s of matrix products by the data sheet; None for a device that is not in the table."""
    kind = device.device_kind
    for name, tflops in PEAKS.items():
        if name.lower() in kind.lower():
            share = 1.0 if dtype == "bfloat16" else FLOAT32.get(device.platform, 1.0)
            return tflops * 1e12 * share
    return None
