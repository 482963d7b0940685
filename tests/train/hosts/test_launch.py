"""Where a process learns its number: the command line or the cluster."""

import pytest

from d2v_jax.common.checks import ConfigError
from d2v_jax.train.hosts import launch


def test_places():
    find = launch.find_place
    assert find(None, None, None, None) is None
    assert find("off", None, None, None) is None
    assert find(None, "a:1", 1, 0) is None
    assert find("auto", "a:1", 4, 3) == launch.ProcessPlace("a:1", 4, 3)
    for wrong in [("a:1", 2, None), ("a:1", None, 0), (None, 2, 0)]:
        with pytest.raises(ConfigError, match="belong together"):
            find(None, *wrong)
    with pytest.raises(ConfigError, match=r"--process-id 2 must lie between 0 and --processes 2"):
        find(None, "a:1", 2, 2)
    with pytest.raises(ConfigError, match="'a': give HOST:PORT"):
        find(None, "a", 2, 0)
    assert launch._several({"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"})
    assert launch._several({"TPU_WORKER_HOSTNAMES": "a,b"})
    assert not launch._several({"SLURM_NTASKS": "2"})  # sbatch without srun
    assert not launch._several({"TPU_WORKER_HOSTNAMES": "a"})
