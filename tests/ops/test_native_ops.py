"""A whole block as one operator: it is its reference, natively and not; it has its gradient; it is never stale."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mfedge import ops
from mfedge.errors import MissingRuntimeError
from mfedge.kernels import find as native
from mfedge.kernels import layout, library
from mfedge.kernels.layout import Config, Kind
from mfedge.ops import packed
from mfedge.ops.block import linear, parts, token_side, unpad

BUILT = pytest.mark.skipif(native.find("kernels") is None, reason="the native kernels are not built")
WHOLE: dict[Kind, tuple[Any, Callable[..., Any]]] = {
    Kind.STEM: (ops.stem, ops.stem_reference),
    Kind.BLOCK: (ops.block, ops.block_reference),
    Kind.HEAD: (ops.head, ops.head_reference),
}
KINDS = pytest.mark.parametrize("kind", WHOLE, ids=lambda kind: kind.name.lower())


@st.composite
def cases(draw: st.DrawFn, kind: Kind) -> tuple[Config, tuple[int, int, int], bool, int]:
    """Sizes of an operator, (B, H, W), whether the tokens have a batch of 1, and a seed."""
    heads, stride = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2]))
    out = heads * draw(st.integers(1, 11))
    C = out if draw(st.booleans()) else draw(st.integers(1, 44))  # with its skip, or not
    config = Config(C, draw(st.integers(1, 40)), out, stride=stride, tokens=draw(st.integers(1, 16)), heads=heads)
    if kind is Kind.STEM or stride == 2:
        config = config._replace(expand=C * draw(st.integers(1, 6)))
    if kind is not Kind.STEM:
        former_heads = draw(st.sampled_from([1, 2, 4]))
        config = config._replace(
            expand2=0 if stride == 1 else out * draw(st.integers(1, 5)),
            token_dim=4 * draw(st.integers(1, 12)), former_heads=former_heads,
            ffn=draw(st.sampled_from([0, 7, 96])), hyper=draw(st.sampled_from([0, 1, 13])),
        )  # fmt: skip
    if kind is Kind.HEAD:
        config = Config(
            C, config.expand, tokens=config.tokens, token_dim=config.token_dim,
            hidden=draw(st.integers(1, 50)), classes=draw(st.integers(1, 40)),
        )  # fmt: skip
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 23), st.integers(1, 37)))
    return config, size, draw(st.booleans()), draw(st.integers(0, 1 << 30))


def arguments(
    kind: Kind, config: Config, size: tuple[int, int, int] = (2, 9, 14), broadcast: bool = False, seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> list[Any]:  # fmt: skip
    """Random arguments: weights of deviation fan-in^-1/2, biases and gains away from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    B, H, W = size
    found: list[Any] = [draw(B, 3, H, W)]
    if kind is not Kind.STEM:
        found = [draw(B, config.in_channels, H + layout.PADDING_ROWS, W)]  # what is in the padding makes no difference
        found.append(draw(1 if broadcast else B, config.tokens, config.token_dim))
        found.append(draw(B, config.tokens, config.in_channels))
    for parted in (layout.vectors(kind, config), layout.matrices(kind, config)):
        if parted:
            drawn = [draw(*shape) / max(1, np.prod(shape[1:])) ** 0.5 for _, shape in parted]
            found.append(torch.cat([part.flatten() for part in drawn]))
    return [*found, list(config)]


def config_of(kind: Kind, stride: int = 1) -> Config:
    """Small sizes that are no multiples of a vector's width."""
    both = Config(6, 18, 6, 0, stride, 3, 12, 2, 4, 24, 3)
    if kind is Kind.STEM:
        return Config(6, 18, 6, stride=stride, tokens=3, heads=2)
    if kind is Kind.HEAD:
        return Config(6, 18, tokens=3, token_dim=12, hidden=20, classes=7)
    return both._replace(expand2=12) if stride == 2 else both


def tensors(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def assert_same(found: Any, expected: Any, tolerance: float = 2e-5) -> None:
    for mine, wanted in zip(tensors(found), tensors(expected), strict=True):
        assert mine.shape == wanted.shape and mine.dtype == wanted.dtype
        assert (mine - wanted).abs().max() <= tolerance * wanted.abs().max().clamp(min=1e-3)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Kind]:
    """The kinds of native operators that are made from here on."""
    made: list[Kind] = []

    original = packed.Operator

    def make(kind: Kind, *args: Any, **kwargs: Any) -> packed.Operator:
        made.append(kind)
        return original(kind, *args, **kwargs)

    monkeypatch.setattr(packed, "Operator", make)
    return made


@pytest.fixture
def switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MFEDGE_NATIVE", "0")


@BUILT
@KINDS
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_native_kernel_is_the_reference(kind: Kind, data: st.DataObject) -> None:
    config, size, broadcast, seed = data.draw(cases(kind))
    operator, reference = WHOLE[kind]
    args = arguments(kind, config, size, broadcast, seed)
    exact = [arg.double() if isinstance(arg, Tensor) else arg for arg in args]
    expected = [value.float() for value in tensors(reference(*exact))]
    assert_same(operator(*args), expected)
    assert_same(reference(*args), expected)


@KINDS
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_shape_function_tells_the_truth(kind: Kind, data: st.DataObject) -> None:
    config, size, broadcast, seed = data.draw(cases(kind))
    args = arguments(kind, config, size, broadcast, seed)
    operator, reference = WHOLE[kind]
    fake = operator(*(arg.to("meta") if isinstance(arg, Tensor) else arg for arg in args))
    for shape, real in zip(tensors(fake), tensors(reference(*args)), strict=True):
        assert shape.shape == real.shape
    with FlopCounterMode(display=False) as counter:
        operator(*args)
    assert counter.get_total_flops() == 2 * layout.madds(kind, config, args[0].shape)


@pytest.mark.parametrize("kind", [Kind.STEM, Kind.BLOCK], ids=["stem", "block"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_attended_to_is_the_map_that_comes_out(kind: Kind, data: st.DataObject) -> None:
    """By the operator and by its twin: with the query of the tokens that come out beside it, or the stem's constant."""
    config, size, broadcast, seed = data.draw(cases(kind))
    args = arguments(kind, config, size, broadcast, seed)
    for call in WHOLE[kind]:
        features, *tokens, attended = call(*args)
        if kind is Kind.STEM:
            query = args[1][-config.tokens * config.out_channels :].view(1, config.tokens, config.out_channels)
        else:
            query = linear(tokens[0], parts(kind, config, *args[3:5]), "next.mobile_to_former.query")
        assert_same(attended, ops.mobile_to_former_reference(unpad(features), query, config.heads, 1.0))


@KINDS
def test_zeros_follow_the_pixels_of_a_map(kind: Kind) -> None:
    """They go out, and whatever comes in their place is not read, even if it is no number."""
    for stride in (1, 2):
        args = arguments(kind, config_of(kind, stride))
        for call in WHOLE[kind]:
            before = tensors(call(*args))
            if kind is not Kind.HEAD:
                assert not before[0][:, :, -1].any() and before[0][:, :, -2].any()
            if kind is not Kind.STEM:
                other = args[0].clone()
                other[:, :, -1] = torch.nan
                assert all(map(torch.equal, tensors(call(other, *args[1:])), before))


@BUILT
@pytest.mark.parametrize("token", [0, 2, -1])
def test_a_value_far_larger_than_the_others_leaves_its_own_rounding_at_most(token: int) -> None:
    """Mobile←Former subtracts the last token's value from the others, whatever its weight."""
    generator = torch.Generator().manual_seed(5)
    features, key, value = (
        torch.randn(shape, generator=generator) for shape in ((2, 12, 9, 7), (1, 6, 12), (1, 6, 12))
    )
    value[:, token] *= 1e4
    found = ops.former_to_mobile(features, key, value, 2, 1.0)
    expected = ops.former_to_mobile_reference(features.double(), key.double(), value.double(), 2, 1.0)
    assert (found - expected).abs().max() <= 4e-7 * value.abs().max()


@pytest.mark.parametrize("kind", [Kind.BLOCK, Kind.HEAD], ids=["block", "head"])
def test_the_bridge_reads_what_was_attended_to(kind: Kind) -> None:
    """And of the map nothing: what a block makes of its tokens is the same whatever stands in it."""
    for call in WHOLE[kind]:
        args = arguments(kind, config_of(kind))
        before = tensors(call(*args))
        args[2] = args[2] + 1
        assert all((a - b).abs().max() > 1e-3 for a, b in zip(before, tensors(call(*args)), strict=True))
        if kind is Kind.BLOCK:
            tokens = call(*args)[1]
            args[0] = -args[0]
            assert torch.equal(call(*args)[1], tokens)


@BUILT
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_token_side_alone(data: st.DataObject) -> None:
    """MFEDGE_TOKENS has no map, and so no query of it."""
    config, (B, _, _), broadcast, seed = data.draw(cases(Kind.BLOCK))
    _, tokens, attended, *_ = arguments(Kind.BLOCK, config, (B, 1, 1), broadcast, seed)
    generator = torch.Generator().manual_seed(seed)
    weights, matrices = (
        torch.randn(layout.count(parts), generator=generator) / 3
        for parts in (layout.vectors(Kind.TOKENS, config), layout.matrices(Kind.TOKENS, config))
    )
    expected = token_side(attended, tokens, parts(Kind.TOKENS, config, weights, matrices), config)
    found = packed.Operator(Kind.TOKENS, config, weights, matrices)(attended, tokens)
    assert_same([found[0], *found[-2:]], [expected.tokens, expected.key, expected.value], 1e-4)
    if config.hyper:  # else there are no slopes to tell
        assert_same(found[1:3], [expected.slopes1, expected.slopes2], 1e-4)


@BUILT
@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from([*WHOLE, Kind.TOKENS]))
def test_the_library_and_the_layout_agree_on_sizes(data: st.DataObject, kind: Kind) -> None:
    config, *_ = data.draw(cases(Kind.BLOCK if kind is Kind.TOKENS else kind))
    expected = layout.count(layout.vectors(kind, config)), layout.count(layout.matrices(kind, config))
    assert library.count_weights(kind, config) == expected


@KINDS
@pytest.mark.parametrize("stride", [1, 2])
def test_the_operator_is_registered_as_torch_wants_it(kind: Kind, stride: int) -> None:
    operator = getattr(torch.ops.mfedge, kind.name.lower()).default
    args = [a.requires_grad_() if isinstance(a, Tensor) else a for a in arguments(kind, config_of(kind, stride))]
    torch.library.opcheck(operator, args)


@KINDS
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("broadcast", [False, True])
def test_the_gradient_is_the_numerical_one(kind: Kind, stride: int, broadcast: bool) -> None:
    """Of every input and every weight, in float64, along a random direction."""
    config = config_of(kind, stride)
    args = arguments(kind, config, (2, 5, 3), broadcast, 3, torch.float64)
    args = [a.requires_grad_() if isinstance(a, Tensor) else a for a in args]
    assert torch.autograd.gradcheck(WHOLE[kind][0], args, fast_mode=True)


@KINDS
def test_the_gradient_of_a_native_run_is_the_references(kind: Kind) -> None:
    operator, reference = WHOLE[kind]
    grads = []
    for call in (operator, reference):
        args = arguments(kind, config_of(kind))
        inputs = [a.requires_grad_() for a in args[: 1 if kind is Kind.STEM else 3]]
        sum(value.square().sum() for value in tensors(call(*args))).backward()
        grads.append([value.grad for value in inputs])
    assert_same(grads[0], grads[1], 1e-4)


@BUILT
@KINDS
def test_an_operator_is_made_once(kind: Kind, counted: list[Kind]) -> None:
    args = arguments(kind, config_of(kind))
    first = tensors(WHOLE[kind][0](*args))
    second = tensors(WHOLE[kind][0](*args))
    assert counted == [kind]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


WRITES: dict[str, Callable[[Tensor], Any]] = {
    "in place": lambda weights: weights.mul_(0.5),
    "one element": lambda weights: weights.__setitem__(0, 3.0),
    "a view": lambda weights: weights.view(1, -1)[0, :2].add_(2),
    "another storage": lambda weights: setattr(weights, "data", weights.detach() * 0.5),
}


@BUILT
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("which", ["weights", "matrices"])
def test_a_weight_that_changes_is_never_stale(write: str, which: str, counted: list[Kind]) -> None:
    args = arguments(Kind.BLOCK, config_of(Kind.BLOCK))
    before = ops.block(*args)
    with torch.no_grad():
        WRITES[write](args[3 if which == "weights" else 4])
    after = ops.block(*args)
    assert_same(after, ops.block_reference(*args))
    assert any(not torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(before, after, strict=True))
    assert counted == [Kind.BLOCK] * 2


@BUILT
def test_other_sizes_of_the_same_weights_are_another_operator() -> None:
    """Two heads or one: as many weights."""
    args = arguments(Kind.BLOCK, config_of(Kind.BLOCK))
    ops.block(*args)
    args[-1] = list(Config(*args[-1])._replace(heads=1))
    assert_same(ops.block(*args), ops.block_reference(*args))


@BUILT
def test_what_the_kernels_do_not_take_the_references_compute(counted: list[Kind]) -> None:
    """More tokens than they have registers for, more heads, other types, nothing at all."""
    packed.without_weights.cache_clear()
    x, many = torch.randn(2, 4, 5, 3), torch.randn(2, layout.MAX_TOKENS + 1, 4)
    assert_same(ops.mobile_to_former(x, many, 2, 1.0), ops.mobile_to_former_reference(x, many, 2, 1.0), 0)
    assert_same(ops.former_to_mobile(x, many, many, 2, 1.0), ops.former_to_mobile_reference(x, many, many, 2, 1.0), 0)
    assert ops.dynamic_relu(x.double(), torch.ones(1, 4).double(), torch.zeros(1, 4).double()).dtype is torch.float64
    assert ops.dynamic_relu(x[:0], torch.ones(1, 4), torch.zeros(1, 4)).shape == (0, 4, 5, 3)
    wide = torch.randn(1, 2 * (layout.MAX_HEADS + 1), 2, 2)
    query = torch.randn(1, 2, wide.shape[1])
    assert_same(
        ops.mobile_to_former(wide, query, layout.MAX_HEADS + 1, 1.0),
        ops.mobile_to_former_reference(wide, query, layout.MAX_HEADS + 1, 1.0), 0,
    )  # fmt: skip
    assert counted == []
    few = many[:, : layout.MAX_TOKENS]
    assert_same(ops.mobile_to_former(x, few, 2, 1.0), ops.mobile_to_former_reference(x, few, 2, 1.0))
    assert_same(ops.former_to_mobile(x, few, few, 2, 1.0), ops.former_to_mobile_reference(x, few, few, 2, 1.0))
    slopes = torch.randn(1, 4), torch.randn(2, 4)  # one of all images, one of each
    assert_same(ops.dynamic_relu(x, *slopes), ops.dynamic_relu_reference(x, *slopes))
    assert counted == [Kind.MOBILE_TO_FORMER, Kind.FORMER_TO_MOBILE, Kind.DYNAMIC_RELU]


@BUILT
def test_an_operator_goes_with_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Any]] = []
    original = packed.Operator

    def make(*args: Any, **kwargs: Any) -> packed.Operator:
        operator = original(*args, **kwargs)
        made.append(weakref.ref(operator))
        return operator

    monkeypatch.setattr(packed, "Operator", make)
    args = arguments(Kind.BLOCK, config_of(Kind.BLOCK))
    ops.block(*args)
    assert made[0]() is not None
    del args
    gc.collect()
    assert made[0]() is None


@BUILT
def test_weights_in_training_are_not_packed(counted: list[Kind]) -> None:
    args = arguments(Kind.BLOCK, config_of(Kind.BLOCK))
    args[3].requires_grad_()
    assert_same(ops.block(*args), ops.block_reference(*args), 0)
    assert counted == []


@BUILT
def test_weights_made_in_inference_mode_are_not_packed(counted: list[Kind]) -> None:
    with torch.inference_mode():
        args = arguments(Kind.BLOCK, config_of(Kind.BLOCK))
        assert_same(ops.block(*args), ops.block_reference(*args), 0)
        args[3] *= 2
        assert_same(ops.block(*args), ops.block_reference(*args), 0)
    assert counted == []


def test_native_kernels_can_be_switched_off(switched_off: None, counted: list[Kind]) -> None:
    for kind, (operator, reference) in WHOLE.items():
        args = arguments(kind, config_of(kind))
        assert_same(operator(*args), reference(*args), 0)
    assert counted == []


@BUILT
def test_half_matrices_are_those_numbers() -> None:
    config = config_of(Kind.BLOCK)
    *inputs, weights, matrices, _ = arguments(Kind.BLOCK, config)
    found = packed.Operator(Kind.BLOCK, config, weights, matrices.half())(*inputs)
    assert_same(found, ops.block_reference(*inputs, weights, matrices.half().float(), config))


@BUILT
def test_any_memory_layout_and_numpy() -> None:
    args = arguments(Kind.BLOCK, config_of(Kind.BLOCK))
    expected = ops.block_reference(*args)
    transposed = [value.mT.contiguous().mT for value in args[1:3]]
    assert_same(ops.block(args[0].to(memory_format=torch.channels_last), *transposed, *args[3:]), expected)
    operator = library.Operator(Kind.BLOCK, args[-1], *(value.numpy() for value in args[3:5]))
    found = operator.run(*(value.numpy() for value in args[:3]))
    assert all(isinstance(value, np.ndarray) for value in found)
    assert_same([torch.from_numpy(value) for value in found], expected)


@BUILT
def test_threads_share_an_operator() -> None:
    args = arguments(Kind.BLOCK, config_of(Kind.BLOCK), (1, 31, 45))
    images = [torch.randn_like(args[0]) for _ in range(16)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: ops.block(image, *args[1:]), images))
    for image, result in zip(images, found, strict=True):
        assert_same(result, ops.block_reference(image, *args[1:]))


@BUILT
def test_what_the_library_refuses_is_said() -> None:
    config = config_of(Kind.BLOCK)
    features, tokens, attended, weights, matrices, _ = arguments(Kind.BLOCK, config)
    with pytest.raises(ValueError, match=rf"weights: expected {len(weights)} values, found {len(weights) - 1}"):
        packed.Operator(Kind.BLOCK, config, weights[:-1], matrices)
    with pytest.raises(ValueError, match="tokens: expected 1 to 16, found 17"):
        packed.Operator(Kind.BLOCK, config._replace(tokens=17), weights, matrices)
    with pytest.raises(ValueError, match=r"expected float32 weights .*found float64 and float32"):
        packed.Operator(Kind.BLOCK, config, weights.double(), matrices)
    operator = packed.Operator(Kind.BLOCK, config, weights, matrices)
    with pytest.raises(ValueError, match=r"features: expected \(B, 6, H \+ 1, W\), found \(2, 5, 10, 14\)"):
        operator(features[:, :-1], tokens, attended)
    for wrong in (attended[:1], attended[:, :-1], attended[..., :-1], attended[0]):
        with pytest.raises(ValueError, match=r"attended: expected \(2, 3, 6\)"):
            operator(features, tokens, wrong)
    with pytest.raises(ValueError, match="3 inputs"):
        operator(features, tokens)
    with pytest.raises(ValueError, match="float32"):
        operator(features.double(), tokens, attended)


def test_a_library_that_is_not_built_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MFEDGE_NATIVE_LIB", str(tmp_path))
    with pytest.raises(MissingRuntimeError, match="install a C\\+\\+ compiler") as caught:
        native.path("onnxruntime")
    assert "\n" not in str(caught.value)
    assert not library.enabled()
    (tmp_path / "libmfedge_kernels.so").write_bytes(b"no library")
    with pytest.raises(MissingRuntimeError, match="cannot be loaded"):
        library.load()


block_args = arguments(Kind.BLOCK, config_of(Kind.BLOCK))


def changed(kind: Kind = Kind.BLOCK, **fields: int) -> list[int]:
    return list(config_of(kind)._replace(**fields))


@pytest.mark.parametrize(
    ("position", "value", "named"),
    [
        (0, torch.zeros(2, 7, 9, 14), r"features: expected \(B, 6, H \+ 1, W\), found \(2, 7, 9, 14\)"),
        (0, torch.zeros(6, 9, 14), r"features: .*found \(6, 9, 14\)"),
        (0, torch.zeros(2, 6, 1, 14), r"features: expected \(B, 6, H \+ 1, W\), found \(2, 6, 1, 14\)"),
        (1, torch.zeros(2, 3, 13), r"tokens: expected \(B or 1, 3, 12\), found \(2, 3, 13\)"),
        (1, torch.zeros(2, 4, 12), r"tokens: expected \(B or 1, 3, 12\), found \(2, 4, 12\)"),
        (1, torch.zeros(3, 3, 12), r"tokens: expected \(B or 1, 3, 12\), found \(3, 3, 12\)"),
        (2, torch.zeros(1, 3, 6), r"attended: expected \(2, 3, 6\), found \(1, 3, 6\)"),
        (2, torch.zeros(2, 4, 6), r"attended: expected \(2, 3, 6\), found \(2, 4, 6\)"),
        (2, torch.zeros(2, 3, 12), r"attended: expected \(2, 3, 6\), found \(2, 3, 12\)"),
        (2, torch.zeros(2, 18), r"attended: expected \(2, 3, 6\), found \(2, 18\)"),
        (3, block_args[3][:-1], rf"weights: expected \({len(block_args[3])}\), found \({len(block_args[3]) - 1}\)"),
        (4, block_args[4].view(1, -1), rf"matrices: expected \({len(block_args[4])}\), found"),
        (5, block_args[5][:-1], "13 integers"),
        (5, changed(stride=3), "stride: expected 1 to 2, found 3"),
        (5, changed(heads=4), "heads: expected a divisor of out_channels 6, found 4"),
        (5, changed(heads=0), "heads: expected 1 to 64, found 0"),
        (5, changed(former_heads=5), "former_heads: expected a divisor of token_dim 12, found 5"),
        (5, changed(tokens=17), "tokens: expected 1 to 16, found 17"),
        (5, changed(hyper=-1), "hyper: expected 0 to 16384, found -1"),
        (5, changed(stride=2), "expand2: expected 1 to 16384, found 0"),
        (5, changed(ffn=25), "weights"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_shapes_that_do_not_fit_are_named(position: int, value: Any, named: str, device: str) -> None:
    refused(Kind.BLOCK, position, value, named, device)


@pytest.mark.parametrize(
    ("kind", "position", "value", "named"),
    [
        (Kind.STEM, 2, changed(Kind.STEM, tokens=0), "tokens: expected 1 to 16, found 0"),
        (Kind.STEM, 2, changed(Kind.STEM, tokens=17), "tokens: expected 1 to 16, found 17"),
        (Kind.STEM, 2, changed(Kind.STEM, tokens=4), "weights"),
        (Kind.STEM, 2, changed(Kind.STEM, heads=0), "heads: expected 1 to 64, found 0"),
        (Kind.STEM, 2, changed(Kind.STEM, heads=4), "heads: expected a divisor of out_channels 6, found 4"),
        (Kind.HEAD, 2, torch.zeros(1, 3, 6), r"attended: expected \(2, 3, 6\), found \(1, 3, 6\)"),
        (Kind.HEAD, 2, torch.zeros(2, 3, 12), r"attended: expected \(2, 3, 6\), found \(2, 3, 12\)"),
        (Kind.HEAD, 5, changed(Kind.HEAD, tokens=17), "tokens: expected 1 to 16, found 17"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_so_are_those_of_both_ends(kind: Kind, position: int, value: Any, named: str, device: str) -> None:
    refused(kind, position, value, named, device)


def refused(kind: Kind, position: int, value: Any, named: str, device: str) -> None:
    args = arguments(kind, config_of(kind))
    args[position] = value
    with pytest.raises(ValueError, match=f"mfedge::{kind.name.lower()}: .*{named}"):
        WHOLE[kind][0](*(arg.to(device) if isinstance(arg, Tensor) else arg for arg in args))
