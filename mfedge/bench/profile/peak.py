"""What one core reaches, measured: float32 multiply-adds and memory bandwidth.

On x86-64 the peak is a loop of independent fused multiply-adds in registers, sixteen or eight numbers wide, and
nothing else; elsewhere, or where a process may not run what it has written, the best matrix product stands in.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import time
from collections.abc import Callable

from mfedge.bench.profile.schema import Peak

ACCUMULATORS = 14  # of 16 registers, two hold the factors: enough for two units of five cycles' latency
ITERATIONS = 200_000
REPEATS = 12
COPY_BYTES = 192 << 20  # far beyond any last-level cache


def measure(cpu: int | None) -> Peak:
    """In a worker, as its libraries must be told to use one thread before they load."""
    from mfedge.bench.measure.driver import ONE_THREAD
    from mfedge.workers.call import isolated
    from mfedge.workers.process import Limits

    return isolated(reached, Limits(), environment=ONE_THREAD)(cpu)


def reached(cpu: int | None) -> Peak:
    """In this process, on that CPU."""
    from mfedge.bench.measure.environment import cpu_flags, pinned

    with pinned(cpu):
        return Peak(peak_madds(cpu_flags()), bandwidth())


def peak_madds(flags: str) -> float:
    """Multiply-adds a second of one core: the best of several short runs."""
    product = _matrix_product()
    for name, width in (("avx512f", 16), ("fma", 8)):
        if platform.machine() in ("x86_64", "AMD64") and os.name == "posix" and name in flags.split():
            try:
                return max(product, _loop(_machine_code(wide=width == 16), width))
            except (OSError, ValueError):  # memory that may be written must not be run here
                break
    return product


def bandwidth() -> float:
    """Bytes a second of a copy of large arrays, reading and writing counted."""
    import numpy as np

    source = np.ones(COPY_BYTES // 8)
    target = np.empty_like(source)
    best = _best(lambda: np.copyto(target, source), 4)
    return 2 * source.nbytes / best


def _matrix_product(side: int = 384) -> float:
    import numpy as np

    a = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    out = np.empty_like(a)
    return side**3 / _best(lambda: np.matmul(a, a, out=out), REPEATS)


def _loop(code: bytes, width: int) -> float:
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    function = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(address)
    return ITERATIONS * ACCUMULATORS * width / _best(lambda: function(ITERATIONS), REPEATS)


def _machine_code(wide: bool) -> bytes:
    """zero registers 0 … 15; do register[i] += register[14] · register[15] for i < 14; while (--count).

    Encodings: Intel SDM volume 2, VEX and EVEX prefixes. `count` is the first argument, in rdi.
    """
    code = bytearray()
    for i in range(16):  # vxorps xmm_i, xmm_i, xmm_i: clears the whole register
        operand = ~i & 15
        modrm = 0xC0 | (i & 7) << 3 | (i & 7)
        code += (
            bytes([0xC5, 0x80 | operand << 3, 0x57, modrm]) if i < 8 else bytes([0xC4, 0x41, operand << 3, 0x57, modrm])
        )
    start = len(code)
    for i in range(ACCUMULATORS):  # vfmadd231ps zmm_i or ymm_i, _14, _15
        modrm = 0xC7 | (i & 7) << 3
        if wide:
            code += bytes([0x62, 0xD2 if i < 8 else 0x52, 0x0D, 0x48, 0xB8, modrm])
        else:
            code += bytes([0xC4, 0xC2 if i < 8 else 0x42, 0x0D, 0xB8, modrm])
    code += bytes([0x48, 0xFF, 0xCF])  # dec rdi
    code += bytes([0x75, (start - (len(code) + 2)) & 0xFF])  # jnz
    return bytes(code + bytes([0xC5, 0xF8, 0x77, 0xC3]))  # vzeroupper; ret


def _best(action: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest run, after one that does not count."""
    action()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best
