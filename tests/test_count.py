"""Parameters and multiply-adds are those of the tables that were checked against the paper's."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mfedge.count import Count, count
from mfedge.errors import UsageError
from mfedge.zoo import build, load_spec, variants
from tests.nn.ablations import ABLATIONS, EVERY, SPATIAL
from tests.support.counted import counted

# variant: parameters, strict multiply-adds, paper-like ones in millions; all but the last exact.
VARIANTS = {
    "26m": (3_232_788, 23_550_208, 25.91),
    "52m": (3_469_092, 49_290_496, 51.65),
    "96m": (4_585_252, 92_017_040, 95.91),
    "151m": (7_595_828, 146_249_168, 151.03),
    "214m": (9_425_920, 208_374_240, 214.09),
    "294m": (11_422_648, 286_732_160, 294.05),
    "508m": (13_976_976, 498_467_680, 508.67),
}
# Both multiply-adds in millions, to the decimals of the table.
ROWS = {
    "T4 Mobile only": (6_140_056, 252.92, 258.91),
    "T4 with Former": (10_103_992, 285.44, 289.87),
    "T4 with dynamic ReLU": (11_422_648, 286.73, 294.05),
    "T5 1 token": (11_421_688, 259.92, 268.53),
    "T5 3 tokens": (11_422_072, 270.62, 278.71),
    "T5 9 tokens": (11_423_224, 302.92, 309.45),
    "T6 width 64": (7_333_496, 267.98, 276.50),
    "T6 width 128": (9_085_208, 275.71, 283.63),
    "T6 width 256": (14_345_816, 301.04, 307.75),
    "T6 width 320": (17_854_712, 318.64, 324.75),
    "T7 no FFN": (9_790_072, 277.00, 284.31),
    "T7 position mixing": (10_525_441, 275.38, 283.97),
    "T14 kernel 5": (11_536_056, 324.77, 332.08),
}
TORCHVISION = {"mobilenet-v3-large": 5_483_032, "mobilenet-v3-small": 2_542_856}


def paper_like_millions(counted: Count) -> float:
    assert counted.madds_paper_like is not None
    return round(counted.madds_paper_like / 1e6, 2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_the_counts_of_the_table(variant: str) -> None:
    counted = count(load_spec(variant))
    assert (counted.params, counted.madds, paper_like_millions(counted)) == VARIANTS[variant]
    assert counted.paper.params_millions == round(counted.params / 1e6, 1)


@pytest.mark.parametrize("row", ABLATIONS)
def test_every_ablation_has_the_counts_of_its_row(row: str) -> None:
    counted = count(load_spec("294m", ABLATIONS[row]))
    assert (counted.params, round(counted.madds / 1e6, 2), paper_like_millions(counted)) == ROWS[row]


def test_spatial_awareness_costs_no_parameter_and_2EM_a_pixel_of_every_activation() -> None:
    plain, spatial = count(load_spec("294m")), count(load_spec("294m", SPATIAL))
    assert spatial.params == plain.params
    block = {b.name: b.madds for b in spatial.blocks}["blocks.2"] - {b.name: b.madds for b in plain.blocks}["blocks.2"]
    E, M, D, pixels = 96, 6, 192, 56 * 56
    hyper = (M - 1) * (D * D // 4 + D // 4 * 2 * E)  # of the other tokens
    assert block == 2 * (2 * E * M * pixels + hyper)


@pytest.mark.parametrize("variant", TORCHVISION)
def test_mobilenet_v3_has_torchvisions_counts(variant: str) -> None:
    counted = count(load_spec(variant))
    assert counted.params == TORCHVISION[variant]
    assert counted.madds_paper_like is None
    assert [block.name for block in counted.blocks[:2]] == ["features.0", "features.1"]


@pytest.mark.parametrize("variant", variants())
def test_the_rows_add_up_to_the_totals(variant: str) -> None:
    counted = count(load_spec(variant), 97, 130, num_classes=7)
    assert sum(block.params for block in counted.blocks) == counted.params
    assert sum(block.madds for block in counted.blocks) == counted.madds
    assert counted.params == sum(p.numel() for p in build(load_spec(variant), 7).parameters())
    assert counted.blocks[-1].output == (7,)
    maps = [block for block in counted.blocks if len(block.input) == 3 and block.name != "mobile_to_former"]
    for before, after in pairwise(maps):
        assert before.output == after.input


def test_a_block_names_its_shapes() -> None:
    block = {block.name: block for block in count(load_spec("26m"), 224, 160).blocks}["blocks.2"]
    assert (block.kind, block.input, block.output) == ("mobile-former-down", (12, 56, 40), (24, 28, 20))


def test_convolutions_cost_in_proportion_to_the_pixels() -> None:
    small, large = (count(load_spec("26m"), side, side).blocks[1] for side in (64, 512))
    assert large.madds == 64 * small.madds


def test_position_mixing_has_one_size() -> None:
    with pytest.raises(UsageError, match=r"224x224 only.*found 256x224"):
        count(load_spec("26m", ["mixing=position-mlp"]), 256, 224)
    assert count(load_spec("26m", ["mixing=position-mlp", "image_size=256"]), 256, 256).madds


# Counted from the spec alone, and on the network itself by PyTorch's counter: row by row the same.
SIZES = [(224, 224, 1000), (193, 257, 7), (32, 47, 1000)]


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_variant_is_counted_as_pytorch_counts_it(variant: str, size: tuple[int, int, int]) -> None:
    spec = load_spec(variant)
    assert count(spec, *size).blocks == counted(spec, *size)


@pytest.mark.parametrize("row", EVERY)
def test_every_ablation_is_counted_as_pytorch_counts_it(row: str) -> None:
    for variant in ("294m", "26m"):
        spec = load_spec(variant, EVERY[row])
        size = (224, 224, 11) if spec.fixed_size else (131, 224, 11)
        assert count(spec, *size).blocks == counted(spec, *size)
