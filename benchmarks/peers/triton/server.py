"""Starts a Triton server with the fourteen models as an ensemble, and ends it on SIGINT.

The wheel of nvidia-pytriton contains the server; `make bench-peers` installs it into an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks.peers.triton.shop import opened_shop
from benchmarks.peers.triton.spec import ANSWER, ENSEMBLE, REQUEST, Model, Tensors

ROOT: Final = Path(__file__).parents[3]
ENVIRONMENT: Final = ROOT / "var" / "peers" / "triton"
MAX_BATCH: Final = 32
_QUEUE_DELAY_US: Final = 2_000
_START_TIMEOUT_S: Final = 240.0
_CONFIG: Final = """name: "{name}"
{backend}
max_batch_size: {max_batch}
{tensors}
{rest}
"""


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; `--settings` holds serving settings as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.triton.server", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--settings", required=True)
    parser.add_argument("--batching", action="store_true", help="dynamic batches of up to 32 requests within 2 ms")
    parser.add_argument("--instances", type=int, default=1, help="of every model")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    repository = ENVIRONMENT.parent / "triton-models"
    models = opened_shop(arguments.settings).models
    write_repository(repository, models, batching=arguments.batching, instances=arguments.instances)
    with subprocess.Popen(
        command(repository, arguments.port), env=environment(arguments.settings), start_new_session=True
    ) as server:
        try:
            wait_until_ready(server, arguments.port)
            print("READY", flush=True)
            server.wait()
        except KeyboardInterrupt:
            return
        finally:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def command(repository: Path, port: int) -> list[str]:
    """Triton's command line."""
    home = _server_home()
    return [
        str(home / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={home / 'backends'}",
        f"--http-port={port}",
        "--http-address=127.0.0.1",
        "--allow-grpc=false",
        "--allow-metrics=false",
        "--disable-auto-complete-config",
        "--backend-config=python,stub-timeout-seconds=180",
        "--model-load-thread-count=1",
        "--log-info=false",
    ]


def environment(settings: str) -> dict[str, str]:
    """Environment variables, so that the server and the models' interpreters find their libraries and our code."""
    packages = _packages()
    libraries = [str(packages / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))]
    return os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)]),
        "PATH": os.pathsep.join([str(ENVIRONMENT / "bin"), os.environ["PATH"]]),
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "RECOMMENDER_PEER": settings,
    }


def wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    """Waits until every model is loaded.

    Raises:
        RuntimeError: the server ended or is not ready in time.
    """
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"Triton is not ready, status {server.poll()}; what it says stands above")


def write_repository(folder: Path, models: dict[str, Model], *, batching: bool, instances: int) -> None:
    """Triton's model repository: the fourteen and the ensemble."""
    shutil.rmtree(folder, ignore_errors=True)
    known = dict(REQUEST)
    for model in models.values():
        known |= model.outputs
    delay = f"dynamic_batching {{ max_queue_delay_microseconds: {_QUEUE_DELAY_US} }}" if batching else ""
    group = f"instance_group [ {{ count: {instances} kind: KIND_CPU }} ]"
    for name, model in models.items():
        inputs = {tensor: known[tensor] for tensor in model.inputs}
        text = _config(name, 'backend: "python"', inputs, model.outputs, f"{group}\n{delay}")
        _write(folder / name, text)
        shutil.copy(Path(__file__).with_name("model.py"), folder / name / "1" / "model.py")
    outputs = {name: known[name] for name in ANSWER}
    _write(folder / ENSEMBLE, _config(ENSEMBLE, 'platform: "ensemble"', REQUEST, outputs, _steps(models)))


def _config(name: str, backend: str, inputs: Tensors, outputs: Tensors, rest: str) -> str:
    tensors = _tensors("input", inputs) + _tensors("output", outputs)
    return _CONFIG.format(name=name, backend=backend, max_batch=MAX_BATCH, tensors=tensors, rest=rest)


def _tensors(kind: str, tensors: Tensors) -> str:
    lines = [
        f'{{ name: "{name}" data_type: TYPE_{"STRING" if dtype == "BYTES" else dtype} dims: {json.dumps(list(dims))} }}'
        for name, (dtype, dims) in tensors.items()
    ]
    return f"{kind} [ {', '.join(lines)} ]\n"


def _steps(models: dict[str, Model]) -> str:
    steps = []
    for name, model in models.items():
        maps = [f'input_map {{ key: "{tensor}" value: "{tensor}" }}' for tensor in model.inputs]
        maps += [f'output_map {{ key: "{tensor}" value: "{tensor}" }}' for tensor in model.outputs]
        steps.append(f'{{ model_name: "{name}" model_version: -1 {" ".join(maps)} }}')
    return f"ensemble_scheduling {{ step [ {', '.join(steps)} ] }}"


def _write(folder: Path, config: str) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")


def _packages() -> Path:
    found = sorted(ENVIRONMENT.glob("lib/python3.*/site-packages"))
    if not found:
        raise FileNotFoundError(f"no environment in {ENVIRONMENT}; run `make bench-peers`")
    return found[0]


def _server_home() -> Path:
    """Folder of the server in the wheel, with the Python backend's stub beside its library."""
    home = _packages() / "pytriton" / "tritonserver"
    version = _packages().parent.name.removeprefix("python")
    stub = home / "backends" / "python" / "triton_python_backend_stub"
    if not stub.exists():
        shutil.copy(home / "python_backend_stubs" / version / stub.name, stub)
        stub.chmod(0o755)
    return home


if __name__ == "__main__":
    main()
