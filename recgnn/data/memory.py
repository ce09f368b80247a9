"""The C allocator's settings for training on CPU."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc reuse the memory of large tensors instead of handing it back to the kernel each time.

    A training step on CPU makes and frees matrices of the size of the embedding tables; by default each is mapped
    afresh and its pages are zeroed by the kernel, which costs as much as the products (Gowalla, 2 cores: 83 ms a
    step, 53 ms with this). The peak memory stays the same; it is only held until the process ends. All threads share
    one arena, so that what the backward pass frees serves the forward pass too (DeepFM, 390,000 values: 63 MB less).

    Returns:
        Whether the platform has such settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    wanted = ((M_MMAP_THRESHOLD, LARGEST), (M_TRIM_THRESHOLD, LARGEST), (M_ARENA_MAX, 1))
    return all([mallopt(*option) for option in wanted])


def release_memory() -> None:
    """Gives what was freed, by Arrow too, back to the system: after work that is done once."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
