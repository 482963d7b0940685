"""Examples with labels: which records, what their labels mean, and what is wrong with them."""

import gzip
import struct

import numpy as np
import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.common.letters import ENGLISH
from d2v_jax.data import loader
from d2v_jax.data.labelled import chosen
from d2v_jax.data.sources import Part, part_of
from d2v_jax.data.text.rows import EOS


def take(cfg, batch_size=4, count=3):
    with loader.open_batches(cfg, seed=0, batch_size=batch_size) as batches:
        return [next(batches) for _ in range(count)]


def write_idx(path, array):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wb") as file:
        file.write(header + array.tobytes())


@pytest.fixture
def idx(tmp_path):
    """Twelve pictures to learn from and five to test, of three classes."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 12), ("t10k", 5)):
        suffix = ".gz" if name == "train" else ""
        write_idx(
            tmp_path / f"{name}-images-idx3-ubyte{suffix}",
            rng.integers(0, 255, (count, 16, 16), np.uint8),
        )
        write_idx(
            tmp_path / f"{name}-labels-idx1-ubyte{suffix}", np.arange(count, dtype=np.uint8) % 3
        )
    return tmp_path


def test_parts_of_a_split():
    assert part_of("train") == Part("train")
    assert part_of("train[:70%]") == Part("train", 0, 0.7)
    assert part_of("train[70%:]") == Part("train", 0.7, 1)
    with pytest.raises(UserError, match="is an empty part"):
        part_of("train[70%:20%]")


def test_labels_travel_with_pictures(config, folder):
    cfg = config(folder, labels="class")
    names = sorted(["cats", "dogs"])
    for batch in take(cfg):
        assert batch["labels"].dtype == np.int32 and batch["labels"].shape == (4,)
        source = cfg.labelled_source()
        for row, index in enumerate(batch["example_id"]):
            name = source.read(int(index)).name
            assert names[batch["labels"][row]] == name.split("/")[0]


def test_parts_are_apart_and_classes_few(config, folder):
    whole = config(folder, labels="class")
    names = lambda split: {
        one.name for one in config(folder, labels="class", split=split).in_order()
    }
    assert not names("train[:60%]") & names("train[60%:]")
    assert names("train[:60%]") | names("train[60%:]") == {one.name for one in whole.in_order()}
    few = config(folder, labels="class", per_class=3).labelled_source()
    assert np.bincount(chosen.labels_of(few.source)).tolist() == [3, 3]


def test_a_model_of_other_classes(config, folder):
    """A class that is missing is no trouble, one that the model does not know is."""
    cfg = config(folder, labels="class", label_names=("birds", "cats", "dogs"))
    assert {int(one.label) for one in cfg.in_order()} == {1, 2}
    with pytest.raises(UserError, match="1 classes that the model does not know, such as 'dogs'"):
        config(folder, labels="class", label_names=("cats",)).labelled_source()


def test_pictures_without_classes(config, folder, tmp_path):
    (folder / "cats" / "00.jpg").rename(folder / "alone.jpg")
    with pytest.raises(UserError, match="has no labels; give"):
        config(folder, labels="class").labelled_source()


def test_idx_files(config, idx):
    train = config(idx, labels="class", channels=1)
    assert len(train.labelled_source()) == 12 and train.test_splits(str(idx)) == ("test",)
    tests = list(config(idx, labels="class", channels=1, split="test").in_order())
    assert [one.label for one in tests] == [0, 1, 2, 0, 1]
    assert tests[0].inputs.shape == (16, 16, 1)
    batch = take(train)[0]
    assert batch["inputs"].shape == (4, 16, 16, 1)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-9]), "promises 5x16x16 values and has 1271"),
        (lambda p: p.write_bytes(b"no idx at all"), "is no idx file of bytes with 3 sides"),
        (lambda p: p.unlink(), "has the split train"),
    ],
)
def test_idx_files_that_are_damaged(config, idx, damage, words):
    damage(idx / "t10k-images-idx3-ubyte")
    with pytest.raises(UserError, match=words):
        config(idx, labels="class", channels=1, split="test").labelled_source()


def test_a_table_of_pairs(text, tmp_path):
    table = tmp_path / "rte.tsv"
    table.write_text(
        "index\tsentence1\tsentence2\tlabel\n"
        "0\tIt rains.\tIt is wet.\tentailment\n"
        "1\ta row\twith one column less\n"
        '2\tHe said "no.\tHe said nothing at all that day.\tnot_entailment\n'
        "3\tA\t\tentailment\n"
    )
    cfg = text(
        table, labels="class", columns=("sentence1", "sentence2"), tokens=64, buckets=(32, 64)
    )
    source = cfg.labelled_source()
    assert source.class_names == ("entailment", "not_entailment") and len(source) == 2
    assert sorted(source.faults) == ["rte.tsv:3", "rte.tsv:5"]
    ids_t = source.read(0).data
    ends = np.flatnonzero(ids_t == EOS)
    assert len(ends) == 3 and ends[1] == ends[0] + 1 and ends[2] == len(ids_t) - 1
    sizes = {batch["inputs"].shape for batch in take(cfg, 2, 8)}
    assert sizes == {(2, 32), (1, 64)}  # no more than most_tokens=100 in a batch


def test_a_table_of_values_without_names(text, tmp_path):
    table = tmp_path / "sts.csv"
    table.write_text('"one, two",2.5\nthree,0\nfour,many\n')
    cfg = text(table, labels="value", columns=("0",), label_column="1", max_bad_share=0.9)
    assert [one.label for one in cfg.in_order()] == [2.5, 0.0]
    assert take(cfg, 2, 1)[0]["labels"].dtype == np.float32


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(columns=("text",)), "no column 'text'; it has a, b"),
        (dict(columns=("0",), label_column="7"), "its first row has 2 columns, and number 0, 7"),
    ],
)
def test_columns_that_are_not_there(text, tmp_path, fields, words):
    (tmp_path / "t.tsv").write_text("a\tb\nx\ty\n")
    with pytest.raises(UserError, match=words):
        text(tmp_path / "t.tsv", labels="class", **fields).labelled_source()


@pytest.fixture
def manifest(sounds, tmp_path):
    """The twelve sounds with transcripts; one has a sign that there is no letter for."""
    names = sorted(str(path.relative_to(sounds)) for path in sounds.rglob("*.wav"))
    path = tmp_path / "m.tsv"
    path.write_text("\n".join([str(sounds), *(f"{name}\t8000" for name in names)]) + "\n")
    lines = ["Hello, world."] * 11 + ["number 9"]
    path.with_suffix(".txt").write_text("\n".join(lines) + "\n")
    return path


def test_letters_of_speech(audio, manifest):
    cfg = audio(manifest, labels="letters", label_names=ENGLISH, buckets=(8_000, 12_000),
                max_bad_share=0.5)  # fmt: skip
    batch = take(cfg)[0]
    assert batch["inputs"].shape[1] == 8_000 and batch["length"].tolist() == [8_000] * len(
        batch["length"]
    )
    labels = batch["labels"][0]
    assert labels.shape == (40,)
    assert "".join(ENGLISH[i] for i in labels if i >= 0) == "HELLO|WORLD"
    assert [one.label for one in cfg.in_order()][:2] == ["Hello world", "Hello world"]


def test_padding_is_silence_and_says_so(audio, sounds):
    cfg = audio(sounds, labels="class", buckets=(12_000,))
    batch = take(cfg)[0]
    assert (batch["inputs"][:, 8_000:] == 0).all() and (batch["length"] == 8_000).all()
    assert set(batch["labels"].tolist()) <= {0, 1}


def test_recordings_longer_than_any_bucket(audio, sounds):
    with pytest.raises(UserError, match="none of the 12 recordings .* raise data.buckets"):
        audio(sounds, labels="class", buckets=(4_000,)).labelled_source()


def test_speech_without_transcripts(audio, sounds):
    cfg = audio(sounds, labels="letters", label_names=ENGLISH, buckets=(8_000,))
    with pytest.raises(UserError, match="has no transcript"):
        take(cfg)


def test_rare_classes_are_drawn_as_often(config, folder):
    for number in range(3, 10):
        (folder / "cats" / f"0{number}.jpg").unlink()
    plain = config(folder, labels="class").labelled_source()
    even = config(folder, labels="class", balance=True).labelled_source()
    counts = lambda source: np.bincount([source.read(i).label for i in range(len(source))])
    assert counts(plain).tolist() == [3, 10]
    assert len(even) == 52 and abs(counts(even) - 26).max() <= 1
    assert {even.read(i).name for i in range(52)} == {plain.read(i).name for i in range(13)}


def test_rare_tags_are_drawn_as_often():
    """Record 0 alone has tag 1; the others have tag 0."""
    source = type("Source", (), {"class_names": None, "fingerprint": "", "__len__": lambda s: 9})()
    even = chosen.balanced(source, [[0, 1]] + [[0]] * 8, 0)
    drawn = np.bincount(even.indices, minlength=9)
    assert 18 <= drawn[0] <= 23 and (drawn[1:] >= 1).all()


def test_folders_are_cut_as_the_recipe_cuts_for_tests(config, folder):
    """Features and evaluations of the same pictures are the same."""
    cfg = config(folder, labels="class", central_crop=0.5)
    tested = {one.name: one.inputs for one in cfg.in_order()}
    for name, image in cfg.inputs_of(folder, None, 60.0).examples:
        np.testing.assert_array_equal(image, tested[name])


def test_utterances_longer_than_any_bucket_are_tested_too(audio, manifest):
    """Only training needs buckets: a test must not lose what is hard to batch."""
    cfg = audio(manifest, labels="letters", label_names=ENGLISH, buckets=(4_000,))
    assert len(list(cfg.in_order())) == 12
