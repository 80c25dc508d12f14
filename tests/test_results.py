"""Attribution: saved files, the most important cells and comparisons, each against an obvious twin."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor

from rambit.results import Attribution, Cell
from rambit.store import encode, resume_key

PARTS: dict[str, Any] = {"stderr": None, "rows": 12, "row_steps": 345, "seconds": 1.5, "settings": {}, "seed": 7}


def make(values: Tensor, **parts: Any) -> Attribution:
    return Attribution(values, **{**PARTS, **parts})


def scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def same(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    return a.dtype == b.dtype and a.shape == b.shape and encode({"t": a}) == encode({"t": b})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(0, 5)),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    given_parts=st.sets(st.sampled_from(["stderr", "lengths", "ids", "windows", "evaluated"])),
    numbers=st.tuples(st.integers(0, 2**70), st.integers(0), st.floats(0), st.integers(0, 2**63)),
    options=st.dictionaries(st.text().filter(lambda name: name != "layout"), json_values, max_size=4),
    mode=st.text(),
)
def test_round_trip(
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    given_parts: set[str],
    numbers: tuple[int, int, float, int],
    options: dict[str, Any],
    mode: str,
) -> None:
    optional: dict[str, Any] = {
        "stderr": scores(*shape, seed=1).to(dtype).abs(),
        "lengths": torch.arange(shape[0]),
        "ids": list(range(5, 5 + shape[0])),
        "windows": scores(*shape, 2, seed=2),
        "evaluated": scores(*shape, seed=3) > 0,
    }
    rows, row_steps, seconds, seed = numbers
    before = make(
        scores(*shape).to(dtype).transpose(0, 0),
        **{name: optional[name] for name in given_parts},
        **{"rows": rows, "row_steps": row_steps, "seconds": seconds, "seed": seed, "settings": options, "mode": mode},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        before.save(path)
        after = Attribution.load(path)
        again = path.with_name("b")
        after.save(again)
        assert again.read_bytes() == path.read_bytes()
    for field in dataclasses.fields(Attribution):
        a, b = getattr(before, field.name), getattr(after, field.name)
        if field.name in ("values", *optional):
            assert same(a, b), field.name
        else:
            assert a == b, field.name
            assert type(a) is type(b), field.name


def test_save_refuses_to_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a"
    make(scores(1, 2, 3)).save(str(path))
    data = path.read_bytes()
    with pytest.raises(FileExistsError, match="force=True"):
        make(scores(2, 2, 3)).save(path)
    assert path.read_bytes() == data
    make(scores(2, 2, 3)).save(path, force=True)
    assert len(Attribution.load(path).values) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_save_names_a_setting_that_is_no_json_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"settings\['model'\] must be a JSON value"):
        make(scores(1, 2, 3), settings={"L": 3, "model": torch.nn.Identity()}).save(tmp_path / "a")
    assert not list(tmp_path.iterdir())
    make(scores(1, 2, 3), settings={"bounds": (1, 3)}, rows=np.int64(3), seconds=np.float32(1)).save(tmp_path / "a")
    loaded = Attribution.load(tmp_path / "a")
    assert (loaded.settings, loaded.rows) == ({"bounds": [1, 3]}, 3)


def foreign() -> dict[str, bytes]:
    values = {"values": scores(2, 3, 4)}
    record = {**PARTS, "mode": ""}
    del record["stderr"]

    def file(tensors: dict[str, Tensor], record: Any) -> bytes:
        if isinstance(record, dict):
            record = {**record, "sha256": resume_key(tensors=tensors, record=record)}
        return encode(tensors, {"rambit-attribution-1": record if isinstance(record, str) else json.dumps(record)})

    return {
        "empty": b"",
        "text": b"not a tensor " * 10,
        "other safetensors": encode(values),
        "other metadata": encode(values, {"format": "pt"}),
        "no values": file({}, record),
        "unknown tensor": file({**values, "extra": torch.zeros(1)}, record),
        "not JSON": file(values, "{"),
        "a list": file(values, []),
        "deep": file(values, "[" * 100_000),
        "unsigned": encode(values, {"rambit-attribution-1": json.dumps(record)}),
        "wrongly signed": encode(values, {"rambit-attribution-1": json.dumps({**record, "sha256": "0" * 64})}),
        "no seed": file(values, {k: v for k, v in record.items() if k != "seed"}),
        "extra entry": file(values, {**record, "extra": 1}),
        "values as an entry": file({}, {**record, "values": 1}),
        "text for rows": file(values, {**record, "rows": "12"}),
        "bool for rows": file(values, {**record, "rows": True}),
        "int for seconds": file(values, {**record, "seconds": 1}),
        "list for settings": file(values, {**record, "settings": []}),
        "layout": file(values, {**record, "settings": {"layout": "TDB"}}),
        "stderr": file({**values, "stderr": torch.zeros(2, 3)}, record),
        "lengths": file({**values, "lengths": torch.zeros(3)}, record),
        "scalar": file({"values": torch.tensor(1.0)}, record),
        **{f"{name} {kind}": file({**values, name: tensor}, record) for name, kind, tensor in senseless()},
        **{f"{name} is {value!r}": file(values, {**record, name: value}) for name, value in NO_VALUES},
    }


#: Entries of a record that a hash can hold for good, but no result.
NO_VALUES: list[tuple[str, Any]] = [
    *((name, "text") for name in ("stderr", "windows", "lengths", "ids", "evaluated")),
    *((name, [0.5, 1.5]) for name in ("lengths", "ids", "stderr", "evaluated")),
    *((name, {}) for name in ("windows", "lengths", "evaluated")),
    *((name, -1) for name in ("rows", "row_steps")),
    ("seconds", -1.0),
    ("seconds", math.nan),
    ("lengths", [-1, 2]),
    ("ids", [1, 2, 3]),
    ("ids", [True, False]),
    ("mode", None),
]


def senseless() -> list[tuple[str, str, Tensor]]:
    """Tensors of the right shape that hold nothing that the part could mean."""
    shapes: dict[str, tuple[int, ...]] = {"values": (2, 3, 4), "stderr": (2, 3, 4), "windows": (2, 3, 4, 2)}
    kinds = (torch.complex64, torch.float8_e4m3fn, torch.int64, torch.uint8, torch.bool)
    found = [(name, str(kind), torch.zeros(shapes[name]).to(kind)) for name in shapes for kind in kinds]
    found += [("evaluated", str(kind), torch.ones(2, 3, 4).to(kind)) for kind in (torch.uint8, torch.float32)]
    found += [
        (name, str(kind), torch.ones(2).to(kind))
        for name in ("lengths", "ids")
        for kind in kinds
        if kind not in (torch.int64, torch.uint8)
    ]
    found += [("windows", "axes", torch.zeros(2, 3, 4)), ("windows", "steps", torch.zeros(2, 3, 5, 2))]
    return [*found, ("evaluated", "shape", torch.ones(2, 3, dtype=torch.bool))]


@pytest.mark.parametrize("case", foreign())
def test_load_names_a_file_that_is_not_ours(tmp_path: Path, case: str) -> None:
    path = tmp_path / "some file"
    path.write_bytes(foreign()[case])
    with pytest.raises(ValueError, match="some file"):
        Attribution.load(path)


def test_load_of_damaged_files(tmp_path: Path) -> None:
    """Every cut and every flipped bit is an error."""
    path = tmp_path / "some file"
    make(scores(2, 3, 4), stderr=scores(2, 3, 4)).save(path)
    data, rng = path.read_bytes(), random.Random(0)
    for n in [*range(0, 300, 7), len(data) - 1]:
        path.write_bytes(data[:n])
        with pytest.raises(ValueError, match="some file"):
            Attribution.load(path)
    for _ in range(200):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match="some file"):
            Attribution.load(path)
    with pytest.raises(FileNotFoundError):
        Attribution.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"stderr": torch.zeros(2, 3)}, "stderr must have the shape"),
        ({"lengths": torch.zeros(3)}, "lengths must hold one number for each of 2 series"),
        ({"ids": [1, 2, 3]}, "ids must hold"),
        ({"settings": {"layout": "TBD"}}, "'BDT' or 'BTD'"),
    ],
)
def test_parts_that_do_not_fit(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(scores(2, 3, 4), **parts)
    with pytest.raises(ValueError, match="batch axis"):
        make(torch.tensor(1.0))


@pytest.mark.parametrize(("name", "kind", "tensor"), senseless())
def test_parts_that_are_of_another_kind(name: str, kind: str, tensor: Tensor) -> None:
    parts = {"values": scores(2, 3, 4), name: tensor}
    with pytest.raises((TypeError, ValueError), match=f"{name} must"):
        make(parts.pop("values"), **parts)


@pytest.mark.parametrize(("name", "value"), NO_VALUES)
def test_entries_that_are_of_another_kind(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{name} must"):
        make(scores(2, 3, 4), **{name: value})


def test_a_file_from_before_there_was_evaluated_loads(tmp_path: Path) -> None:
    """One that ``save`` wrote without it is what older versions wrote, byte for byte."""
    values, path = scores(2, 3, 4), tmp_path / "old"
    record = {"rows": 12, "row_steps": 345, "seconds": 1.5, "seed": 7, "mode": "", "settings": {"L": 3}}
    record["sha256"] = resume_key(tensors={"values": values}, record=record)
    path.write_bytes(encode({"values": values}, {"rambit-attribution-1": json.dumps(record)}))
    loaded = Attribution.load(path)
    assert loaded.evaluated is None
    assert torch.equal(loaded.values, values)
    make(values, settings={"L": 3}).save(tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == path.read_bytes()


def test_repr_is_short() -> None:
    shown = repr(make(torch.tensor([[[0.0, 0.5]]]), stderr=torch.full((1, 1, 2), 0.01), mode="stateful", rows=12345))
    assert shown == (
        "Attribution(1 x 1 x 2; BDT; scores 0 to 0.5; stderr up to 0.01; 12,345 rows, 345 row-steps, 1.5 s; "
        "mode stateful; seed 7)"
    )
    assert repr(make(torch.zeros(0, 3, 4))).startswith("Attribution(0 x 3 x 4; BDT; 12 rows")
    many = make(torch.zeros(1, 720, 1, 1), targets=list(range(720)))
    assert "targets 0, 1, 2, " in repr(many)
    assert "718, 719; scores" in repr(many)
    assert len(repr(many)) < 300
    seen = torch.tensor([[[True, False, False]]])
    assert "; 2 cells not evaluated; 12 rows" in repr(make(torch.zeros(1, 1, 3), evaluated=seen))


def test_to_numpy() -> None:
    values = scores(2, 3, 4).requires_grad_()
    assert np.array_equal(make(values).to_numpy(), values.detach().numpy())
    assert make(values.to(torch.bfloat16)).to_numpy().dtype == np.float32


# --- the most important cells ----------------------------------------------------------------------------------------


def naive_cells(a: Attribution) -> list[Cell]:
    values = a.values.transpose(1, 2) if a.settings.get("layout") == "BTD" else a.values
    B, D, T = values.shape
    ends = [T] * B if a.lengths is None else a.lengths.tolist()
    made = torch.ones_like(a.values, dtype=torch.bool) if a.evaluated is None else a.evaluated
    made = made.transpose(1, 2) if a.settings.get("layout") == "BTD" else made
    cells = [Cell(b, d, t, float(values[b, d, t])) for b in range(B) for d in range(D) for t in range(ends[b])]
    cells = [cell for cell in cells if made[cell[:3]]]
    return sorted((c for c in cells if not math.isnan(c.score)), key=lambda c: (-c.score, *c[:3]))


@st.composite
def attributions(draw: st.DrawFn) -> Attribution:
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5)))
    few = draw(st.booleans())  # few distinct values: ties
    seed = draw(st.integers(0, 1000))
    values = scores(*shape, seed=seed)
    values = values.round() if few else values
    lengths = torch.tensor(draw(st.lists(st.integers(0, shape[2]), min_size=shape[0], max_size=shape[0])))
    layout = draw(st.sampled_from(["BDT", "BTD"]))
    evaluated = draw(st.sampled_from([None, scores(*shape, seed=seed + 1) > -0.5]))
    values = values if evaluated is None else values * evaluated
    return make(
        values.transpose(1, 2) if layout == "BTD" else values,
        settings={"layout": layout},
        lengths=draw(st.sampled_from([None, lengths])),
        evaluated=evaluated.transpose(1, 2) if evaluated is not None and layout == "BTD" else evaluated,
    )


@settings(deadline=None, max_examples=60)
@given(attributions(), st.integers(1, 60), st.integers(0, 2))
def test_top(a: Attribution, k: int, series: int) -> None:
    cells = naive_cells(a)
    assert a.top(k) == cells[:k]
    if series < len(a.values):
        assert a.top(k, series) == [cell for cell in cells if cell.series == series][:k]


def test_a_cell_that_was_not_evaluated_is_not_one_of_score_zero() -> None:
    values, seen = torch.tensor([[[-1.0, 0.0, 0.0, -3.0]]]), torch.tensor([[[True, False, True, True]]])
    a = make(values, evaluated=seen)
    assert [cell.time for cell in a.top(9)] == [2, 0, 3]
    other = make(torch.tensor([[[-1.0, 99.0, 0.0, -3.0]]]))
    assert a.compare(other) == other.compare(a) == {"max_abs_diff": 0.0, "spearman": 1.0, "topk_overlap": 1.0}
    assert a.to_numpy()[0, 0, 1] == 0


def test_top_leaves_nan_out_and_checks_arguments() -> None:
    a = make(torch.tensor([[[math.nan, 1.0, -math.inf]]]))
    assert a.top(5) == [(0, 0, 1, 1.0), (0, 0, 2, -math.inf)]
    for call in (lambda: a.top(0), lambda: a.top(1, 1), lambda: a.top(1, -1), lambda: make(scores(2)).top(1)):
        with pytest.raises(ValueError, match=r"k must|series must|three axes"):
            call()


@settings(deadline=None, max_examples=60)
@given(attributions(), st.integers(0, 1000), st.integers(1, 20))
def test_compare(a: Attribution, seed: int, k: int) -> None:
    noise = scores(*a.values.shape, seed=seed)
    b = make(a.values + noise.round() if seed % 2 else a.values * noise, settings=a.settings, lengths=a.lengths)
    found = a.compare(b, k=k)
    ours = {c[:3]: c.score for c in naive_cells(a)}
    theirs = {c[:3]: c.score for c in naive_cells(b) if c[:3] in ours}
    if not ours:
        assert all(math.isnan(value) for value in found.values())
        return
    assert found["max_abs_diff"] == max(abs(ours[c] - theirs[c]) for c in ours)
    x, y = ([side[c] for c in sorted(ours)] for side in (ours, theirs))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(found["spearman"])
    else:
        assert found["spearman"] == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)
    shares = []
    for i in {c[0] for c in ours}:
        both = ([c for c in naive_cells(side) if c.series == i and c[:3] in ours] for side in (a, b))
        mine, other = ({c[:3] for c in cells[:k]} for cells in both)
        shares.append(len(mine & other) / len(mine))
    assert found["topk_overlap"] == pytest.approx(sum(shares) / len(shares))


def test_compare_across_layouts_lengths_and_shapes() -> None:
    values = scores(2, 3, 8)
    a = make(values, lengths=torch.tensor([8, 4]))
    btd = make(values.transpose(1, 2).contiguous(), settings={"layout": "BTD"})
    assert a.compare(btd) == {"max_abs_diff": 0.0, "spearman": pytest.approx(1.0), "topk_overlap": 1.0}
    assert math.isnan(a.compare(make(values * math.nan))["max_abs_diff"])
    with pytest.raises(ValueError, match=r"\(2, 3, 8\), given \(2, 3, 7\)"):
        a.compare(make(values[..., 1:]))
    with pytest.raises(ValueError, match="k must"):
        a.compare(a, k=0)


# --- plots -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_a_cell_that_was_not_evaluated_stays_blank(layout: str) -> None:
    pytest.importorskip("matplotlib")
    values, seen = scores(1, 2, 6), torch.ones(1, 2, 6, dtype=torch.bool)
    seen[0, 1, 2:4] = False
    parts = [values * seen, seen] if layout == "BDT" else [(values * seen).mT, seen.mT]
    figure = make(parts[0], evaluated=parts[1], settings={"layout": layout}).plot()
    drawn = np.ma.filled(figure.axes[0].images[0].get_array(), math.nan)
    assert np.array_equal(np.isnan(drawn), ~seen[0].numpy())
    assert np.allclose(drawn[seen[0].numpy()], values[0][seen[0]].numpy())


def test_plot_passes_everything_on(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    values = scores(3, 2, 6)
    a = make(values, ids=[10, 11, 12], lengths=torch.tensor([6, 3, 6]))
    b = dataclasses.replace(a, values=values.transpose(1, 2), settings={"layout": "BTD"})
    pictures = []
    for name, result in (("a.png", a), ("b.png", b)):
        figure = result.plot(tmp_path / name, X=result.values * 2, series=[2, 1], feature_names=["one", "two"])
        assert [axes.get_title("left") for axes in figure.axes[:2]] == ["series 12", "series 11"]
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1], "the layout changes nothing"
    assert [axes.get_title("left") for axes in a.plot(titles=["x", "y", "z"]).axes[:3]] == ["x", "y", "z"]
    with pytest.raises(ValueError, match="X must have the shape of values"):
        a.plot(X=values[:1])
    with pytest.raises(ValueError, match="series must be"):
        a.plot(series=3)
    with pytest.raises(ValueError, match="three axes"):
        make(scores(2)).plot()
