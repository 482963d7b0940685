"""Machines, folders and environments as people have them, met at the command line."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import d2v_jax as d2v
from d2v_jax.cli import main
from d2v_jax.common import lock

SMOKE = [
    "--config",
    "quickstart_image:smoke",
    "--config.train.steps=8",
    "--config.train.checkpoint_every=4",
    "--config.optimizer.warmup_steps=2",
]
MACHINE = 74
ENV = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": os.environ["D2V_TESTS_CACHE"],
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
D2V = [sys.executable, "-m", "d2v_jax.cli"]


def shell(script, where, **env):
    """A line of a shell, in which "d2v" is ours -> (exit code, what it said on both streams)."""
    line = f'd2v() {{ {" ".join(D2V)} "$@"; }}\n{script}'
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=where,
        env=ENV | {"PYTHONPATH": str(pathlib.Path(__file__).parents[1])} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=300,
    )
    return done.returncode, done.stdout


def losses(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [(r["step"], r["loss"], r["grad_norm"]) for r in map(json.loads, lines)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, made by a process of its own."""
    where = tmp_path_factory.mktemp("whole")
    code, said = shell(f"d2v pretrain {' '.join(SMOKE)} --workdir run", where)
    assert code == 0, said
    return where / "run"


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


# What people export. Of the draws all must be the same, with all at once and with each alone.
DRAWS = {
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_RANDOM_SEED_OFFSET": "7",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
}
OTHERS = {
    "JAX_ENABLE_CUSTOM_PRNG": "1",
    "JAX_DEBUG_NANS": "1",
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",  # on a CPU it is that anyway
    "PYTHONHASHSEED": "5",
    "LC_ALL": "C",
    "PYTHONIOENCODING": "ascii",
    "PYTHONUTF8": "0",
    "TZ": "Pacific/Kiritimati",
    "OMP_NUM_THREADS": "1",
}
ALONE = [{name: value} for name, value in (DRAWS | OTHERS).items()]


@pytest.mark.parametrize(
    "env",
    [DRAWS, *(pytest.param(one, marks=pytest.mark.slow) for one in ALONE)],
    ids=lambda env: next(iter(env)) if len(env) == 1 else "all",
)
def test_draws_do_not_follow_the_environment(whole, tmp_path, env):
    code, said = shell(f"d2v pretrain {' '.join(SMOKE)} --workdir run", tmp_path, **env)
    assert code == 0, said
    assert losses(tmp_path / "run") == losses(whole)


def test_features_do_not_follow_the_environment(run):
    """By the door for Python, with settings made in Python."""
    pictures = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 1), dtype=np.uint8)

    def both():
        encoder = d2v.load(run)
        return encoder.features(pictures), encoder.untrained(3).features(pictures, layer="all")

    before = both()
    with (
        jax.enable_x64(True),
        jax.default_prng_impl("rbg"),
        jax.threefry_partitionable(False),
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
    ):
        found = both()
        assert jax.config.jax_default_prng_impl == "rbg"  # the caller's stay
    for one, other in zip(before, found, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_settings_that_change_numbers_are_written_down_and_named(run):
    shutil.rmtree(run / "checkpoints" / "8")
    env = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    code, said = shell("d2v pretrain --workdir run", run.parent, **env)
    assert code == 0, said
    assert "jax_default_matmul_precision was not set and is highest" in said
    assert "XLA_FLAGS" not in said


# A script of a shell; the exit code; what must be said, and what must not.
TROUBLES = {
    "stdout closed": ("d2v inspect run >&-", 0, "", "Error"),
    "stdout closed, training": ("d2v pretrain --workdir run >&-", 0, "complete", "Error"),
    "all closed": ("d2v inspect run <&- >&- 2>&-", 0, "", ""),
    "stdout full": ("d2v inspect run > /dev/full", MACHINE, "No space left on device", "Error"),
    "stderr full": ("d2v inspect run 2> /dev/full", 0, "trunk", "Error"),
    "a broken pipe": ("(d2v inspect run; echo $? >&2) | true", 0, "141", "Error"),
    "no such device": (
        "JAX_PLATFORMS=cuda d2v pretrain --config quickstart_image:smoke --workdir new",
        2,
        "JAX_PLATFORMS=cuda: there is no such device",
        "Assertion",
    ),
    "unknown device": (
        "JAX_PLATFORMS=abacus d2v pretrain --config quickstart_image:smoke --workdir new",
        2,
        "JAX_PLATFORMS=abacus: there is no such device",
        "RuntimeError",
    ),
    "a file for a folder": (
        "touch f; d2v pretrain --config quickstart_image:smoke --workdir f/run",
        MACHINE,
        "f/run: Not a directory",
        "NotADirectoryError",
    ),
    "a name that is too long": (
        "d2v pretrain --config quickstart_image:smoke --workdir $(printf 'x%.0s' {1..300})",
        MACHINE,
        "File name too long",
        "OSError",
    ),
}


QUICK = ("stdout closed", "no such device")  # the others are as many processes


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in TROUBLES],
)
def test_troubles_of_the_machine(run, name):
    script, code, words, never = TROUBLES[name]
    found, said = shell(script, run.parent)
    assert found == code and words in said and "Traceback" not in said, said
    assert not never or never not in said, said


def nobody(script):
    """As somebody whom permissions bind, which they do not bind root."""
    if os.getuid():
        return script
    drop = "-dac_override,-dac_read_search"
    return f"exec setpriv --bounding-set {drop} --inh-caps={drop} {' '.join(D2V)} {script}"


@pytest.mark.slow
def test_a_run_that_may_not_be_written_to_is_probed(run):
    script = nobody("probe run --examples 20")
    code, said = shell(f"chmod -R a-w run; {script}", run.parent)
    shell("chmod -R u+w run", run.parent)
    assert code == 0 and "student" in said, said
    assert "probe.json: Permission denied; the table is not kept" in said


WILD = [(4, 5), (1, 100), (4, 100)]  # train.checkpoint_every, train.most_skipped


@pytest.mark.parametrize(
    "every, most", [(1, 5), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in WILD)]
)
def test_a_run_that_diverged_never_ends_well(tmp_path, capsys, one_device, every, most):
    fields = {
        "optimizer.learning_rate": "1e30",
        "optimizer.clip": "0.",
        "train.steps": 20,
        "train.checkpoint_every": every,
        "train.most_skipped": most,
    }
    words = [*SMOKE, *(f"--config.{name}={value}" for name, value in fields.items())]
    found = set()
    for _ in range(3):
        assert main.main(["pretrain", *words, "--workdir", str(tmp_path / "run")]) == 2
        said = capsys.readouterr().err
        assert "were not finite" in said or "are not finite" in said, said
        good = re.search(r"checkpoint (\d+) is good|there is no good checkpoint", said)
        found.add(good[0])
        if good[1]:
            assert (tmp_path / "run" / "checkpoints" / good[1]).is_dir()
    assert len(found) == 1, "the good checkpoint is not the same each time"
    assert found == {"there is no good checkpoint" if every == 4 else "checkpoint 1 is good"}


def test_two_in_one_folder(run, capsys):
    """The second is refused while the first lives, and leaves alone what that is saving."""
    unfinished = run / "checkpoints" / "9.orbax-checkpoint-tmp"
    unfinished.mkdir()
    with lock.held(run, ""):
        assert main.main(["pretrain", "--workdir", str(run)]) == 2
        err = capsys.readouterr().err
        assert f"process {os.getpid()} on {os.uname().nodename}" in err and "in use" in err
        assert unfinished.is_dir()
    assert main.main(["pretrain", "--workdir", str(run)]) == 0
    assert not (run / lock.FILE).exists()


def test_a_lock_goes_with_its_process(run):
    script = "import sys, time\nfrom d2v_jax.common import lock\nimport pathlib\n"
    script += "with lock.held(pathlib.Path('run'), ''):\n    print('in', flush=True)\n"
    script += "    time.sleep(100)\n"
    holder = subprocess.Popen(
        [sys.executable, "-c", script], cwd=run.parent, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "in\n"
    with pytest.raises(lock.UserError, match=f"process {holder.pid} on"), lock.held(run, ""):
        pass
    holder.kill()
    holder.wait()
    assert (run / lock.FILE).exists()
    with lock.held(run, ""):
        pass


@pytest.mark.slow
def test_the_recipe_of_the_checkpoint_counts(run, caplog):
    content = json.loads((run / "config.json").read_text())
    content["recipe"]["optimizer"]["learning_rate"] = 0.5
    content["recipe"]["train"]["log_every"] = 2  # free: when, not what
    (run / "config.json").write_text(json.dumps(content))
    before = losses(run)
    shutil.rmtree(run / "checkpoints" / "8")
    code, said = shell("d2v pretrain --workdir run", run.parent)
    assert code == 0, said
    assert "config.json was changed" in said and "optimizer.learning_rate is 0.01, not 0.5" in said
    assert losses(run) == [row for row in before if row[0] <= 4 or row[0] % 2 == 0]
