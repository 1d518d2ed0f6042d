"""Device, precision and processes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ast_experiments.core import distributed
from ast_experiments.core.errors import ConfigError, EvalOutOfMemory

MOST_WORKERS, CPU_WORKERS, FEW_CORES = 16, 2, 4
MEMORY_WORDS = ("out of memory", "DefaultCPUAllocator: can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Hardware:
    """A device and how it is used.

    Attributes:
        device: Where training runs.
        dtype: What autocast computes in; float32 turns autocast off.
        channels_last: Memory format of images and convolution weights.
        compile: Whether the forward pass is compiled.
        deterministic: Whether only deterministic algorithms are used.
    """

    device: torch.device
    dtype: torch.dtype
    channels_last: bool = True
    compile: bool = False
    deterministic: bool = False

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of 4-d tensors."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self) -> Any:
        """Returns the autocast context of forward passes."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def describe(self) -> dict[str, Any]:
        """Returns the facts that a run's seconds depend on, as plain values."""
        facts: dict[str, Any] = {
            "device": self.device.type,
            "precision": str(self.dtype).removeprefix("torch."),
            "channels_last": self.channels_last,
            "compile": self.compile,
            "deterministic": self.deterministic,
            "cpu": _cpu_name(),
            "threads": torch.get_num_threads(),
            "host": platform.node(),
        }
        if self.device.type == "cuda":
            properties = torch.cuda.get_device_properties(self.device)
            facts["gpu"] = properties.name
            facts["gpu_uuid"] = str(getattr(properties, "uuid", "")) or None
        return facts


def build_hardware(
    *,
    device: str,
    precision: str,
    channels_last: bool,
    compile: bool,
    deterministic: bool,
    threads: int | None,
) -> Hardware:
    """Resolves `auto`, and checks that the device exists.

    Raises:
        ConfigError: If the device is missing or does not support the precision.
    """
    where = torch.device(check_device(device))
    if where.type == "cuda" and distributed.size() > 1:
        where = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(where)
    check_precision(where.type, precision)
    if threads is not None:
        torch.set_num_threads(threads)
    dtype = _best_dtype(where) if precision == "auto" else DTYPES[precision]
    return Hardware(where, dtype, channels_last, compile, deterministic)


def check_device(device: str) -> str:
    """Returns the device to use; `auto` prefers CUDA, then Apple's GPU, then the CPU.

    Raises:
        ConfigError: If the device is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, available in there.items() if available)
    if not there[device]:
        found = ", ".join(name for name, available in there.items() if available)
        raise ConfigError(f"hardware.device: {device} is not available here (found: {found}); type hardware=auto")
    return device


def check_shared(rows: int, processes: int) -> None:
    """Checks that processes can share batches equally.

    Raises:
        ConfigError: With the next size that they can.
    """
    if rows % processes:
        raise ConfigError(
            f"recipe.batch_size: {rows} rows cannot be shared by {processes} processes; "
            f"type recipe.batch_size={-(-rows // processes) * processes}"
        )


def check_precision(device: str, precision: str) -> None:
    """Checks that a device trains in a precision.

    Raises:
        ConfigError: For float16 on the CPU.
    """
    if device == "cpu" and precision == "float16":
        raise ConfigError("hardware.precision: float16 does not train on the CPU; type hardware.precision=bfloat16")


def check_processes(device: str, processes: int | str | None) -> int:
    """Returns the number of processes that share a run; `all` stands for the number of GPUs.

    Raises:
        ConfigError: If there are more processes than GPUs for them.
    """
    if processes is None:
        return 1
    gpus = torch.cuda.device_count() if check_device(device) == "cuda" else 0
    if processes == "all":
        return max(1, gpus)
    if 0 < gpus < int(processes):
        raise ConfigError(f"hardware.processes: {processes} need as many GPUs, here are {gpus}; type {gpus} or all")
    return int(processes)


def worker_count(workers: int | None, device: str) -> int:
    """Returns the number of loader workers of this process.

    None means one for each available core of this rank, except one core if there are many: the GPU waits whenever the
    process that feeds it waits. On a CPU, None means 2, or 1 with one core.
    """
    if workers is not None:
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device == "cpu":
        return min(CPU_WORKERS, cores)  # torch warns about more workers than cores
    own = cores // distributed.size()
    return max(1, min(MOST_WORKERS, own - 1 if own > FEW_CORES else own))


def scaled_batch(batch_size: int, scale: float, optimizer: str) -> tuple[int, float]:
    """Returns the rows of a scaled batch, and the factor on the learning rate.

    The factor is the scale for SGD (Goyal et al. 2017, section 2.1), and its square root for optimisers that divide by
    the size of the gradient (Malladi et al. 2022, the square root scaling rule).
    """
    rows = max(1, round(batch_size * scale))
    factor = rows / batch_size
    return rows, factor if optimizer in ("sgd", "momentum") else factor**0.5


def out_of_memory(error: BaseException) -> bool:
    """Returns whether an error means that a device is out of memory."""
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in MEMORY_WORDS)
    return said or isinstance(error, torch.OutOfMemoryError | MemoryError | EvalOutOfMemory)


@contextmanager
def algorithms(hardware: Hardware) -> Iterator[None]:
    """Uses deterministic algorithms inside the block, if asked for; restores the settings on exit."""
    if not hardware.deterministic:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark


def _best_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    if device.type == "cpu":
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        supported = supported or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
        return torch.bfloat16 if supported else torch.float32
    return torch.float32


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
