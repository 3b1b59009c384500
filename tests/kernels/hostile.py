"""Operators of model files with something wrong in them: attributes, shapes, lengths of weights, NaN among the values.

A case is drawn from a seed and knows its answer: what the operator computes in plain PyTorch, or that it is refused. So
a binding that neither refuses nor computes the same is found out, and not only one that crashes.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from mfedge import ops
from mfedge.kernels import layout
from mfedge.kernels.layout import PADDING_ROWS, Config, Kind

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

CONFIGS = {
    "Stem": Config(12, 24, 20, stride=2, tokens=5, heads=2),
    "Block": Config(12, 36, 20, 0, 1, tokens=5, token_dim=24, heads=5, former_heads=4, ffn=40, hyper=6),
    "Down": Config(12, 24, 20, 60, 2, tokens=3, token_dim=16, heads=2, former_heads=2, hyper=4),
    "Head": Config(in_channels=20, expand=30, tokens=5, token_dim=24, hidden=50, classes=7),
    "MobileToFormer": Config(heads=4),
    "FormerToMobile": Config(heads=4),
    "DynamicRelu": Config(),
}
OPERATORS: dict[str, Any] = {
    "Stem": ops.stem, "Block": ops.block, "Head": ops.head, "MobileToFormer": ops.mobile_to_former,
    "FormerToMobile": ops.former_to_mobile, "DynamicRelu": ops.dynamic_relu,
}  # fmt: skip
SCALE = 0.3
NUMBERS = (
    -(2**63), -(2**31) - 1, -(2**31), -65536, -2, -1, 0, 1, 2, 3, 4, 5, 6, 8, 12, 20, 24, 1024, 16384, 16385, 2**16 + 5,
    2**20, 2**24 + 1, 2**31 - 1, 2**31, 2**32 + 1, 2**40, 2**63 - 1,
)  # fmt: skip
SIZES = (0, 1, 2, 3, 5, 7, 12, 13, 20, 24)  # of a dimension


class Case(NamedTuple):
    """One operator, as a model file has it."""

    name: str  # of the operator: "Block"
    inputs: Arrays
    constants: Arrays
    fields: dict[str, int]  # every integer of mfedge_config, whether the operator has it or not
    seed: int

    def __str__(self) -> str:
        shapes = {name: array.shape for name, array in {**self.inputs, **self.constants}.items()}
        return f"seed {self.seed}: {self.name} {shapes} {self.fields}"

    @property
    def attributes(self) -> dict[str, Any]:
        """Those that the operator has."""
        if self.name == "DynamicRelu":
            return {}
        return {"heads": self.fields["heads"], "scale": SCALE} if "To" in self.name else self.fields

    @property
    def sizes(self) -> dict[str, int]:
        """Its attributes that are integers."""
        return {name: value for name, value in self.attributes.items() if name != "scale"}

    def tokens(self) -> list[Array]:
        """Inputs with a row per token."""
        return [array for name, array in self.inputs.items() if name in ("query", "key", "value") and array.ndim > 1]

    def expected(self) -> list[Array] | None:
        """What the operator computes; None if it is none, or its inputs do not fit, or the kernels do not take them."""
        empty = not all(array.size for array in self.inputs.values())
        if empty or ("To" in self.name and any(len(array[0]) > layout.MAX_TOKENS for array in self.tokens())):
            return None
        tensors = [torch.from_numpy(array) for array in (*self.inputs.values(), *self.constants.values())]
        rest: tuple[Any, ...] = (list(self.fields.values()),)
        if self.name == "DynamicRelu":
            rest = ()
        elif "To" in self.name:
            rest = (self.fields["heads"], SCALE)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MFEDGE_NATIVE", "0")
            try:
                found = OPERATORS[self.name](*tensors, *rest)
            except (ValueError, RuntimeError, OverflowError):
                return None
        return [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]


def sound(which: str, seed: int = 0) -> Case:
    """One of CONFIGS, with nothing wrong in it."""
    config, name = CONFIGS[which], "Block" if which == "Down" else which
    generator = np.random.default_rng((seed, len(which)))

    def draw(*shape: int) -> Array:
        return generator.standard_normal(shape).astype(np.float32)

    if name == "Stem":
        inputs = {"images": draw(2, 3, 13, 10)}
    elif config.in_channels:
        inputs = {
            "features": draw(2, config.in_channels, 5 + PADDING_ROWS, 7),
            "tokens": draw(1, config.tokens, config.token_dim),
            "attended": draw(2, config.tokens, config.in_channels),
        }
    else:
        inputs = {"features": draw(2, 12, 5, 7)}
        names = {"MobileToFormer": ["query"], "FormerToMobile": ["key", "value"], "DynamicRelu": ["slope1", "slope2"]}
        inputs |= {name: draw(1, 12) if "slope" in name else draw(1, 5, 12) for name in names[name]}
    constants = {}
    if config.in_channels:
        parts = {"weights": layout.vectors, "matrices": layout.matrices}
        sizes = {part: layout.count(of(Kind[name.upper()], config)) for part, of in parts.items()}
        constants = {part: 0.3 * draw(size) for part, size in sizes.items() if size}
    return Case(name, inputs, constants, config._asdict(), seed)


def hostile(seed: int) -> Case:
    """One of CONFIGS with up to three things wrong, some of which may be harmless."""
    choose = random.Random(seed)
    which = choose.choice(list(CONFIGS))
    case = sound(which, seed)
    for _ in range(choose.randint(1, 3)):
        change = choose.choice(("field", "field", "shape", "rank", "length", "nan"))
        name = choose.choice(list(case.inputs))
        array = case.inputs[name]
        if change == "field" and case.sizes:
            case.fields[choose.choice(list(case.sizes))] = choose.choice(NUMBERS)
        elif change == "shape" and array.ndim:
            shape = list(array.shape)
            shape[choose.randrange(array.ndim)] = choose.choice(SIZES)
            case.inputs[name] = np.ones(shape, np.float32)
        elif change == "rank":
            rank = choose.randint(1, 6)
            case.inputs[name] = np.ones((*array.shape, *(1,) * rank)[:rank], np.float32)
        elif change == "length" and case.constants:
            name = choose.choice(list(case.constants))
            length = max(1, choose.choice((1, case.constants[name].size - 1, case.constants[name].size + 1)))
            case.constants[name] = np.ones(length, np.float32)
        elif array.size:
            array.flat[choose.randrange(array.size)] = np.nan
    return case


def assert_same(found: list[Array], case: Case, expected: list[Array]) -> None:
    """NaN where PyTorch has NaN, infinity where it has infinity, and close to it elsewhere."""
    assert len(found) == len(expected), case
    for array, wanted in zip(found, expected, strict=True):
        assert array.shape == wanted.shape, case
        largest = np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-6)
        np.testing.assert_allclose(array, wanted, rtol=0, atol=1e-4 * largest, equal_nan=True, err_msg=str(case))
