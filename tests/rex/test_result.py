"""The result object: what it refuses, what a file brings back, what it draws."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from rambit.rex.rex_explanation import RexExplanation
from rambit.store import encode, resume_key

GRIDS = [(7,), (4, 6), (3, 4, 5)]


def made(grid=(4, 6), seed=0, **changes):
    rng = torch.Generator().manual_seed(seed)
    map_ = torch.rand(grid, generator=rng)
    mask = map_ > 0.6
    fields = {
        "responsibility": map_,
        "maps": {3: map_, 1: torch.rand(grid, generator=rng)},
        "mask": mask,
        "target": 3,
        "confidence": 0.75,
        "area": float(mask.float().mean()),
        "stats": {"mutants": 1234, "passing": 56, "depth": 7, "rows": 1000},
        "settings": {"iters": 20, "queue": "area", "dist_args": None},
        "seed": 5,
    }
    return RexExplanation(**{**fields, **changes})


def same(a, b):
    tensors = all(torch.equal(x, y) for x, y in zip(a.tensors().values(), b.tensors().values(), strict=True))
    return tensors and list(a.tensors()) == list(b.tensors()) and a.record() == b.record()


@pytest.mark.parametrize("grid", GRIDS)
def test_a_file_brings_everything_back(tmp_path, grid):
    masks = {"necessary": torch.ones(grid, dtype=torch.bool), "complete": torch.ones(grid, dtype=torch.bool)}
    for extra in ({}, masks, {"spotlights": torch.ones(2, *grid, dtype=torch.bool)}):
        one = made(grid, **extra)
        one.save(tmp_path / "a.safetensors", force=True)
        back = RexExplanation.load(tmp_path / "a.safetensors")
        assert same(one, back)
        assert back.maps.keys() == {1, 3}
        assert torch.equal(back.maps[1], one.maps[1])
        assert (back.necessary is None) == ("necessary" not in extra)
        assert type(back.target) is int


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "a.safetensors"
    made().save(path)
    with pytest.raises(FileExistsError, match="force=True"):
        made(seed=1).save(path)
    assert same(RexExplanation.load(path), made())
    made(seed=1).save(path, force=True)
    assert same(RexExplanation.load(path), made(seed=1))


def test_files_that_are_not_ours(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="not a saved explanation"):
        RexExplanation.load(path)
    save_file({"a": torch.zeros(2)}, path, {"rambit-rex-1": json.dumps({"sha256": "0"})})
    with pytest.raises(ValueError, match=r"a\.safetensors is corrupt or not a saved explanation"):
        RexExplanation.load(path)
    made().save(path, force=True)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="SHA-256"):
        RexExplanation.load(path)


def test_repr():
    text = repr(made())
    assert text.startswith("RexExplanation(4 x 6; class 3; ")
    assert "confidence 0.7500" in text
    assert "1,234 mutants, 56 passing, 7 depth, 1,000 rows" in text
    assert "2 separate explanations" in repr(made(spotlights=torch.ones(2, 4, 6, dtype=torch.bool)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"responsibility": torch.zeros(2, 2, dtype=torch.int64)}, "responsibility must be a float map"),
        ({"responsibility": torch.tensor(1.0)}, "responsibility must be"),
        ({"mask": torch.zeros(4, 6)}, r"mask must be \(4, 6\) bool, given \(4, 6\) float32"),
        ({"necessary": torch.zeros(4, 5, dtype=torch.bool)}, "necessary must be"),
        ({"complete": torch.zeros(4, dtype=torch.bool)}, "complete must be"),
        ({"spotlights": torch.zeros(4, 6, dtype=torch.bool)}, "spotlights must be"),
        ({"maps": {7: torch.zeros(6, 4)}}, r"maps\[7\] must have"),
    ],
)
def test_shapes_must_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)


MAP = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
MASK = MAP > 0.6
#: Parts that a hash can hold for good, but no explanation.
SENSELESS = [
    ("responsibility", MAP.where(MAP > 0.1, math.nan)),
    ("responsibility", MAP.where(MAP > 0.1, math.inf)),
    *(("responsibility", MAP.to(kind)) for kind in (torch.float8_e4m3fn, torch.complex64, torch.int64, torch.bool)),
    *(("maps", torch.stack((MAP, MAP)).to(kind)) for kind in (torch.float8_e4m3fn, torch.complex64, torch.int64)),
    ("maps", torch.stack((MAP, MAP * math.nan))),
    ("maps", torch.stack((MAP, MAP, MAP))),
    *(("classes", torch.tensor(given)) for given in ([1 + 0j, 3], [1.0, 3.0], [1.5, 3.0], [math.nan, 3.0], [1, 2])),
    *(("classes", torch.tensor(given)) for given in ([3, 3], [-1, 3], [True, False], [[1], [3]], 3)),
    *((name, MASK.to(kind)) for name in ("mask", "necessary", "complete") for kind in (torch.uint8, torch.float32)),
    *(("spotlights", torch.stack((MASK, MASK)).to(kind)) for kind in (torch.uint8, torch.float32)),
    *((name, value) for name in ("target", "seed") for value in ("3", 3.0, [3], None, True, {})),
    ("target", 2),
    ("target", -1),
    *(
        (name, value)
        for name in ("confidence", "area")
        for value in ("0.5", [0.5], None, True, math.nan, math.inf, 10**400)
    ),
    ("area", -3.0),
    ("area", 1.5),
    *(("stats", value) for value in (3, [1], None, "rows", {"rows": "x"}, {"rows": 1.5}, {"rows": -1}, {"rows": None})),
    *(("settings", value) for value in ([], None, 3, "iters")),
]


@pytest.mark.parametrize(("name", "value"), SENSELESS, ids=str)
def test_a_file_with_senseless_parts_is_refused(tmp_path, name, value):
    """Also where its hash is right; and so is the object."""
    one, path = made(), tmp_path / "some file"
    tensors, record = one.tensors(), one.record()
    (tensors if isinstance(value, torch.Tensor) else record)[name] = value
    record["sha256"] = resume_key(tensors=tensors, record=record)
    path.write_bytes(encode(tensors, {"rambit-rex-1": json.dumps(record)}))
    with pytest.raises(ValueError, match=r"some file is corrupt or not a saved explanation: .") as caught:
        RexExplanation.load(path)
    assert "\n" not in str(caught.value)
    if name not in ("maps", "classes"):  # in the object they are a dictionary
        with pytest.raises((TypeError, ValueError), match=rf"{name}.* must"):
            RexExplanation(**vars(made()) | {name: value})


@pytest.mark.parametrize("maps", [None, [], {0.5: MAP, 3: MAP}, {"3": MAP}, {3: None}, {3: MAP.numpy()}, {1: MAP}, {}])
def test_maps_are_one_for_each_class(maps):
    with pytest.raises((TypeError, ValueError), match=r"map.* must|target must be a class with a map"):
        made(maps=maps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_file_that_save_wrote_before_loads(tmp_path, dtype):
    """What ``save`` writes has not changed: its bytes, from the parts themselves."""
    map_, path = MAP.to(dtype), tmp_path / "old"
    tensors = {"responsibility": map_, "mask": MASK, "maps": map_[None], "classes": torch.tensor([3])}
    record = {"target": 3, "confidence": 1, "area": 0, "stats": {}, "settings": {"a": [1]}, "seed": 2**63}
    record["sha256"] = resume_key(tensors=tensors, record=record)
    path.write_bytes(encode(tensors, {"rambit-rex-1": json.dumps(record)}))
    back = RexExplanation.load(path)
    assert torch.equal(back.maps[3], map_)
    assert (back.target, back.confidence, back.area, back.seed) == (3, 1, 0, 2**63)


def test_settings_are_json(tmp_path):
    with pytest.raises(TypeError, match="settings\\['x'\\]"):
        made(settings={"x": torch.zeros(1)}).save(tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("grid", "shape"),
    [((7,), (1, 1, 7)), ((4, 6), (1, 3, 4, 6)), ((4, 6), (1, 4, 6)), ((3, 4, 5), (1, 1, 3, 4, 5))],
)
def test_plot(tmp_path, grid, shape):
    pytest.importorskip("matplotlib")
    one = made(grid)
    figure = one.plot(tmp_path / "a.png", x=torch.rand(shape))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert figure.get_suptitle().startswith("class 3, ")
    one.plot()
    with pytest.raises(ValueError, match="x must be one input"):
        one.plot(x=torch.rand(2, *shape[1:]))
    with pytest.raises(ValueError, match="x must be one input"):
        one.plot(x=torch.rand(*shape[:-1], 9))


def test_plot_shows_one_kind_and_names_the_class():
    pytest.importorskip("matplotlib")
    one, x = made((4, 6)), torch.rand(1, 3, 4, 6)
    for kind, heading in (("map", "responsibility"), ("part", "sufficient"), ("input", "input")):
        figure = one.plot(x=x, kind=kind, labels=["a", "b", "c", "cat"])
        assert figure.axes[0].get_title("left").split(",")[0] == heading
        assert figure.get_suptitle().startswith("cat, ")
    assert one.plot(kind="surface").axes[0].get_zlabel() == "responsibility"
    with pytest.raises(ValueError, match="kind must be one of all, map, part, input, surface"):
        one.plot(kind="x")
    with pytest.raises(ValueError, match="kind='surface' is for the map"):
        made((7,)).plot(kind="surface")


def test_plot_shows_every_mask():
    pytest.importorskip("matplotlib")
    masks = {name: torch.ones(4, 6, dtype=torch.bool) for name in ("necessary", "complete")}
    headings = [axes.get_title("left") for axes in made(**masks).plot(x=torch.rand(1, 3, 4, 6)).axes]
    assert [heading.split(",")[0] for heading in headings[:4]] == [
        "responsibility", "sufficient", "necessary", "complete",
    ]  # fmt: skip
    lights = made(spotlights=torch.ones(3, 4, 6, dtype=torch.bool)).plot(x=torch.rand(1, 3, 4, 6))
    assert [axes.get_title("left").split(",")[0] for axes in lights.axes[1:4]] == [
        "explanation 1", "explanation 2", "explanation 3",
    ]  # fmt: skip
