"""Launchers: what they would run, a whole life on pretended TPU VMs, and the costs they promise.

`gcloud`, `uv`, `d2v`, `srun` and `xpk` are small stand-ins; "workers" are folders.
"""

import concurrent.futures
import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
import yaml

from d2v_jax.train.recipe import resolve

ROOT = pathlib.Path(__file__).parents[1]
TPU = ROOT / "tpu"
SCRIPTS = sorted([*TPU.glob("*.sh"), *TPU.glob("*.sbatch")])
SPACED = "--config.data.source=/mnt/bucket/Ann's photos"


# A test that is wrong must not reach a cloud: these stand in front of the machine's own.
GUARD = tempfile.TemporaryDirectory(prefix="d2v-tests-")
for name in ("gcloud", "xpk", "sky", "kubectl", "srun", "scontrol", "sudo", "curl", "gcsfuse"):
    stub = pathlib.Path(GUARD.name, name)
    stub.write_text(f"#!/bin/sh\necho 'a test reached for the real {name}' >&2\nexit 99\n")
    stub.chmod(0o755)


def load_costs():
    spec = importlib.util.spec_from_file_location("costs", TPU / "costs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


costs = load_costs()


def call(*words, home=None, bin=None, **variables):
    """-> CompletedProcess of a command whose environment has nothing of ours."""
    path = os.pathsep.join([*([str(bin)] if bin else []), GUARD.name, os.environ["PATH"]])
    env = {"PATH": path, "HOME": str(home or "/nonexistent"), **variables}
    return subprocess.run(
        list(map(str, words)), env=env, text=True, capture_output=True, timeout=60
    )


def dry(script, *words, **variables):
    """-> the words of every command that a dry run prints."""
    done = call(TPU / script, *words, "--dry-run", **variables)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def dry_run(*arguments, **variables):
    done = call(
        TPU / "vm.sh",
        "run",
        "s",
        "--zone",
        "z",
        "--bucket",
        "b",
        "--dry-run",
        "--",
        *arguments,
        **variables,
    )
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def after(words, flag):
    return words[words.index(flag) + 1]


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


# The files themselves


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_sound(path):
    assert os.access(path, os.X_OK)
    assert "\nset -euo pipefail\n" in path.read_text()
    assert call("bash", "-n", path).returncode == 0
    checker = pathlib.Path(sys.executable).with_name("shellcheck")
    checker = checker if checker.exists() else shutil.which("shellcheck")
    if not checker:
        pytest.skip("shellcheck is not installed; pip install -e '.[test]' brings it")
    done = call(checker, path)
    assert done.returncode == 0, done.stdout


def test_the_room_is_shut():
    for path in TPU.glob("*.py"):
        assert "d2v_jax" not in re.sub(r'""".*?"""', "", path.read_text(), flags=re.S)
    for path in (ROOT / "d2v_jax").rglob("*.py"):
        assert not re.search(r"^\s*(import|from) tpu\b", path.read_text(), flags=re.M), path


def test_sky_yaml():
    job = yaml.safe_load((TPU / "sky.yaml").read_text())
    assert job["resources"]["use_spot"] is True
    assert job["resources"]["job_recovery"] == {
        "max_restarts_on_errors": 0,
        "recover_on_exit_codes": [75, 76],
    }
    assert [name for name, value in job["envs"].items() if value is None] == [
        "BUCKET",
        "RUN",
        "ARGS",
    ]
    assert job["file_mounts"]["/bucket"]["source"] == "${BUCKET}"


@pytest.mark.parametrize(
    "extra, nodes, place",
    [
        ("tpu", "1", ["--distributed", "auto"]),
        ("cuda13", "1", ["--distributed", "off"]),
        (
            "cuda13",
            "2",
            ["--coordinator", "10.0.0.1:8476", "--processes", "2", "--process-id", "1"],
        ),
    ],
)
def test_sky_command(tmp_path, extra, nodes, place):
    script = yaml.safe_load((TPU / "sky.yaml").read_text())["run"]
    script = script.replace("exec bash", "exec printf '%s\\n'")
    done = call(
        "bash",
        "-c",
        script,
        EXTRA=extra,
        RUN="a",
        ARGS=f'--config v2_image_base "{SPACED}"',
        SKYPILOT_NUM_NODES=nodes,
        SKYPILOT_NODE_IPS="10.0.0.1\n10.0.0.2",
        SKYPILOT_NODE_RANK="1",
    )
    assert done.stdout.splitlines() == [
        "tpu/retry.sh",
        ".venv/bin/d2v",
        "pretrain",
        "--workdir",
        "/bucket/runs/a",
        "--start-timeout",
        "1800",
        *place,
        "--config",
        "v2_image_base",
        SPACED,
    ]


def test_xla_flags_exist():
    """XLA ends a process that sets a flag it does not know, GPU or not."""
    text = (TPU / "README.md").read_text() + (TPU / "slurm.sbatch").read_text()
    flags = set(re.findall(r"--xla_\w+=\w+", text))
    assert len(flags) > 3
    done = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env={**os.environ, "XLA_FLAGS": " ".join(sorted(flags)), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-500:]


# Dry runs


def test_create():
    commands = dry(
        "vm.sh",
        "create",
        "s",
        "--type",
        "v5litepod-16",
        "--spot",
        "--bucket",
        "gs://b/",
        "--project",
        "p",
        TPU_ZONE="z",
    )
    verbs = [c[3:5] if c[0] == "gcloud" else c[:1] for c in commands]
    describe = [["queued-resources", "describe"], ["tpu-vm", "describe"]]
    assert verbs == [
        *describe,
        ["queued-resources", "create"],
        *describe,
        ["git"],
        ["tpu-vm", "scp"],
        *[["tpu-vm", "ssh"]] * 3,
    ]
    request = commands[2]
    assert after(request, "--runtime-version") == "v2-alpha-tpuv5-lite"
    assert after(request, "--node-id") == "s" and "--spot" in request
    for command in commands:
        if command[0] == "gcloud":
            assert (after(command, "--zone"), after(command, "--project")) == ("z", "p")
    assert [after(c, "--command") for c in commands[-3:]] == [
        "tar -xf d2v_jax.tar",
        "bash d2v_jax/tpu/worker.sh setup tpu",
        "bash d2v_jax/tpu/worker.sh mount b",
    ]
    assert all(after(c, "--worker") == "all" for c in commands[-4:])


def test_create_at_once():
    commands = dry("vm.sh", "create", "s", "--type", "v4-8", "--zone", "z", "--no-queue", "--iap")
    assert commands[1][3:6] == ["tpu-vm", "create", "s"]
    assert after(commands[1], "--version") == "tpu-ubuntu2204-base"
    far = [c for c in commands if "ssh" in c or "scp" in c]
    assert all(c[1] == "alpha" and "--tunnel-through-iap" in c for c in far) and len(far) == 3
    [forget] = dry("vm.sh", "delete", "s", "--zone", "z", "--no-queue")
    assert forget[3:6] == ["tpu-vm", "delete", "s"]


@pytest.mark.parametrize(
    "type, version",
    [("v2-8", "tpu-ubuntu2204-base"), ("v5p-8", "v2-alpha-tpuv5"), ("v6e-4", "v2-alpha-tpuv6e")],
)
def test_software_version(type, version):
    words = ["create", "s", "--zone", "z", "--type", type]
    assert after(dry("vm.sh", *words)[2], "--runtime-version") == version
    assert after(dry("vm.sh", *words, "--runtime", "r")[2], "--runtime-version") == "r"


@pytest.mark.parametrize("word", ["a b", "it's", '"x"', "$HOME", "a;b", "*", ""])
def test_arguments_arrive_whole(word):
    workdir = "/mnt/bucket/runs/a b"
    [start] = [
        c
        for c in dry_run("--workdir", workdir, f"--config.x={word}", word)
        if "worker.sh start" in " ".join(c)
    ]
    remote = shlex.split(after(start, "--command"))
    assert remote[:3] == ["bash", "d2v_jax/tpu/worker.sh", "start"]
    assert remote[3:] == ["--workdir", workdir, f"--config.x={word}", word]


def test_resume_needs_only_the_folder():
    commands = dry("vm.sh", "resume", "s", "/mnt/bucket/a", "--zone", "z", "--bucket", "b")
    assert any(
        after(c, "--command").endswith("start --workdir /mnt/bucket/a")
        for c in commands
        if "ssh" in c
    )


def test_fetch_delete_stop():
    common = ["--zone", "z", "--bucket", "b"]
    assert dry("vm.sh", "fetch", "s", "/mnt/bucket/runs/a b", "out here", *common) == [
        ["mkdir", "-p", "out here"],
        ["gcloud", "storage", "rsync", "--recursive", "gs://b/runs/a b", "out here"],
    ]
    copy = dry("vm.sh", "fetch", "s", "runs/a", "out", *common)[1]
    assert copy[3:5] == ["tpu-vm", "scp"] and "s:runs/a" in copy and after(copy, "--worker") == "0"
    [forget] = dry("vm.sh", "delete", "s", *common)
    assert forget[3:7] == ["queued-resources", "delete", "s", "--force"]
    [stop] = dry("vm.sh", "stop", "s", *common)
    assert after(stop, "--command") == "bash d2v_jax/tpu/worker.sh stop"


def test_a_dry_run_touches_nothing(tmp_path):
    executable(tmp_path / "gcloud", f"#!/bin/sh\ntouch {tmp_path}/called\n")
    place = tmp_path / "empty"
    place.mkdir()
    done = call(
        TPU / "vm.sh",
        "run",
        "s",
        "--zone",
        "z",
        "--dry-run",
        "--",
        "--workdir",
        "/nfs/a",
        bin=tmp_path,
        home=place,
        TMPDIR=str(place),
    )
    assert done.returncode == 0 and done.stdout
    assert not list(place.iterdir()) and not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["create", "s", "--type", "v4-8"], "which zone.*TPU_ZONE"),
        (["create", "s", "--zone", "z"], "which TPU.*TPU_TYPE"),
        (["create", "s", "--zone", "z", "--type", "v9-8"], "which software version.*--runtime"),
        (["create", "--zone", "z"], "create needs the NAME"),
        (["create", "s", "--zone"], "--zone needs a value"),
        (["run", "s", "--zone", "z", "--config", "a"], "--config is no option.*after --"),
        (["run", "s", "--zone", "z", "--", "--config", "a"], "needs --workdir"),
        (["run", "s", "--zone", "z", "--", "--workdir=/mnt/bucket/a"], "which bucket"),
        (["run", "s", "--zone", "z", "--spot", "--", "--workdir", "runs/a"], "lost with a spot"),
        (["resume", "s", "--zone", "z"], "2 words where 3 are due"),
        (["fly", "s"], "usage: tpu/vm.sh create"),
    ],
)
def test_mistakes_are_named(words, complaint):
    at = words.index("--") if "--" in words else len(words)
    done = call(TPU / "vm.sh", *words[:at], "--dry-run", *words[at:])
    assert done.returncode == 2
    assert re.search(complaint, done.stderr.replace("\n", " ")), done.stderr


def test_xpk():
    done = call(
        TPU / "xpk.sh",
        "w",
        "--type",
        "v6e-16",
        "--storage",
        "disk",
        "--slices",
        "2",
        "--dry-run",
        "--",
        "--workdir",
        "/disk/a b",
        SPACED,
        XPK_CLUSTER="c",
        TPU_ZONE="z",
        TPU_PROJECT="p",
    )
    create = shlex.split(done.stdout.splitlines()[-1])
    assert create[:3] == ["xpk", "workload", "create"]
    flags = dict(zip(create[3::2], create[4::2]))
    expected = {
        "--workload": "w",
        "--cluster": "c",
        "--zone": "z",
        "--project": "p",
        "--tpu-type": "v6e-16",
        "--num-slices": "2",
        "--storage": "disk",
        "--restart-on-exit-codes": "75,76",
    }
    assert flags | expected == flags
    setup, run = flags["--command"].split(" && exec ")
    assert setup == "bash tpu/worker.sh setup tpu" and "\n" not in run
    assert shlex.split(run)[:2] == [".venv/bin/d2v", "pretrain"]
    assert shlex.split(run)[-3:] == ["--workdir", "/disk/a b", SPACED]


@pytest.mark.parametrize("name", ["cluster", "type", "zone", "project"])
def test_xpk_names_what_is_missing(name):
    flags = {"cluster": "c", "type": "v6e-16", "zone": "z", "project": "p"}
    del flags[name]
    words = [word for flag, value in flags.items() for word in (f"--{flag}", value)]
    done = call(TPU / "xpk.sh", "w", *words, "--dry-run", "--", "--workdir", "/a")
    assert done.returncode == 2 and f"add --{name}" in done.stderr


# Running again


@pytest.fixture
def d2v(tmp_path):
    """A `d2v` that notes its arguments and ends with the codes of a file, one after the other."""
    executable(
        tmp_path / "d2v",
        f"""#!/usr/bin/env bash
        echo "$#:$*" >>{tmp_path}/calls
        read -r code <{tmp_path}/codes
        sed -i 1d {tmp_path}/codes
        exit "$code"
        """,
    )

    def run(codes, *words, **variables):
        (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
        (tmp_path / "calls").write_text("")
        done = call(*words, D2V_RETRY_WAIT="0", **variables)
        return done, (tmp_path / "calls").read_text().splitlines()

    return run


@pytest.mark.parametrize(
    "codes, final, runs",
    [([0], 0, 1), ([75, 76, 75, 0], 0, 4), ([76, 2, 0], 2, 2), ([1, 0], 1, 1), ([76] * 9, 76, 5)],
)
def test_retry(d2v, tmp_path, codes, final, runs):
    done, calls = d2v(
        codes, TPU / "retry.sh", tmp_path / "d2v", "a b", "c", D2V_EXIT_FILE=str(tmp_path / "end")
    )
    assert done.returncode == final and len(calls) == runs
    assert set(calls) == {"2:a b c"}
    assert (tmp_path / "end").read_text() == f"{final}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_retry_passes_a_signal_on_and_stops(tmp_path, number):
    executable(
        tmp_path / "saves",
        f"#!{sys.executable}\nimport pathlib, signal, sys, time\n"
        f"def stop(*_):\n    time.sleep(.5); print('saved', flush=True); sys.exit(75)\n"
        f"signal.signal(signal.SIGTERM, stop)\n"
        f"pathlib.Path({str(tmp_path / 'up')!r}).touch()\ntime.sleep(30)\n",
    )
    process = subprocess.Popen(
        [TPU / "retry.sh", tmp_path / "saves"],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "D2V_RETRY_WAIT": "0"},
    )
    while not (tmp_path / "up").exists():
        time.sleep(0.02)
    process.send_signal(number)
    time.sleep(0.1)
    process.send_signal(number)  # impatience changes nothing
    assert process.communicate(timeout=120)[0] == "saved\n"
    assert process.returncode == 75


@pytest.mark.parametrize(
    "code, restarts, requeued",
    [(0, 0, False), (75, 0, True), (76, 3, True), (137, 0, True), (2, 0, False), (75, 50, False)],
)
def test_slurm(tmp_path, code, restarts, requeued):
    note = f'printf "%s\\n" "$XLA_FLAGS" "$@" >{tmp_path}/srun'
    executable(tmp_path / "bin/srun", f"#!/bin/sh\n{note}\nexit {code}\n")
    executable(tmp_path / "bin/scontrol", f'#!/bin/sh\necho "$@" >{tmp_path}/scontrol\n')
    executable(tmp_path / "bin/sleep", "#!/bin/sh\n")
    executable(tmp_path / ".venv/bin/d2v", "#!/bin/sh\n")
    done = call(
        TPU / "slurm.sbatch",
        "--workdir",
        "/shared/a b",
        SPACED,
        bin=tmp_path / "bin",
        SLURM_SUBMIT_DIR=str(tmp_path),
        SLURM_JOB_ID="7",
        SLURM_RESTART_COUNT=str(restarts),
    )
    assert done.returncode == code, done.stderr
    words = (tmp_path / "srun").read_text().splitlines()
    assert "--kill-on-bad-exit=0" in words
    assert words[-4:] == ["pretrain", "--workdir", "/shared/a b", SPACED]
    assert (tmp_path / "scontrol").exists() == requeued
    if requeued:
        assert (tmp_path / "scontrol").read_text() == "requeue 7\n"


def test_slurm_signals_the_program_and_not_the_script():
    text = (TPU / "slurm.sbatch").read_text()
    assert re.search(r"^#SBATCH --signal=TERM@\d+$", text, flags=re.M)
    assert re.search(r"^#SBATCH --requeue$", text, flags=re.M) and "\ntrap" not in text


# A whole life on pretended machines

GCLOUD = r"""#!/usr/bin/env bash
# One slice, a folder for each worker; `slice` says whether it exists, `script` what befalls it.
set -eu
here=$(dirname "$0")
echo "$*" >>"$here/calls"
verb="$3 $4"
flag() { # NAME ARGUMENTS ...: the value after a flag
  local name=$1; shift
  while [ $# -gt 0 ]; do [ "$1" = "$name" ] && { echo "$2"; return; }; shift; done
}
workers() { case $1 in all) echo w0 w1 ;; *) echo "w$1" ;; esac; }
case $verb in
  *" describe")
    [ -e "$here/slice" ] || { echo "ERROR: NOT_FOUND: no such thing" >&2; exit 1; }
    if [ "$3" = tpu-vm ]; then cat "$here/slice"
    elif grep -q PREEMPTED "$here/slice"; then echo SUSPENDED
    else echo ACTIVE; fi ;;
  *" create") echo READY >"$here/slice"; mkdir "$here/w0" "$here/w1" ;;
  *" delete") rm -r "$here/slice" "$here/w0" "$here/w1" ;;
  "tpu-vm scp")
    for w in $(workers "$(flag --worker "$@")"); do cp "$5" "$here/$w/"; done ;;
  "tpu-vm ssh")
    grep -q READY "$here/slice" || { echo "ssh: no route" >&2; exit 255; }
    line=$(flag --command "$@")
    for w in $(workers "$(flag --worker "$@")"); do
      mkdir -p "$here/$w/.local/bin"
      cp "$here/uv" "$here/$w/.local/bin/"
      (cd "$here/$w" && HOME=$PWD bash -c "$line")
    done ;;
esac
"""
UV = """#!/usr/bin/env bash
[ "$1" = venv ] || exit 0
mkdir -p .venv/bin
cp {here}/d2v .venv/bin/d2v
"""
# Each run ends as the next line of `plan` says: with a code, or because the slice is taken away.
D2V = """#!/usr/bin/env bash
w=$(basename "$HOME")
echo "$*" >>{here}/runs.$w
n=$(wc -l <{here}/runs.$w)
word=$(sed -n "${{n}}p" {here}/plan)
echo "$w run $n: $word"
trap 'exit 75' TERM
case $word in
  preempt)
    [ "$w" = w0 ] || exit 75
    echo PREEMPTED >{here}/slice
    for lost in w1 w0; do
      pid=$(cat {here}/$lost/d2v_run/pid)
      grep -q "{here}/$lost/" "/proc/$pid/cmdline" || continue # gone, or never ours
      kill -9 "$pid"
    done
    exit 75 ;;
  wait) while [ ! -e {here}/go ]; do sleep .1; done ;;
  go) # when all have been started: by then another call has come
    calls=$(wc -l <{here}/calls)
    until [ "$(wc -l <{here}/calls)" -gt "$calls" ]; do sleep .1; done
    touch {here}/go ;;
  *) exit "${{word:-0}}" ;;
esac
"""


@pytest.fixture
def cloud(tmp_path):
    executable(tmp_path / "gcloud", GCLOUD)
    executable(tmp_path / "uv", UV.format(here=tmp_path))
    executable(tmp_path / "d2v", D2V.format(here=tmp_path))

    def vm(*words):
        return call(
            TPU / "vm.sh",
            *words,
            bin=tmp_path,
            home=tmp_path,
            TMPDIR=str(tmp_path),
            TPU_ZONE="z",
            TPU_TYPE="v6e-8",
            D2V_POLL="0",
            D2V_RETRY_WAIT="0.2",
            D2V_FOLLOW="5",
        )

    yield vm
    (tmp_path / "go").touch()  # whatever a failed test left behind ends by itself


def test_a_run_survives_losses_and_a_preemption(cloud, tmp_path):
    (tmp_path / "plan").write_text("76\n75\npreempt\n76\n0\n")
    done = cloud("run", "s", "--", "--workdir", "/nfs/a b", SPACED)
    assert done.returncode == 0, done.stderr
    for w in ("w0", "w1"):
        runs = (tmp_path / f"runs.{w}").read_text().splitlines()
        assert len(runs) >= 5
        assert set(runs) == {
            f"pretrain --distributed auto --start-timeout 1800 --workdir /nfs/a b {SPACED}"
        }
    calls = (tmp_path / "calls").read_text()
    assert calls.count("queued-resources create") == 2
    assert calls.count("queued-resources delete s --force") == 1
    assert "w0 run 1: 76" in done.stdout  # the log is shown


def test_a_mistake_ends_it(cloud, tmp_path):
    (tmp_path / "plan").write_text("76\n2\n0\n")
    done = cloud("run", "s", "--", "--workdir", "/nfs/a")
    assert done.returncode == 2 and "exit code 2 is final" in done.stderr
    assert len((tmp_path / "runs.w0").read_text().splitlines()) == 2


def test_stop_and_resume(cloud, tmp_path):
    (tmp_path / "plan").write_text("wait\n0\n")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        watched = pool.submit(cloud, "run", "s", "--", "--workdir", "/nfs/a")
        logs = [tmp_path / w / "d2v_run/log" for w in ("w0", "w1")]
        deadline = time.monotonic() + 30
        while not all(log.exists() and "run 1" in log.read_text() for log in logs):
            assert time.monotonic() < deadline and not watched.done()
            time.sleep(0.05)
        assert cloud("status", "s").stdout.split() == ["d2v-state:running"] * 2
        assert cloud("stop", "s").returncode == 0
        assert watched.result().returncode == 75
    assert cloud("status", "s").stdout.split() == ["d2v-state:stopped"] * 2
    done = cloud("resume", "s", "/nfs/a")
    assert done.returncode == 0, done.stderr
    last = (tmp_path / "runs.w1").read_text().splitlines()[-1]
    assert last.endswith("--start-timeout 1800 --workdir /nfs/a")


@pytest.fixture
def other():
    """A process that is none of ours to signal."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_worker_that_restarted_joins_again(cloud, tmp_path, other):
    (tmp_path / "plan").write_text("wait\ngo\n")
    assert cloud("create", "s").returncode == 0
    worker = tmp_path / "w1/d2v_jax/tpu/worker.sh"
    call(worker, "start", "--workdir", "/nfs/a", home=tmp_path / "w1")
    (tmp_path / "w0/d2v_run").mkdir()
    (tmp_path / "w0/d2v_run/pid").write_text(f"{other.pid}\n")  # another program's by now
    (tmp_path / "runs.w0").write_text("before the restart\n")
    assert "d2v-state:lost" in cloud("status", "s").stdout
    done = cloud("run", "s", "--", "--workdir", "/nfs/a")
    assert done.returncode == 0, done.stderr
    for w in ("w0", "w1"):
        assert (tmp_path / f"runs.{w}").read_text().count("--workdir /nfs/a") == 1


def test_gcloud_that_does_not_answer(tmp_path):
    executable(tmp_path / "gcloud", "#!/bin/sh\necho 'ERROR: you are not signed in' >&2\nexit 1\n")
    done = call(
        TPU / "vm.sh",
        "create",
        "s",
        "--zone",
        "z",
        "--type",
        "v4-8",
        bin=tmp_path,
        D2V_POLL="0",
        TMPDIR=str(tmp_path),
    )
    assert done.returncode == 2
    assert "not signed in" in done.stderr and "does not tell the state of s" in done.stderr


# Costs


def test_costs_follow_the_recipes():
    """FLOP per example and step x batch x steps is the docstrings' total, to their rounding."""
    found = costs.costs()
    laptop = ("quickstart", "finetune")
    recipes = {path.stem for path in costs.FOLDER.glob("*_*.py")} - {"__init__"}
    assert set(found) == {name for name in recipes if not name.startswith(laptop)}
    for name, flop in found.items():
        text = (costs.FOLDER / f"{name}.py").read_text()
        each = re.search(r"about ([\d.]+) TFLOP\s+per (?:example|image)", text)
        resolved = resolve.resolve(resolve.load(name))
        if each and not name.startswith(("v1_audio", "v2_audio")):
            total = float(each[1]) * 1e12 * resolved.train.batch_size * resolved.train.steps
            assert flop == pytest.approx(total, rel=0.1), name


def test_device_hours():
    assert costs.device_hours(3.6e18, 1000, 0.5) == pytest.approx(2)
    assert [costs.rounded(x) for x in (9.06, 81.2, 376.0, 1094.0)] == ["9.1", "81", "380", "1,100"]


def test_the_page_shows_the_table():
    assert costs.table(costs.MFU) in (TPU / "README.md").read_text()
    assert f"{costs.MFU:.0%}" in (TPU / "README.md").read_text()
    done = call(sys.executable, TPU / "costs.py", "--mfu", "0.6")
    assert done.stdout.count("\n") == len(costs.costs()) + 2
    assert call(sys.executable, TPU / "costs.py", "--mfu", "30").returncode == 2


@pytest.mark.parametrize(
    "cost, flop",
    [
        ("Cost: minutes.\n", None),
        ("Cost: 1 TFLOP per image.\n", ValueError),
        ("Cost: so 2.5e18 FLOP for the\n    whole schedule.\n", 2.5e18),
        ("", ValueError),
    ],
)
def test_cost_lines(tmp_path, monkeypatch, cost, flop):
    monkeypatch.setattr(costs, "FOLDER", tmp_path)
    (tmp_path / "v9_x.py").write_text(f'"""A recipe.\n\n{cost}Expected: good.\n"""\n')
    if flop is ValueError:
        with pytest.raises(ValueError, match=r"v9_x.py: no 'so"):
            costs.schedule_flop("v9_x")
    else:
        assert costs.schedule_flop("v9_x") == flop
