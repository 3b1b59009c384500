"""A spec that is wrong is refused in one line: the field, what was found, what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mfedge.errors import UsageError
from mfedge.families.mobile_former.spec import MobileFormerSpec
from mfedge.families.spec import to_dict
from mfedge.zoo import build, load_spec, variants


def refused(variant: str, *overrides: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_spec(variant, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_seven_and_the_four_ship_smallest_first() -> None:
    names = variants()
    assert names[:7] == [f"mobile-former-{size}m" for size in (26, 52, 96, 151, 214, 294, 508)]
    assert set(names[7:]) == {"mobilenet-v3-large", "mobilenet-v3-large-0.75", "mobilenet-v3-large-1.25",
                              "mobilenet-v3-small"}  # fmt: skip


@pytest.mark.parametrize("variant", variants())
def test_a_spec_survives_its_plain_form(variant: str) -> None:
    spec = load_spec(variant)
    assert spec.name == variant
    assert msgspec.convert(json.loads(json.dumps(to_dict(spec))), type(spec)) == spec


def test_the_short_name_is_the_same_network() -> None:
    assert load_spec("214m") == load_spec("mobile-former-214m")


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("tokens=3", "tokens", 3),
        ("tokens = 3", "tokens", 3),
        ("activation=relu", "activation", "relu"),
        ('activation="relu"', "activation", "relu"),
        ("former_ffn=false", "former_ffn", False),
        ("image_size=256", "image_size", 256),
    ],
)
def test_a_field_is_set(override: str, field: str, value: Any) -> None:
    assert getattr(load_spec("26m", [override]), field) == value


def test_the_last_of_two_counts_and_tables_have_fields() -> None:
    spec = load_spec("26m", ["tokens=2", "tokens=4", "head.hidden=64"])
    assert isinstance(spec, MobileFormerSpec)
    assert (spec.tokens, spec.head.hidden, spec.head.channels) == (4, 64, 576)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["token=3"], ["token: no such field", "expected one of", "token_dim"]),
        (["head.width=3"], ["head.width: no such field", "channels, hidden, dropout"]),
        (["paper.speed=3"], ["paper.speed: no such field", "madds_millions"]),
        (["tokens=three"], ["tokens: expected `int`", "found 'three'"]),
        (["tokens=3.5"], ["tokens: expected `int`", "found 3.5"]),
        (["tokens=true"], ["tokens: expected `int`", "found True"]),
        (["tokens=0"], ["tokens: expected `int` >= 1", "found 0"]),
        (["tokens=65"], ["tokens: expected `int` <= 64", "found 65"]),
        (["tokens=-1"], ["tokens", "found -1"]),
        (["tokens=" + "9" * 30], ["tokens", "9" * 30]),
        (["token_dim=130"], ["token_dim: expected a multiple of 4", "found 130"]),
        (["kernel=4"], ["kernel", "found 4"]),
        (["activation=gelu"], ["activation", "found 'gelu'"]),
        (["mobile_only=true"], ["activation", 'expected "relu"']),
        (["activation=spatial-dynamic-relu", "mixing=position-mlp"], ["mixing"]),
        (["groups=5"], ["groups=5", "found"]),
        (["stem=10"], ["blocks[0].expand: expected a multiple of the 10 channels", "found 24"]),
        (["head.dropout=1"], ["head.dropout", "found 1"]),
        (["head.dropout=nan"], ["head.dropout", "found nan"]),
        (["head=3"], ["head: expected `object`", "found 3"]),
        (["blocks=[]"], ["blocks", "found []"]),
        (["blocks=3"], ["blocks: expected `array`", "found 3"]),
        (["blocks.0.out=8"], ["blocks is not a table"]),
        (["family=resnet"], ["family", "found 'resnet'"]),
        (["family=mobilenet-v3"], ["no such field"]),
        (["tokens"], ["FIELD=VALUE"]),
        (["=3"], ["FIELD=VALUE"]),
        (['blocks=[{kind="bneck-lite", expand=24, out=12}]'], ["blocks", "mobile-former"]),
        (['blocks=[{kind="mobile-former", expand=24, out=12, stride=2}]'], ["blocks[0].stride: no such field"]),
        (['blocks=[{kind="dense", expand=24, out=12}]'], ["blocks[0].kind", "found 'dense'"]),
        (['blocks=[{expand=24, out=12}]'], ["blocks[0]", "kind"]),
        (['blocks=[{kind="mobile-former", expand=24}]'], ["blocks[0]", "`out`"]),
        (['blocks=[{kind="mobile-former-down", expand=23, out=12, expand2=48}]', "groups=1"], ["blocks[0].expand"]),
        (['blocks=[{kind="mobile-former", expand=24, out=13}]', "groups=1"], ["blocks[0].out", "even", "13"]),
        (["name="], ["name"]),
        (["name=../../elsewhere"], ["name"]),
        (['name="a/b"'], ["name", "found 'a/b'"]),
    ],
)  # fmt: skip
def test_the_field_what_was_found_and_what_is_allowed(overrides: list[str], parts: list[str]) -> None:
    message = refused("26m", *overrides)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(("override", "part"), [("width=nan", "nan"), ("width=inf", "inf"), ("width=0", "width"),
                                                ("tokens=3", "tokens: no such field"), ("blocks=[{}]", "blocks[0]"),
                                                ("blocks=[3]", "blocks[0]")])  # fmt: skip
def test_mobilenets_fields_are_checked_too(override: str, part: str) -> None:
    assert part in refused("mobilenet-v3-small", override)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=3),
    st.dictionaries(st.sampled_from(["kind", "out", "expand", "x"]), st.integers() | st.just("bneck-lite"), max_size=3),
)  # fmt: skip
FIELDS = [*MobileFormerSpec.__struct_fields__, "family", "base", "head.hidden", "head.dropout", "paper.top1", "x", "é"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FIELDS), VALUES, st.sampled_from(["26m", "mobilenet-v3-small"]))
@example("blocks", [{"kind": 3}], "26m")
@example("x\ny", 1, "26m")
def test_no_value_raises_anything_else(field: str, value: Any, variant: str) -> None:
    try:
        spec = load_spec(variant, [f"{field}={json.dumps(value)}"])
    except UsageError as error:
        message = str(error)
    else:
        message = spec.name
    assert "\n" not in message


def write(folder: Path, text: str, name: str = "mine.toml") -> str:
    (folder / name).write_text(text, "utf-8")
    return str(folder / name)


def test_a_users_file_is_a_variant(tmp_path: Path) -> None:
    path = write(tmp_path, 'base = "26m"\ntokens = 2\n')
    spec = load_spec(path)
    assert isinstance(spec, MobileFormerSpec)
    assert (spec.name, spec.tokens, spec.groups) == ("mine", 2, 4)
    assert build(spec, 10)


def test_a_base_may_be_a_file_with_a_base(tmp_path: Path) -> None:
    first = write(tmp_path, 'base = "26m"\ntokens = 2\nkernel = 5\n', "first.toml")
    spec = load_spec(write(tmp_path, f'base = "{first}"\ntokens = 5\n'))
    assert isinstance(spec, MobileFormerSpec)
    assert (spec.tokens, spec.kernel) == (5, 5)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("tokens = ", "not a TOML file"),
        ("", "family"),
        ("tokens = 3", "family"),
        ("base = 3", "base: expected"),
        ('base = "27m"', "unknown"),
        ('base = "./nowhere.toml"', "no such file"),
        ('base = "26m"\nhead = 3', "head"),
        ("family = []", "family"),
    ],
)
def test_a_bad_file_is_refused(text: str, part: str, tmp_path: Path) -> None:
    assert part in refused(write(tmp_path, text))


def test_a_circle_of_bases_is_refused(tmp_path: Path) -> None:
    second = tmp_path / "second.toml"
    first = write(tmp_path, f'base = "{second}"', "first.toml")
    write(tmp_path, f'base = "{first}"', "second.toml")
    assert "own base" in refused(first)
    itself = write(tmp_path, f'base = "{tmp_path}/itself.toml"', "itself.toml")
    assert "own base" in refused(itself)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"tokens = \xff\xfe")
    assert "not a TOML file" in refused(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_bytes(b"# " + b"x" * (1 << 21))
    assert "at most" in refused(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_bytes(b"a = " + b"[" * 5000)
    refused(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("variant", ["27m", "", "mobile-former", "../26m", "./nowhere.toml", "/", ".", "26m.toml"])
def test_an_unknown_variant_names_what_there_is(variant: str) -> None:
    message = refused(variant)
    assert "no such file" in message or "mobile-former-26m" in message
