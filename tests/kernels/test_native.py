"""The native kernels' C++ tests, compiled and run: every instruction set of this CPU, sanitizers, 64-bit ARM."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfedge import create_model, zoo
from mfedge.deploy import deploy
from mfedge.kernels.layout import Kind
from mfedge.kernels.library import Type
from tests.kernels.build import ISAS, build, missing_tools

pytestmark = pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))

CROSS = "aarch64-linux-gnu"
CROSS_TOOLS = {f"{CROSS}-g++": f"g++-{CROSS}", "qemu-aarch64": "qemu-user"}  # program → Debian package
VARIANTS = [name for name in zoo.variants() if not name.startswith("mobilenet")]


@pytest.fixture(scope="module")
def plain() -> Path:
    return build("plain")


@pytest.fixture(scope="module")
def addresses() -> Path:
    return build("addresses", "-DMFEDGE_SANITIZE=address,undefined")


@pytest.fixture(scope="module")
def races() -> Path:
    return build("races", "-DMFEDGE_SANITIZE=thread")


@pytest.fixture(scope="module")
def clang() -> Path:
    if shutil.which("clang++") is None:
        pytest.skip("no clang++ on PATH")
    return build("clang", "-DCMAKE_CXX_COMPILER=clang++")


@pytest.fixture(scope="module")
def aarch64() -> list[str]:
    """The command that runs the tests compiled for 64-bit ARM."""
    missing = [package for program, package in CROSS_TOOLS.items() if shutil.which(program) is None]
    if missing:
        pytest.skip(f"64-bit ARM: not installed here: apt install {' '.join(missing)}")
    program = build(
        "aarch64",
        "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={CROSS}-g++",
    )  # fmt: skip
    return ["qemu-aarch64", "-L", f"/usr/{CROSS}", str(program)]


def run(*command: str | Path, isa: str | None = None, given: str | None = None) -> str:
    """The output of a test program that must succeed."""
    environment = {**os.environ, **({"MFEDGE_ISA": isa} if isa else {})}
    done = subprocess.run(
        [str(part) for part in command], env=environment, input=given, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr[-4000:]}"
    return done.stdout


def skip_unless_in_use(program: Path, isa: str) -> None:
    if run(program, "isa", isa=isa).strip() != isa:
        pytest.skip(f"this CPU has no {isa}")


def seed() -> str:
    """Another one every time; a failure prints the case."""
    return str(random.SystemRandom().randrange(1 << 32))


def cases_of(variant: str) -> Iterator[str]:
    """Every operator of a network, as the C++ tests read it: its channels, at small and odd sizes."""
    network = deploy(create_model(variant), kernels="native")
    generator = random.Random(variant)
    for part in network.modules():
        kind = type(part).__name__.upper()
        if kind not in Kind.__members__:
            continue
        height, width, batch = generator.randint(1, 15), generator.randint(1, 15), generator.randint(1, 2)
        tokens, stored = generator.choice((1, batch)), generator.choice(list(Type)).value
        numbers = (Kind[kind].value, batch, tokens, height, width, stored, generator.randrange(1 << 32), *part.config)
        yield " ".join(map(str, numbers))


@pytest.mark.parametrize("isa", ISAS)
def test_random_sizes_agree_with_the_twin(plain: Path, isa: str) -> None:
    skip_unless_in_use(plain, isa)
    run(plain, "random", "1", "12", isa=isa)
    run(plain, "random", seed(), "12", isa=isa)


@pytest.mark.parametrize("isa", ISAS)
def test_the_primitive_operations_agree_with_their_plain_forms(plain: Path, isa: str) -> None:
    skip_unless_in_use(plain, isa)
    run(plain, "simd", "101", isa=isa)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS)
def test_erf_is_as_exact_as_its_comment_says_for_every_float32(plain: Path, isa: str) -> None:
    skip_unless_in_use(plain, isa)
    run(plain, "simd", "1", isa=isa)


@pytest.mark.parametrize("isa", ISAS)
def test_nan_comes_out_as_nan(plain: Path, isa: str) -> None:
    """And infinities as the formulas have them, from inputs and from weights, in every kind of operator."""
    skip_unless_in_use(plain, isa)
    run(plain, "undefined", "1", "6", isa=isa)
    run(plain, "undefined", seed(), "6", isa=isa)


@pytest.mark.parametrize("isa", ISAS)
def test_scores_of_any_size(plain: Path, isa: str) -> None:
    skip_unless_in_use(plain, isa)
    run(plain, "scores", "1", "6", isa=isa)
    run(plain, "scores", seed(), "6", isa=isa)


@pytest.mark.parametrize("isa", ISAS)
def test_subnormals_are_zero_and_a_threads_mode_is_its_own(plain: Path, isa: str) -> None:
    skip_unless_in_use(plain, isa)
    run(plain, "modes", seed(), isa=isa)


@pytest.mark.parametrize("isa", ISAS)
def test_very_wide_and_very_high_maps(plain: Path, isa: str) -> None:
    """Of 2.4 million pixels, where a 32-bit product of vectors and blocks has long overflowed."""
    skip_unless_in_use(plain, isa)
    run(plain, "limits", seed(), "2400000", "8", isa=isa)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS)
def test_maps_and_fields_at_their_limits(plain: Path, isa: str) -> None:
    skip_unless_in_use(plain, isa)
    run(plain, "limits", seed(), "2400000", "0", isa=isa)
    run(plain, "limits", seed(), str(1 << 26), "6", isa=isa)  # MFEDGE_MAX_PIXELS; 2.4 GB of memory
    run(plain, "channels", seed(), isa=isa)


@pytest.mark.parametrize("isa", ISAS)
def test_scores_of_every_height_in_every_order(plain: Path, isa: str) -> None:
    """What Mobile→Former corrects, and when, depends on where the highest score is."""
    skip_unless_in_use(plain, isa)
    run(plain, "peaks", "1", isa=isa)
    run(plain, "peaks", seed(), isa=isa)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_networks_blocks_agree_with_the_twin(plain: Path, variant: str) -> None:
    cases = list(cases_of(variant))
    assert len(cases) >= 9
    for isa in ISAS:
        if run(plain, "isa", isa=isa).strip() == isa:
            assert f"{len(cases)} cases" in run(plain, "cases", isa=isa, given="\n".join(cases))


@pytest.mark.parametrize("isa", ISAS)
def test_threads_share_an_operator(plain: Path, isa: str) -> None:
    skip_unless_in_use(plain, isa)
    run(plain, "threads", seed(), isa=isa)


def test_a_child_that_is_forked_while_threads_run(plain: Path) -> None:
    """None of them hangs on a lock that another thread held."""
    run(plain, "fork", seed(), "500")


def test_what_is_wrong_is_refused(plain: Path) -> None:
    run(plain, "hostile", "1", "150")
    run(plain, "hostile", seed(), "150")


def test_an_unknown_instruction_set_is_ignored(plain: Path) -> None:
    best = run(plain, "isa")
    assert best.strip() in ISAS
    assert run(plain, "isa", isa="mmx") == best == run(plain, "isa", isa="")


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS)
def test_addresses_and_undefined_behaviour(addresses: Path, isa: str) -> None:
    skip_unless_in_use(addresses, isa)
    run(addresses, "simd", "101", isa=isa)
    run(addresses, "random", seed(), "8", isa=isa)
    run(addresses, "peaks", seed(), isa=isa)
    run(addresses, "scores", seed(), "2", isa=isa)
    run(addresses, "undefined", seed(), "2", isa=isa)
    run(addresses, "modes", seed(), isa=isa)
    run(addresses, "limits", seed(), "2400000", "0", isa=isa)
    run(addresses, "channels", seed(), isa=isa)
    run(addresses, "threads", seed(), isa=isa)
    run(addresses, "hostile", seed(), "60", isa=isa)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS)
def test_another_compiler(clang: Path, isa: str) -> None:
    skip_unless_in_use(clang, isa)
    run(clang, "simd", "101", isa=isa)
    run(clang, "random", seed(), "8", isa=isa)
    run(clang, "peaks", seed(), isa=isa)
    run(clang, "scores", seed(), "4", isa=isa)
    run(clang, "undefined", seed(), "4", isa=isa)
    run(clang, "modes", seed(), isa=isa)
    run(clang, "limits", seed(), "2400000", "4", isa=isa)


@pytest.mark.slow
def test_threads_do_not_race(races: Path) -> None:
    run(races, "threads", seed())


@pytest.mark.slow
def test_aarch64(aarch64: list[str]) -> None:
    assert run(*aarch64, "isa").strip() == "neon"
    run(*aarch64, "simd", "10001")
    run(*aarch64, "random", seed(), "8")
    run(*aarch64, "peaks", seed())
    run(*aarch64, "scores", seed(), "2")
    run(*aarch64, "undefined", seed(), "2")
    run(*aarch64, "modes", seed())
    run(*aarch64, "limits", seed(), "2400000", "0")
    run(*aarch64, "threads", seed())
    run(*aarch64, "hostile", seed(), "40")
    for variant in ("26m", "508m"):
        run(*aarch64, "cases", given="\n".join(cases_of(variant)))
