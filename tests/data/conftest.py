"""Configurations that read each modality, and folders of files."""

import pathlib
from collections.abc import Callable

import pytest
from pictures import jpeg
from sounds import tone, wav

from d2v_jax.data.audio.data import AudioData
from d2v_jax.data.image.data import ImageData
from d2v_jax.data.text.data import TextData


@pytest.fixture
def config() -> Callable[..., ImageData]:
    def make(source: str | pathlib.Path, **changes) -> ImageData:
        fields = dict(
            source=str(source),
            split="train",
            labels="none",
            label_names=(),
            per_class=0,
            balance=False,
            weights=(),
            temperature=1.0,
            image_size=16,
            channels=3,
            crop_scale=(0.2, 1.0),
            crop_ratio=(3 / 4, 4 / 3),
            flip=0.5,
            jitter=0.0,
            resize="exact",
            operations=0,
            strength=9.0,
            central_crop=0.875,
            most_pixels=180_000_000,
            threads=1,
            workers=0,
            max_bad_share=0.05,
        )
        return ImageData(**(fields | changes))

    return make


@pytest.fixture
def audio() -> Callable[..., AudioData]:
    def make(source: str | pathlib.Path, **changes) -> AudioData:
        fields = dict(
            source=str(source),
            split="train",
            labels="none",
            label_names=(),
            per_class=0,
            balance=False,
            weights=(),
            temperature=1.0,
            samples=4_000,
            min_samples=2_000,
            buckets=(),
            units=(),
            unit_rate=50.0,
            unit_classes=(),
            unit_special=0,
            most_letters=40,
            spelling="spoken",
            threads=1,
            workers=0,
            max_bad_share=0.05,
        )
        return AudioData(**(fields | changes))

    return make


@pytest.fixture
def text() -> Callable[..., TextData]:
    def make(source: str | pathlib.Path, **changes) -> TextData:
        fields = dict(
            source=str(source),
            split="train",
            labels="none",
            label_names=(),
            per_class=0,
            balance=False,
            weights=(),
            temperature=1.0,
            column="text",
            tokenizer="bytes",
            tokens=16,
            words=False,
            blocks="contiguous",
            columns=("text",),
            label_column="label",
            buckets=(),
            most_tokens=100,
            threads=1,
            workers=0,
            max_bad_share=0.05,
        )
        return TextData(**(fields | changes))

    return make


@pytest.fixture
def sounds(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two speakers of six wav files at 16 kHz, half a second each."""
    root = tmp_path / "sounds"
    for number in range(12):
        path = root / ("ann" if number < 6 else "bob") / f"{number:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav(tone(8_000, 200 + 20 * number)))
    return root


@pytest.fixture
def texts(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two files, three documents."""
    root = tmp_path / "texts"
    (root / "b").mkdir(parents=True)
    (root / "a.txt").write_text(
        "One fine day.\nIt rained.\n\n\nAnother document, whose second line follows.\nHere.\n"
    )
    (root / "b" / "c.txt").write_text("Grüße, wörld\r\n", newline="")
    return root


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
