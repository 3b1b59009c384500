"""A new fused operator touches five files of mfedge/, and is then known to the kernels, to PyTorch and to every format.

The operator is a toy, added to a copy of the package: a gain and a bias per channel.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels.build import CHECKOUT, SOURCES, missing_tools

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))]

ROW = """
MFEDGE_KIND(AFFINE, 8, Affine, ALL_SIZES, VECTORS,
            MFEDGE_LIST({"features", "BCPW"}),
            MFEDGE_LIST({"features", "BCPW"}),
            "in_channels")
"""
KERNEL = """#pragma once
#include "implementation.h"
#include "strip.h"
#include "weights.h"
MFEDGE_BEGIN_ISA
struct Affine {
  int channels;
  const float* gain;
  const float* bias;
  static Affine read(WeightReader& reader, Arena& arena, const mfedge_config& c) {
    return {c.in_channels, reader.vector(arena, c.in_channels), reader.vector(arena, c.in_channels)};
  }
  void run(Arena& arena, const Call& call) const {
    if (arena.measuring()) return;
    const int height = call.size(0, 2) - MFEDGE_PADDING_ROWS, width = call.size(0, 3), pixels = height * width;
    for (int c = 0; c < channels; ++c) {
      const ptrdiff_t plane = c * plane_stride(height, width);
      for (int i = 0; i < pixels; i += kLanes) {
        const int left = at_most(kLanes, pixels - i);
        store_first(call.out[0] + plane + i, load_first(call.in[0] + plane + i, left) * gain[c] + bias[c], left);
      }
    }
    write_padding(call.out[0], channels, height, width);
  }
};
MFEDGE_END_ISA
"""
OPERATOR = """from __future__ import annotations
from collections.abc import Sequence
from torch import Tensor
from mfedge.kernels.layout import Config, Kind
from mfedge.ops.block import pad, parts, unpad
from mfedge.ops.registry import register_whole


def affine_reference(features: Tensor, weights: Tensor, config: Sequence[int]) -> Tensor:
    p = parts(Kind.AFFINE, Config(*config), weights)
    return pad(unpad(features) * p["affine.weight"][:, None, None] + p["affine.bias"][:, None, None])


affine = register_whole(Kind.AFFINE, affine_reference)
"""
EDITS = {  # file → what is put where
    "kernels/tables/kinds.inc": [
        ('#include "../src/block.h"\n', '#include "../src/affine.h"\n#include "../src/block.h"\n'),
        ("\n#undef MFEDGE_KIND\n", f"{ROW}\n#undef MFEDGE_KIND\n"),
    ],
    "kernels/include/mfedge_kernels.h": [("MFEDGE_DYNAMIC_RELU = 7", "MFEDGE_DYNAMIC_RELU = 7,\n  MFEDGE_AFFINE = 8")],
    "kernels/layout.py": [
        ("    DYNAMIC_RELU = 7\n", "    DYNAMIC_RELU = 7\n    AFFINE = 8\n"),
        (
            "    if kind is Kind.STEM:\n        return (\n",
            '    if kind is Kind.AFFINE:\n        return _norm("affine", c.in_channels)\n'
            "    if kind is Kind.STEM:\n        return (\n",
        ),
    ],
}
NEW = {"kernels/src/affine.h": KERNEL, "ops/affine.py": OPERATOR}
USE = """
import torch
from mfedge import ops
from mfedge.formats.fused import RULES
from mfedge.kernels.layout import Config
from mfedge.ops import packed
from mfedge.ops.affine import affine, affine_reference

weights, config = torch.randn(10), list(Config(in_channels=5))
x = torch.randn(2, 5, 8, 13)
made = []
original = packed.Operator
packed.Operator = lambda *args: made.append(args[0]) or original(*args)
assert torch.allclose(affine(x, weights, config), affine_reference(x, weights, config), atol=1e-6)
assert [kind.name for kind in made] == ["AFFINE"], "the kernel has computed it"
torch.library.opcheck(torch.ops.mfedge.affine.default, (x, weights.requires_grad_(), config))
assert torch.ops.mfedge.affine.default in RULES, "every format writes it"
try:
    affine(x[:, 1:], weights, config)
except ValueError as error:
    assert str(error) == "mfedge::affine: features: expected (B, 5, H + 1, W), found (2, 4, 8, 13)", error
"""


def changed(before: Path, after: Path) -> set[str]:
    """Files that differ, or that only `after` has, without what Python and the compiler leave behind."""
    files = {
        path.relative_to(after)
        for path in after.rglob("*")
        if path.is_file() and not {"__pycache__", "lib"} & set(path.relative_to(after).parts)
    }
    return {
        str(path)
        for path in files
        if not (before / path).is_file() or not filecmp.cmp(before / path, after / path, shallow=False)
    }


def test_a_new_operator_touches_five_files(tmp_path: Path) -> None:
    package = tmp_path / "mfedge"
    shutil.copytree(CHECKOUT / "mfedge", package, ignore=shutil.ignore_patterns("__pycache__", "lib"))
    for name, edits in EDITS.items():
        text = (package / name).read_text()
        for old, new in edits:
            assert text.count(old) == 1, f"{name}: {old}"
            text = text.replace(old, new)
        (package / name).write_text(text)
    for name, text in NEW.items():
        (package / name).write_text(text)
    build = tmp_path / "build"
    for command in (
        ["cmake", "-S", str(package / SOURCES.name), "-B", str(build), "-DMFEDGE_BINDINGS=OFF", "-DMFEDGE_WERROR=ON"],
        ["cmake", "--build", str(build), "--target", "kernels_shared"],
        [sys.executable, "-c", USE],
    ):
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
    assert changed(CHECKOUT / "mfedge", package) == {*EDITS, *NEW} and len(EDITS) + len(NEW) == 5
