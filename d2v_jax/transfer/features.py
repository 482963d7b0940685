"""Features of a folder of images, as one npz file."""

import logging
import os
import pathlib

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.labelled import folder_images
from d2v_jax.train import run
from d2v_jax.transfer import encoder

log = logging.getLogger("d2v")


def write(
    workdir: pathlib.Path, folder: pathlib.Path, out: pathlib.Path, layer: str, teacher: bool
) -> str:
    """Writes `names` and `features` [n, d] float32 to `out`; returns a line saying so."""
    if out.suffix != ".npz":
        raise UserError(
            f"--out {out}: the file is written in NumPy's format; name it {out.stem}.npz"
        )
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.absolute().parent}; create it first")
    data = run.read_config(workdir).data
    one = encoder.load(workdir)
    if teacher:
        one = one.as_teacher()
    encoder.parse_layer(layer, one.config.trunk.depth)

    names: list[str] = []
    parts: list[np.ndarray] = []
    pending: list[np.ndarray] = []

    def flush() -> None:
        if pending:
            parts.append(one.features(np.stack(pending), layer))
            pending.clear()
            log.info("%d images", len(names))

    for name, image_yxc in folder_images(folder, data.image_size, data.channels):
        names.append(name)
        pending.append(image_yxc)
        if len(pending) == encoder.BATCH * 4:
            flush()
    flush()
    if not names:
        raise UserError(f"no image in {folder} could be read, so there is nothing to write")
    scratch = out.with_suffix(".tmp.npz")
    features = np.concatenate(parts)
    np.savez(scratch, names=np.array(names), features=features)
    os.replace(scratch, out)
    return f"{len(names)} images, {features.shape[1]} features each (layer {layer}) -> {out}"
