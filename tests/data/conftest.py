"""The configuration that reads pictures, and a folder of them."""

import pathlib
from collections.abc import Callable

import pytest
from pictures import jpeg

from d2v_jax.data.config import DataConfig


@pytest.fixture
def config() -> Callable[..., DataConfig]:
    def make(source: str | pathlib.Path, **changes) -> DataConfig:
        fields = dict(
            source=str(source), split="train", image_size=16, channels=3, crop_scale=(0.2, 1.0),
            crop_ratio=(3 / 4, 4 / 3), flip=0.5, threads=1, workers=0, max_bad_share=0.05,
        )  # fmt: skip
        return DataConfig(**(fields | changes))

    return make


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two classes of ten jpegs."""
    root = tmp_path / "photos"
    for number in range(20):
        path = root / ("cats" if number < 10 else "dogs") / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    return root


@pytest.fixture(scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    from toy_dataset import prepare

    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder)
    return folder


@pytest.fixture
def toy(_prepared: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The folder in which TFDS finds the prepared data sets toy, words and old."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(_prepared))
    return _prepared
