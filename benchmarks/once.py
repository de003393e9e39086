"""Train with one peer, once, on data from files: what `footprint.py` times from outside.

python benchmarks/once.py PEER WORKLOAD STEPS DIRECTORY
"""

import sys

import numpy as np
from peers import PEERS
from workloads import WORKLOADS

peer, workload, steps, directory = sys.argv[1:]
x, y = (np.load(f"{directory}/{workload}-{kind}.npy") for kind in "xy")
PEERS[peer].make(WORKLOADS[workload], x, y).steps(int(steps))
