"""Reading torch's files without torch: every number arrives, every damage is named."""

import argparse
import collections
import pathlib
import pickle
import sys
import tracemalloc
import types
import zipfile
from unittest import mock

import numpy as np
import pytest
import torch_files
from torch_files import STORAGES, Ops, View, legacy_file, name, text, zip_file

from d2v_jax.common.checks import UserError
from d2v_jax.interop.pickles.torch_pickle import read

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
BOTH = pytest.mark.parametrize("write", [zip_file, legacy_file], ids=["zip", "legacy"])


@BOTH
def test_values_arrive(tmp_path, write):
    value = {
        "scalars": [None, True, False, -3, 2**70, 0.5, "ü\n", (1, (2,))],
        "args": argparse.Namespace(lr=0.1, sizes=[1, 2], inner={"a": None}),
        "nested": {"w": np.arange(6, dtype=np.float32).reshape(2, 3)},
        3: {(1, "a"): "key"},
    }
    got = read(write(tmp_path / "f.pt", value))
    assert got["scalars"] == value["scalars"]
    assert got["args"] == vars(value["args"])
    np.testing.assert_array_equal(got["nested"]["w"], value["nested"]["w"])
    assert got[3] == {(1, "a"): "key"}


@BOTH
@pytest.mark.parametrize("dtype", STORAGES, ids=str)
def test_dtypes(tmp_path, write, dtype):
    array = np.array([[0, 1, 1], [1, 0, 3]]).astype(dtype)
    got = read(write(tmp_path / "f.pt", {"x": array}))["x"]
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, array)


@BOTH
def test_views_share_their_storage(tmp_path, write):
    base = np.arange(24, dtype=np.float32)
    views = {
        "whole": View(base, 0, (4, 6), (6, 1)),
        "transposed": View(base, 0, (6, 4), (1, 6)),
        "slice": View(base, 7, (2, 3), (12, 2)),
        "repeated": View(base, 1, (5, 3), (0, 1)),
        "scalar": View(base, 5, (), ()),
        "empty": View(base, 24, (0, 4), (4, 1)),
    }
    got = read(write(tmp_path / "f.pt", views))
    grid = base.reshape(4, 6)
    expected = [grid, grid.T, grid[[1, 3], 1::2], np.tile(base[1:4], (5, 1)), base[5], base[:0]]
    expected[-1] = expected[-1].reshape(0, 4)
    for key, value in zip(views, expected, strict=True):
        np.testing.assert_array_equal(got[key], value)
        assert not got[key].flags.writeable or not got[key].size
    assert np.shares_memory(got["whole"], got["slice"])


def test_reading_copies_nothing(tmp_path):
    path = zip_file(tmp_path / "f.pt", {"x": np.ones(4_000_000, np.float32)})
    tracemalloc.start()
    got = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got["x"].sum() == 4_000_000
    assert peak < 1_000_000


def test_numpy_scalars_and_sizes(tmp_path):
    dtype = name("numpy", "dtype") + torch_files.Writer().ops(("f8", False, True)) + b"R"
    dtype += torch_files.Writer().ops((3, "<", None, None, None, -1, -1, 0)) + b"b"
    data = name("_codecs", "encode") + torch_files.Writer().ops(
        (np.float64(2.5).tobytes().decode("latin1"), "latin1")
    )
    scalar = name("numpy.core.multiarray", "scalar") + b"(" + dtype + data + b"RtR"
    size = name("torch", "Size") + torch_files.Writer().ops(((2, 3),)) + b"R"
    assert read(zip_file(tmp_path / "f.pt", {"best": Ops(scalar), "size": Ops(size)})) == {
        "best": 2.5,
        "size": (2, 3),
    }


@pytest.mark.parametrize(
    "case", ["v1_audio", "v1_text", "v1_vision", "v2_audio", "v2_image", "v2_text"]
)
def test_checkpoints_of_the_originals(case):
    checkpoint = read(GOLDEN / case / "checkpoint.pt")
    arrays = {k: v for k, v in checkpoint["model"].items() if isinstance(v, np.ndarray)}
    gradients = np.load(GOLDEN / case / "arrays.npz")
    names = [n.removeprefix("grad/") for n in gradients.files if n.startswith("grad/")]
    assert names and set(names) <= set(arrays)
    for key in names:
        assert arrays[key].shape == gradients[f"grad/{key}"].shape
        assert np.isfinite(arrays[key]).all() and np.abs(arrays[key]).max() < 100


def test_namespace_is_data():
    checkpoint = read(GOLDEN / "v1_vision" / "checkpoint.pt")
    assert checkpoint["args"]["target_layers"] == "[1, 2]"
    assert isinstance(checkpoint["args"], dict)


# --- damage ----------------------------------------------------------------------------------

X = np.arange(6, dtype=np.float32)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "empty; fetch it again"),
        (b"hello", "not a file of torch.save"),
        (b"  <!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x10\0\0\0\0\0\0\0{}              ", "safetensors"),
        (b"\x80\x02}.", "plain pickle"),
        (b"\x80\x02", "damaged"),
        (b"PK\x03\x04 and then nothing", "damaged"),
    ],
)
def test_not_a_checkpoint(tmp_path, content, words):
    path = tmp_path / "f.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read(path)
    assert str(path) in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        read(tmp_path / "f.pt")
    with pytest.raises(UserError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / ("long" * 100))


@pytest.mark.parametrize(
    "view, words",
    [
        (View(X, 0, (7,), (1,)), "reaches number 7 .* which has 6"),
        (View(X, 4, (3,), (1,)), "reaches number 7"),
        (View(X, 0, (2, 2), (5, 1)), "reaches number 7"),
        (View(X, -1, (2,), (1,)), "not natural numbers"),
        (View(X, 0, (2,), (-1,)), "not natural numbers"),
        (View(X, 0, (True,), (1,)), "not natural numbers"),
        (View(X, 0, (2, 2), (1,)), "do not fit"),
        (View(X, 0, (1,) * 33, (1,) * 33), "do not fit"),
        (View(X, 0, (10**12,), (0,)), "repeats the 6 numbers"),
        (View(X, 0, (2**62, 2**62), (1, 1)), "reaches number"),
        (View(X, 0, [6], (1,)), "something else"),
        (View(X, 0, (7,), (1,), claimed=7), "holds 24 bytes|needs 4 bytes more"),
        (View(X, 0, (6,), (1,), claimed=10**15), "holds 24 bytes|bytes more than"),
        (View(X, 0, (6,), (1,), claimed="6"), "unknown shape"),
        (View(X, 0, (6,), (1,), claimed=-1), "unknown shape"),
    ],
)
@BOTH
def test_tensors_beyond_their_storage(tmp_path, write, view, words):
    with pytest.raises(UserError, match=words):
        read(write(tmp_path / "f.pt", {"x": view}))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"without": ("x/data/0",)}, "lacks storage 0"),
        ({"without": ("x/data.pkl",)}, "0 data.pkl instead of one"),
        ({"replace": {"y/data.pkl": b"N."}}, "2 data.pkl instead of one"),
        ({"replace": {"x/data/0": b"short"}}, "holds 5 bytes"),
        ({"replace": {"x/byteorder": b"big"}}, "big-endian"),
        ({"replace": {"x/constants.pkl": b"N."}}, "TorchScript"),
        ({"compression": zipfile.ZIP_DEFLATED}, "compressed"),
    ],
)
def test_damaged_archives(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        read(zip_file(tmp_path / "f.pt", {"x": X}, **options))


def test_archives_that_lie(tmp_path):
    with zipfile.ZipFile(tmp_path / "twice.pt", "w") as archive:
        archive.writestr("x/data.pkl", b"N.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x/data.pkl", b"N.")
    with pytest.raises(UserError, match="holds a name twice"):
        read(tmp_path / "twice.pt")

    names = {"../../etc/x": b"a", "/etc/y": b"b", "x/data/../../z": b"c"}
    assert read(zip_file(tmp_path / "names.pt", {"x": 1}, replace=names)) == {"x": 1}

    path = zip_file(tmp_path / "size.pt", {"x": X})
    content = path.read_bytes()
    entry = content.rindex(b"x/data/0") - 46  # its record in the central directory
    assert content[entry : entry + 4] == b"PK\x01\x02"
    huge = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(content[: entry + 20] + huge + huge + content[entry + 28 :])
    with pytest.raises(UserError, match="claims 4294967280 bytes"):
        read(path)

    start = content.index(X.tobytes())
    path.write_bytes(content[: start + 3] + b"\x55" + content[start + 4 :])
    with pytest.raises(UserError, match="x/data/0 fails its checksum"):
        read(path)


def test_npz_is_not_a_checkpoint(tmp_path):
    np.savez(tmp_path / "f.npz", x=X)
    with pytest.raises(UserError, match=r"0 data\.pkl"):
        read(tmp_path / "f.npz")


def test_top_must_be_a_dict(tmp_path):
    with pytest.raises(UserError, match="holds a ndarray, not a dict"):
        read(zip_file(tmp_path / "f.pt", X))


def test_legacy_of_a_big_endian_machine(tmp_path):
    with pytest.raises(UserError, match="big-endian"):
        read(legacy_file(tmp_path / "f.pt", {"x": X}, facts={"little_endian": False}))


def test_nesting_does_not_exhaust_the_interpreter(tmp_path):
    deep = b"]" * 200_000 + b"a" * 199_999
    got = read(zip_file(tmp_path / "lists.pt", {"x": Ops(deep)}))
    assert isinstance(got["x"], list)
    key = b")" + b"\x85" * 200_000  # a tuple in a tuple ...; hashing it would end the process
    with pytest.raises(UserError, match="a tuple serves as a key"):
        read(zip_file(tmp_path / "key.pt", {Ops(key): 1}))
    itself = b"]q\x00h\x00a"
    got = read(zip_file(tmp_path / "self.pt", {"x": Ops(itself)}))
    assert got["x"][0] is got["x"]


@BOTH
def test_every_truncation_is_named(tmp_path, write):
    value = {"a": X, "b": [1, "two", (3.0,)], "c": argparse.Namespace(d=X[:2].copy())}
    whole = write(tmp_path / "f.pt", value).read_bytes()
    path = tmp_path / "cut.pt"
    for size in range(1, len(whole), 3):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut\.pt"):
            read(path)


@BOTH
def test_flipped_bytes_never_end_in_a_traceback(tmp_path, write):
    value = {"a": X, "b": [1, "two", (3.0,)], "c": argparse.Namespace(d=X[:2].copy())}
    whole = write(tmp_path / "f.pt", value).read_bytes()
    path, rng = tmp_path / "flipped.pt", np.random.default_rng(0)
    for _ in range(600):
        content = np.frombuffer(whole, np.uint8).copy()
        content[rng.integers(len(content), size=rng.integers(1, 4))] = rng.integers(256)
        path.write_bytes(content.tobytes())
        try:
            read(path)
        except UserError as error:
            assert str(path) in str(error)


def test_random_opcodes_never_end_in_a_traceback(tmp_path):
    rng = np.random.default_rng(1)
    codes = b"".join(
        [b"()]}tdlaeus0Nq\x00h\x00K\x01\x85\x86\x87\x88\x8f\x90\x91\x94RQbo\x81\x82\x01"]
    )
    for _ in range(1500):
        body = bytes(rng.choice(np.frombuffer(codes, np.uint8), size=rng.integers(1, 25)))
        try:
            read(zip_file(tmp_path / "f.pt", pickled=b"\x80\x02" + body + b"."))
        except UserError:
            pass


def pickled(value):
    """The opcodes of a real pickle, without its header and end."""
    return Ops(pickle.dumps(value, 2)[2:-1])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.array([True, False]),
        np.zeros((0, 3), np.int32),
        np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        np.array(2.5),
    ],
    ids=["matrix", "flags", "empty", "fortran", "scalar"],
)
def test_numpy_arrays(tmp_path, array):
    got = read(zip_file(tmp_path / "f.pt", {"x": pickled(array)}))["x"]
    assert got.dtype == array.dtype and got.shape == array.shape
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize(
    "array", [np.array([print]), np.array(["a"]), np.zeros(1, "f4,i4"), np.array(["2020"], "M8[D]")]
)
def test_arrays_of_objects_are_refused(tmp_path, array):
    with pytest.raises(UserError, match="numpy scalar|asks for builtins"):
        read(zip_file(tmp_path / "f.pt", {"x": pickled(array)}))


@pytest.mark.parametrize(
    "state, words",
    [
        ((1, (2,), "f4", False, "12345678"), "unknown kind"),
        ((1, (-2,), None, False, ""), "unknown kind"),
        ("state", "its five parts"),
    ],
)
def test_arrays_with_a_wrong_state(tmp_path, state, words):
    head = pickle.dumps(np.zeros(2, np.float32), 2)[2:-1]
    with pytest.raises(UserError, match=words):
        read(zip_file(tmp_path / "f.pt", {"x": Ops(head + torch_files.Writer().ops(state) + b"b")}))


@pytest.mark.parametrize("arguments", [(Ops(name("torch", "float16")), (0,), ""), (1, (0,), "")])
def test_arrays_of_another_class(tmp_path, arguments):
    code = name("numpy.core.multiarray", "_reconstruct") + torch_files.Writer().ops(arguments)
    with pytest.raises(UserError, match="built in an unknown way"):
        read(zip_file(tmp_path / "f.pt", {"x": Ops(code + b"R")}))


def test_an_array_that_claims_more_than_it_has(tmp_path):
    code = pickle.dumps(np.zeros(3, np.float32), 2)[2:-1]
    assert code.count(b"K\x03\x85") == 1
    with pytest.raises(UserError, match=r"shape \(200,\) has 12 bytes"):
        read(zip_file(tmp_path / "f.pt", {"x": Ops(code.replace(b"K\x03\x85", b"K\xc8\x85"))}))


def test_what_tasks_and_other_trainers_leave(tmp_path):
    Dictionary = type("Dictionary", (), {"__module__": "fairseq.data.dictionary"})
    letters = Dictionary()
    letters.symbols, letters.indices = ["<s>", "|", "E"], {"E": 2}
    fairseq = types.ModuleType("fairseq.data.dictionary")
    fairseq.Dictionary = Dictionary
    modules = {"fairseq": types.ModuleType("fairseq"), "fairseq.data.dictionary": fairseq}
    modules["fairseq.data"] = types.ModuleType("fairseq.data")
    with mock.patch.dict(sys.modules, modules):
        task = {"target_dictionary": pickled(letters)}
    value = {
        "task_state": task,
        "names": pickled({"a", "b"}),
        "state": pickled(collections.defaultdict(dict, {1: {"step": 2}})),
        "device": Ops(name("torch", "device") + text("cuda") + b"K\x01\x86R"),
        "dtype": Ops(name("torch", "float16")),
    }
    got = read(zip_file(tmp_path / "f.pt", value))
    assert got["task_state"]["target_dictionary"] == vars(letters)
    assert got["names"] == {"a", "b"} and got["state"] == {1: {"step": 2}}
    assert got["device"] == "cuda:1" and str(got["dtype"]) == "torch.float16"
    assert not callable(got["dtype"])
