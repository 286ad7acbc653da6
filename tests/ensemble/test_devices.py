"""Several devices in one process draw what one draws."""

import json
import os
import subprocess
import sys

import pytest

from pdlt.ensemble import simulate
from pdlt.networks import MLP

NET = MLP(2, 5, "tanh", C_b=0.1, C_W=1.5, lambda_b=0.2, lambda_W=1.0)
X = [[0.5, -1.0], [1.0, 0.3]]
# Seven blocks; 50 samples in a task are less than the devices can draw at a time.
CASES = [
    {"samples": 350},
    {"samples": 350, "batch": 50, "sampler": "structured"},
    {"samples": 350, "batch": 200, "precision": "float32"},
    {"until_stderr": 0.1},
]
PROGRAM = """
import json, sys
import jax
from pdlt.ensemble import simulate
from pdlt.networks import MLP
net = MLP(2, 5, "tanh", C_b=0.1, C_W=1.5, lambda_b=0.2, lambda_W=1.0)
x, cases = json.loads(sys.argv[1])
found = [simulate(net, x, ["K", "V"], **case) for case in cases]
stored = simulate(net, x, ["K", "V"], samples=350, store=sys.argv[2])
print(jax.local_device_count(), json.dumps([run.to_dict() for run in [*found, stored]]))
"""


@pytest.mark.parametrize("devices", [3])
def test_bits_do_not_depend_on_the_number_of_devices(tmp_path, devices):
    command = [sys.executable, "-c", PROGRAM, json.dumps([X, CASES]), str(tmp_path / "run.db")]
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    count, found = done.stdout.split(" ", 1)
    assert int(count) == devices
    expected = [simulate(NET, X, ["K", "V"], **case) for case in CASES]
    assert json.loads(found) == json.loads(json.dumps([run.to_dict() for run in [*expected, expected[0]]]))
