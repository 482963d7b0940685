"""A TFDS data set on disk, prepared without TensorFlow."""

import json
import pathlib
import shutil

import tensorflow_datasets as tfds
from pictures import jpeg


class Toy(tfds.core.GeneratorBasedBuilder):
    """Twelve labelled jpegs to learn from, six to validate on."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=["cat", "dog", "owl"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(12), "validation": self._generate_examples(6)}

    def _generate_examples(self, count: int):
        for number in range(count):
            yield number, {"image": jpeg(number), "label": number % 3}


class Words(Toy):
    """No images."""

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(2)}

    def _generate_examples(self, count: int):
        for number in range(count):
            yield number, {"text": "word"}


def prepare(folder: pathlib.Path) -> None:
    """Writes the data sets `toy`, `words`, and `old`, which claims TFDS's default file format."""
    for builder in (Toy, Words):
        builder(data_dir=str(folder), file_format="array_record").download_and_prepare()
    shutil.copytree(folder / "toy", folder / "old")
    info = folder / "old" / "1.0.0" / "dataset_info.json"
    fields = json.loads(info.read_text())
    info.write_text(json.dumps(fields | {"name": "old", "fileFormat": "tfrecord"}))
