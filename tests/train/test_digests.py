"""What was read from a checkpoint is what was saved, or is refused by its name."""

import json
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2v_jax.cli import main
from d2v_jax.common.checks import UserError
from d2v_jax.train import checkpoint, digests, state
from d2v_jax.transfer import reading

RUN = [
    *("pretrain", "--config", "quickstart_image:smoke", "--config.mask.views=1"),
    *("--config.train.steps=6", "--config.train.checkpoint_every=2"),
    "--config.optimizer.warmup_steps=1",
]


def arrays():
    rng = np.random.default_rng(0)
    return {
        "float32": rng.normal(size=(7, 5, 3)).astype("f4"),
        "bfloat16": np.asarray(jnp.asarray(rng.normal(size=(300, 300)), jnp.bfloat16)),
        "int32": rng.integers(-(2**31), 2**31 - 1, 100_000).astype("i4"),
        "int8": rng.integers(-128, 127, (3, 1)).astype("i1"),
        "bool": rng.integers(0, 2, 9).astype(bool),
        "scalar": np.float32(3.5).reshape(()),
        "nothing": np.zeros((0, 4), "f4"),
    }


def test_the_same_on_a_device_and_without_and_however_it_is_split():
    tree = arrays()
    expected = digests.of(tree)
    assert digests.of(jax.tree.map(jnp.asarray, tree)) == expected
    mesh = jax.make_mesh((4, 2), ("a", "b"))
    x = np.arange(64 * 6, dtype="f4").reshape(8, 8, 6)
    for spec in (("a", "b"), ("b",), (None, ("a", "b")), (None, None, "b")):
        split = jax.device_put(x, jax.NamedSharding(mesh, jax.P(*spec)))
        assert digests.of({"x": split}) == digests.of({"x": x})


def test_no_two_are_computed_at_once(monkeypatch):
    """Hundreds of programs that wait for other processes at once starve each other."""
    under_way = []

    class Digest:
        def __init__(self, _):
            assert not under_way
            under_way.append(self)

        def __int__(self):
            under_way.remove(self)
            return 7

    monkeypatch.setattr(digests, "_of_jax", Digest)
    assert digests.of({"a": jnp.ones(2), "b": {"c": jnp.ones(3)}}) == {"a": 7, "b/c": 7}


@pytest.mark.parametrize("name", ["float32", "bfloat16", "int32", "int8"])
def test_a_bit_or_a_place_makes_another(name):
    whole = arrays()[name]
    expected = digests.of({"x": whole})["x"]
    rng = random.Random(0)
    for _ in range(200):
        spoilt = bytearray(whole.tobytes())
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
        other = np.frombuffer(bytes(spoilt), whole.dtype).reshape(whole.shape)
        assert digests.of({"x": other})["x"] != expected
    assert digests.of({"x": whole.reshape(-1)[::-1].reshape(whole.shape)})["x"] != expected


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    assert main.main([*RUN, "--workdir", str(run)]) == 0
    return run


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 4
    path.write_bytes(bytes(data))


def test_no_flipped_bit_is_taken(tmp_path, one_device):
    """In any file of a checkpoint: it changes nothing, or the array is named."""
    rng = np.random.default_rng(0)
    student, teacher, moments = (
        {"w": jnp.asarray(rng.normal(size=(50, 50)), jnp.float32)} for _ in range(3)
    )
    saved = state.TrainState(jnp.int32(2), student, teacher, (moments,))
    checkpoints = checkpoint.Checkpoints(tmp_path, ("student", "teacher"), keep=2)
    checkpoints.save(saved, {}, {})
    checkpoints.wait()
    said = set()
    files = [path for path in tmp_path.glob("checkpoints/2/*/**/*") if path.is_file()]
    for path in files:
        whole = path.read_bytes()
        for at in (len(whole) // 3, len(whole) // 2, len(whole) - 9):
            flip(path, at)
            try:
                read, _ = checkpoints.restore(2, saved)
                assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), read, saved))
            except UserError as error:
                said.add(str(error).partition("cannot be read: ")[2].partition(";")[0])
            path.write_bytes(whole)
    for name in ("student, in w", "teacher, in w", "train, in opt_state/0/w"):
        assert f"other numbers than were saved in {name}" in said
    checkpoints.close()


def test_what_differs_is_named_and_the_run_goes_on_from_before(trained, tmp_path, capsys):
    """By all who read it."""
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    shutil.rmtree(copy / "checkpoints" / "6")
    place = copy / "checkpoints" / "4" / digests.ITEM / "metadata"
    listed = json.loads(place.read_text())
    listed["student"]["trunk/block_00/mlp/fc1/kernel"] ^= 4
    place.write_text(json.dumps(listed))
    converts = ["convert", str(copy), str(tmp_path / "out"), "--to", "safetensors"]
    for words in (converts, [*RUN, "--workdir", str(copy)]):
        assert main.main(words) == 2
        err = capsys.readouterr().err
        assert "checkpoints/4 cannot be read" in err and "Traceback" not in err, err
        assert "numbers than were saved in student, in trunk/block_00/mlp/fc1/kernel" in err, err
    shutil.rmtree(copy / "checkpoints" / "4")
    capsys.readouterr()
    assert main.main([*RUN, "--workdir", str(copy)]) == 0


def test_a_spoilt_list_is_named_and_an_old_checkpoint_has_none(trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    place = copy / "checkpoints" / "6" / digests.ITEM / "metadata"
    listed = json.loads(place.read_text())
    name = next(iter(listed["student"]))
    for spoilt in ("{", "[]", "{}", json.dumps(listed | {"student": {name: 1}})):
        place.write_text(spoilt)
        with pytest.raises(UserError, match="cannot be read: (the digests of|other numbers)"):
            reading.read(copy)
    shutil.rmtree(place.parent)
    assert reading.read(copy).params.keys() == reading.read(trained).params.keys()
