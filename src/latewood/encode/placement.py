"""Where a model computes, in which numbers, and how much at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from latewood.errors import UnavailableError, UsageError

__all__ = ["DTYPES", "Placement", "side_by_side", "token_budget", "workers"]

DTYPES = ("float32", "bfloat16", "float16")

Given = TypeVar("Given")
Made = TypeVar("Made")

# Small batches stay in a CPU's cache (docs/encoding.md has the figures); a GPU wants large ones.
_CPU_TOKENS = 1024
_GPU_TOKENS = 65536


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a model runs.

    Args:
        device: as torch names it, "cpu", "cuda", "cuda:1", "mps"; "auto" for the first CUDA GPU, or the CPU where
            there is none.
        dtype: what it computes in, one of `DTYPES`. Vectors are float32 whatever it is.
        batch_size: windows of one forward pass; None for as many as a number of tokens allows, which is best nearly
            always.

    Raises:
        UsageError: a dtype or batch size that can't be.
    """

    device: str = "auto"
    dtype: str = "float32"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype: got {self.dtype!r}, expected one of {', '.join(DTYPES)}")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"batch size: got {self.batch_size}, expected at least 1")

    def resolved(self) -> str:
        """The device, "auto" decided and what isn't there refused. Imports torch.

        Raises:
            UsageError: no name of a device.
            UnavailableError: this machine, or this build of torch, doesn't have it.
        """
        import torch

        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            device = torch.device(self.device)
        except (RuntimeError, TypeError):
            raise UsageError(f"device: got {self.device!r}, expected auto, cpu, cuda, cuda:1 or mps") from None
        try:
            torch.empty(1, device=device)
        except Exception as error:  # each backend has its own way to say that it isn't there
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UnavailableError(
                f"device {self.device!r} can't be used here ({reason[0][:120]}): "
                f"give cpu, or install a torch that is built for it"
            ) from None
        return self.device


def token_budget(model: Any) -> int:
    """Tokens of one forward pass, padding included, on the device where the model is."""
    return _CPU_TOKENS if model.device.type == "cpu" else _GPU_TOKENS


def workers(model: Any) -> int:
    """How many batches `side_by_side` has on the way at a time."""
    import torch

    return int(torch.get_num_threads()) if model.device.type == "cpu" else 1


def side_by_side(model: Any, work: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """`work` on each item, in order; on a CPU as many at a time as torch has threads, each on one thread.

    Two batches on a thread each take less time than one after the other on two threads, which wait for each other at
    every layer, and longer still where something else runs on the machine. And a result is the same for any number of
    threads.
    """
    import torch

    threads = workers(model)
    if threads == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads, "latewood-encode", initializer=torch.set_num_threads, initargs=(1,))
    try:
        made = pool.map(work, items)
        # A thread that sets its own number sets that of threads to come as well: put it back.
        torch.set_num_threads(threads)
        yield from made
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
