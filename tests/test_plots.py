"""Pictures: what is drawn where, that files are whole, and what is refused."""

from __future__ import annotations

import builtins
import itertools
import math
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rambit import plots
from rambit.plots import drop_curve, heatmap
from rambit.plots.canvas import distinct
from rambit.plots.columns import pooled
from rambit.plots.series import TOP

pytest.importorskip("matplotlib")


def scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def panels(figure: Any) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_visible() and axes.images and axes.get_title("left")]


def png_size(data: bytes) -> tuple[int, int]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@pytest.mark.parametrize(
    ("count", "grid"), [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (8, (3, 3))]
)
def test_one_panel_a_series(tmp_path: Path, count: int, grid: tuple[int, int]) -> None:
    figure = heatmap(scores(count, 3, 20), X=scores(count, 3, 20, seed=1), path=tmp_path / "a.png")
    found = panels(figure)
    assert [axes.get_title("left") for axes in found] == [f"series {i}" for i in range(count)]
    spec = found[0].get_subplotspec().get_gridspec()
    assert (spec.nrows, spec.ncols) == grid
    assert len(figure.axes) == grid[0] * grid[1] + 1, "one colour bar for all"
    assert all(len(axes.lines) == 3 for axes in found), "a curve for each feature"
    size = png_size((tmp_path / "a.png").read_bytes())
    assert size == tuple(round(inches * plots.DPI) for inches in figure.get_size_inches())
    assert size[0] < 1400
    below = [axes.xaxis.get_major_ticks()[0].label1.get_visible() for axes in found]
    assert below == [i + grid[1] >= count for i in range(count)], "times stand under the lowest panel of each column"
    largest = [scores(count, 3, 20)[i].max().item() for i in range(count)]
    assert [axes.images[0].get_clim()[1] for axes in found] == largest, "each series has its scale"
    assert [axes.get_title("right") for axes in found] == [f"max {one:.2g}" for one in largest]
    shared = panels(heatmap(scores(count, 3, 20), scale="shared"))
    assert {axes.images[0].get_clim() for axes in shared} == {(0.0, max(largest))}, "one scale for all"
    assert not any(axes.get_title("right") for axes in shared)


def test_arrays_of_any_kind() -> None:
    values, hidden = scores(2, 3, 5), scores(2, 3, 5, seed=1) < 0.3
    array = values.double().numpy()

    def drawn(given: Any) -> Any:
        return [np.ma.filled(axes.images[0].get_array(), math.nan) for axes in panels(heatmap(given))]

    expected = drawn(values.double())
    for given in (array[::-1].copy()[::-1], array.astype(">f8"), array.astype(object), list(array), np.ma.array(array)):
        np.testing.assert_array_equal(drawn(given), expected)
    masked = np.ma.array(array, mask=hidden.numpy())
    np.testing.assert_array_equal(drawn(masked), drawn(values.double().masked_fill(hidden, math.nan)))
    heatmap(masked, X=masked)
    with pytest.raises(ValueError, match="lengths must be 0 to 5"):
        heatmap(array, lengths=np.ma.masked_equal([5, 3], 3))
    with pytest.raises(ValueError, match="responsibility must hold finite values"):
        plots.explanation(masked[0])
    with pytest.raises(TypeError, match=r"values is stored as torch.sparse_coo: write values.to_dense\(\)"):
        heatmap(values.to_sparse())
    with pytest.raises(TypeError, match="values must hold real numbers"):
        heatmap(array + 0j)


def test_the_first_nine_of_many(tmp_path: Path) -> None:
    figure = heatmap(scores(20, 2, 5))
    assert len(panels(figure)) == plots.MAX_PANELS == 9
    assert "first 9 of 20" in figure.get_supxlabel()
    chosen = heatmap(scores(20, 2, 5), series=range(4, 16))
    assert [axes.get_title("left") for axes in panels(chosen)] == [f"series {i}" for i in range(4, 16)]
    assert chosen.get_supxlabel() == "time step"
    assert chosen.get_supylabel() == "feature"
    assert len(panels(heatmap(scores(20, 2, 5), series=np.int64(3)))) == 1  # type: ignore[arg-type]


def test_colours_follow_the_sign() -> None:
    plain = heatmap(scores(2, 3, 4), scale="shared").axes[0].images[0]
    assert plain.cmap.name == "rambit-scores"
    assert plain.get_clim() == (0.0, pytest.approx(scores(2, 3, 4).max().item()))
    signed = heatmap(0.5 * scores(2, 3, 4) - 0.4, scale="shared").axes[0].images[0]
    assert signed.cmap.name == "rambit-signed"
    low, high = signed.get_clim()
    assert low == -high == pytest.approx(-0.4, abs=0.05)
    red, _, blue, _ = np.array(signed.cmap([0.0, 0.5, 1.0])).T
    assert blue[0] > red[0]
    assert red[2] > blue[2]
    assert abs(red[1] - blue[1]) < 0.01, "zero has no hue"
    rounding = scores(2, 3, 4)
    for least, name in ((-0.009, "rambit-scores"), (-0.011, "rambit-signed")):
        rounding[0, 0, 0] = least * rounding[0].max()
        figure = heatmap(rounding)
        assert {axes.images[0].cmap.name for axes in panels(figure)} == {name}, "one map for all panels"
    assert heatmap(torch.zeros(1, 2, 3)).axes[0].images[0].get_clim() == (0.0, 1.0)
    assert heatmap(scores(1, 2, 3), cmap="magma").axes[0].images[0].cmap.name == "magma"


def test_cells_beyond_the_length_are_blank_and_do_not_count() -> None:
    values, inputs = scores(3, 2, 10), scores(3, 2, 10, seed=1)
    values[1, :, 4:] = -100
    inputs[1, :, 4:] = 1000
    values[0, 1, 2] = math.nan
    figure = heatmap(values, X=inputs, lengths=torch.tensor([10, 4, 0]))
    shown = [np.ma.getmaskarray(axes.images[0].get_array()) for axes in panels(figure)]
    assert not shown[1][:, :4].any()
    assert shown[1][:, 4:].all()
    assert shown[2].all()
    assert np.argwhere(shown[0]).tolist() == [[1, 2]]
    assert figure.axes[0].images[0].cmap.name == "rambit-scores", "padding has no say in the colours"
    assert [len(line.get_ydata()) for line in panels(figure)[1].lines] == [4, 4]


def test_curves_stay_in_their_rows_and_gaps_stay_gaps() -> None:
    inputs = scores(2, 4, 30, seed=1) * 100
    inputs[0, 1, 5] = math.nan
    inputs[:, 2] = 3.0  # constant
    inputs[:, 3] = math.nan
    lines = panels(heatmap(scores(2, 4, 30), X=inputs))[0].lines
    for d, line in enumerate(lines[:3]):
        y = np.asarray(line.get_ydata())
        assert np.nanmin(y) >= d - 0.5
        assert np.nanmax(y) <= d + 0.5
    assert np.isnan(lines[1].get_ydata()[5])
    assert np.allclose(lines[2].get_ydata(), 2)
    assert np.isnan(lines[3].get_ydata()).all()
    first = np.asarray(lines[0].get_ydata())
    assert first.argmin() == inputs[0, 0].argmax(), "up is up"


def test_many_steps_lose_no_spike() -> None:
    values = torch.zeros(1, 2, 5000)
    values[0, 0, 1234] = 1.0
    values[0, 1, 4321] = -0.5
    figure = heatmap(values)
    array = figure.axes[0].images[0].get_array()
    assert array.shape == (4, 700), "peaks, and below them means"
    assert "a column is 7.14 steps: above their peak, below their mean" in figure.get_supxlabel()
    assert (array.max(), array.min()) == (1.0, -0.5)
    assert np.count_nonzero(array[::2]) == 2
    assert array[0].argmax() == 1234 * array.shape[1] // 5000
    values[0, 0, :2000] = math.nan
    cut = np.ma.getmaskarray(heatmap(values, lengths=[3000]).axes[0].images[0].get_array())
    assert cut[:, 421:].all()
    assert cut[:2, :279].all()
    assert not cut[2:, :420].any()


@pytest.mark.parametrize(("steps", "most"), [(10, 10), (11, 10), (19, 10), (57, 7)])
def test_columns_against_a_loop(steps: int, most: int) -> None:
    values = (scores(3, steps) - 0.5).double().numpy()
    values[1, 2:5] = math.nan
    values[2] = math.nan
    found = pooled(values, most)
    if steps <= most:
        assert found is values
        return
    bounds = [j * steps // most for j in range(most)] + [steps]
    for d, row in enumerate(values):
        for j, (start, stop) in enumerate(itertools.pairwise(bounds)):
            here = [value for value in row[start:stop] if not math.isnan(value)]
            peak = max(here, key=abs) if here else math.nan
            mean = sum(here) / len(here) if here else math.nan
            np.testing.assert_allclose(found[2 * d : 2 * d + 2, j], [peak, mean], rtol=1e-12)


def test_long_curves_are_means_in_a_band() -> None:
    inputs = scores(1, 1, 7000, seed=1)
    axes = panels(heatmap(scores(1, 1, 7000), X=inputs))[0]
    [line] = axes.lines
    expected = inputs[0, 0].double().view(700, 10)
    span = expected.max() - expected.min()
    np.testing.assert_allclose(line.get_xdata(), np.arange(700) * 10 + 4.5)
    np.testing.assert_allclose(line.get_ydata(), 0.36 - 0.72 * (expected.mean(1) - expected.min()) / span)
    y = axes.collections[-1].get_paths()[0].vertices[:, 1]
    assert (y.min(), y.max()) == (pytest.approx(-0.36), pytest.approx(0.36))


def test_names_are_shown_as_they_are_but_short(tmp_path: Path) -> None:
    names = ["$a^$ {", "a_b", "temperature of the outer wall, north side 1", "ü"]
    figure = heatmap(scores(2, 4, 5), feature_names=names, titles=["$x^$", "y" * 500], path=tmp_path / "a.png")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:2] == names[:2]
    assert len(labels[2]) == 24
    assert labels[2].endswith("side 1")
    many = heatmap(scores(1, 400, 5), X=scores(1, 400, 5), top=None)
    assert len(many.axes[0].get_yticklabels()) < 150, "labels do not overlap"
    assert not many.axes[0].lines, "no room for curves"
    assert many.get_figheight() < 22


def test_names_that_differ_do_so_when_they_are_short() -> None:
    sides = [f"temperature of the outer wall, {side} side, upper sensor" for side in ("north", "south", "northeast")]
    shown = distinct([*sides, "a" * 60, "a" * 30 + "b" + "a" * 29, "a" * 60, "short"])
    assert shown[:3] == ["…north side, upper sens…", "…south side, upper sens…", "…northeast side, upper …"]
    assert len(set(shown)) == 6
    assert shown[3] == shown[5], "equal names stay equal"
    assert max(map(len, shown)) <= 24
    middle = distinct([f"{'x' * 30}{a}{'x' * 30}{b}{'x' * 30}" for a in "01" for b in "01"])
    assert len(set(middle)) == 4


def test_the_features_that_matter_most_have_rows() -> None:
    values = scores(2, 7, 9) - 0.5
    values[1, 3] = math.nan
    order = values.abs().nansum(dim=(0, 2)).argsort(descending=True)[:3].sort().values
    rest = [d for d in range(7) if d not in order.tolist()]
    figure = heatmap(values, X=scores(2, 7, 9), top=3, feature_names=list("abcdefg"))
    first, second = panels(figure)
    names = [label.get_text() for label in first.get_yticklabels()]
    assert names == [*("abcdefg"[d] for d in order), "4 more, summed"]
    for axes, one in ((first, values[0]), (second, values[1])):
        np.testing.assert_allclose(axes.images[0].get_array()[:3], one[order])
        np.testing.assert_allclose(axes.images[0].get_array()[3], one[rest].nansum(0), rtol=1e-5)
        assert len(axes.lines) == 3, "the sum has no curve"
    assert len(panels(heatmap(values, top=7))[0].get_yticklabels()) == 7
    assert len(panels(heatmap(scores(1, 50, 2)))[0].images[0].get_array()) == TOP + 1


def test_salient_cells_are_outlined() -> None:
    salient = np.zeros((2, 3, 8), bool)
    salient[1, 0, [0, 1, 2, 5]] = salient[1, 2, 7] = True
    figure = heatmap(scores(2, 3, 8), salient=salient)
    assert "outlined: salient" in figure.get_supxlabel()
    boxes = [
        [path.get_extents().bounds for c in axes.collections[1:] for path in c.get_paths()] for axes in panels(figure)
    ]
    assert boxes == [[], [(-0.5, -0.5, 3, 1), (4.5, -0.5, 1, 1), (6.5, 1.5, 1, 1)]]
    with pytest.raises(ValueError, match="salient must have the shape of values"):
        heatmap(scores(2, 3, 8), salient=salient[:1])


def test_axes_of_ones_own() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    grid = figure.subplots(2, 2).ravel()
    assert heatmap(scores(2, 3, 8), series=1, ax=grid[0], label="what") is figure
    drop_curve([0, 1], {"a": [1, 0]}, ax=grid[1])
    plots.feature_bars([1, 2], ax=grid[2])
    plots.time_bars([1, 2], ax=grid[3])
    assert grid[0].get_title("left") == "series 1"
    assert all(axes.images or axes.lines or axes.patches for axes in grid)
    assert figure.get_supxlabel() == ""
    assert [axes.get_ylabel() for axes in figure.axes[4:]] == ["what"]
    with pytest.raises(ValueError, match="ax is for one series: say which with series, given 2 of them"):
        heatmap(scores(2, 3, 8), ax=grid[0])
    for call in (lambda: heatmap(scores(1, 3, 8), ax=figure), lambda: plots.time_bars([1], ax=3)):
        with pytest.raises(TypeError, match="ax must be matplotlib Axes"):
            call()


def test_the_colours_say_what_they_are_of() -> None:
    one, several = (heatmap(scores(n, 3, 8), label="change of $p$").axes[-1].get_ylabel() for n in (1, 2))
    assert one == "change of $p$"
    assert several.replace("\n", " ") == "change of $p$, in % of the series' maximum"
    shared = heatmap(scores(2, 3, 8), scale="shared").axes[-1]
    assert shared.get_ylabel() == "score"


def test_bars_by_feature() -> None:
    sizes, stderr = [0.5, math.nan, 3.0, 1.0, 0.25], [0.1, 0.2, 0.3, 0.4, 0.3]
    axes = plots.feature_bars(sizes, stderr, names=list("abcde"), top=2).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "d", "3 more, summed"]
    assert [bar.get_width() for bar in axes.patches] == [3.0, 1.0, 0.75]
    [[low, high], *others] = [segment[:, 0] for segment in axes.collections[0].get_segments()]
    assert (low, high) == (2.7, 3.3)
    np.testing.assert_allclose(np.diff(others[-1]) / 2, math.sqrt(0.1**2 + 0.3**2 + 0.2**2))
    assert not plots.feature_bars(sizes).axes[0].collections


@pytest.mark.parametrize("steps", [5, 300, 5000])
def test_bars_by_time(steps: int) -> None:
    sizes, times = scores(steps), np.arange(steps) * np.timedelta64(1, "s")
    axes = plots.time_bars(sizes, 0.1 * sizes, times=times, label="size").axes[0]
    assert axes.get_xlabel().startswith("time (")
    assert axes.get_ylabel() == "size"
    if steps == 5:
        np.testing.assert_allclose([bar.get_height() for bar in axes.patches], sizes)
    elif steps == 300:
        np.testing.assert_allclose(axes.lines[0].get_ydata(), sizes)
        assert axes.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(1.1 * sizes.max().item())
    else:
        assert len(axes.lines[0].get_ydata()) < 1000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.feature_bars([]), "sizes must hold at least one number"),
        (lambda: plots.feature_bars([1.0], [1.0, 2.0]), "stderr must have 1 entries, given 2"),
        (lambda: plots.feature_bars([1.0], names=["a", "b"]), "names must have 1 entries, given 2"),
        (lambda: plots.feature_bars([1.0], top=0), "top must be at least 1, got 0"),
        (lambda: plots.time_bars([[1.0]]), "sizes must have 1 axes"),
        (lambda: plots.time_bars([1.0], times=np.arange(2)), "times must have the shape"),
    ],
)
def test_bars_name_a_wrong_argument(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg", "PNG"])
def test_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"old")
    heatmap(scores(1, 2, 5), path=str(path))
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix.lower()]
    assert path.read_bytes().startswith(start)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_no_global_state() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    figure = heatmap(scores(1, 2, 5))
    drop_curve([0, 1], {"a": [1, 0]})
    assert figure.canvas.manager is None
    assert dict(matplotlib.rcParams) == before


def test_arrays_and_gradients_are_fine() -> None:
    values = scores(1, 2, 5)
    shown = [heatmap(v).axes[0].images[0].get_array() for v in (values, values.numpy(), values.tolist())]
    shown.append(heatmap(values.clone().requires_grad_()).axes[0].images[0].get_array())
    assert all(np.array_equal(shown[0], other) for other in shown[1:])
    heatmap(values.to(torch.bfloat16))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": torch.zeros(2, 3)}, "values must have 3 axes"),
        ({"values": torch.zeros(2, 0, 3)}, "at least one cell"),
        ({"X": torch.zeros(2, 3, 4)}, "X must have the shape of values"),
        ({"series": 2}, "series must be one or more of 0 to 1, given 2"),
        ({"series": []}, "series must be"),
        ({"series": [0, -1]}, "series must be"),
        ({"feature_names": ["a"]}, "feature_names must have 3 entries, given 1"),
        ({"titles": ["a"]}, "titles must have 2 entries, given 1"),
        ({"lengths": [1]}, "lengths must have 2 entries"),
        ({"lengths": [1, 6]}, "lengths must be 0 to 5"),
        ({"path": "a.docx"}, r"path must end in one of .*png.* given 'a.docx'"),
        ({"path": "a"}, "path must end in"),
        ({"scale": "both"}, "scale must be one of series, shared, got 'both'"),
        ({"top": 0}, "top must be at least 1, got 0"),
    ],
)
def test_heatmap_names_a_wrong_argument(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        heatmap(**{"values": torch.zeros(2, 3, 5), **arguments})


def test_drop_curve(tmp_path: Path) -> None:
    fractions = torch.linspace(0, 0.5, 6)
    curves: dict[str, Any] = {"RaMbIT $": scores(10, 6), "random": np.linspace(1, 0.8, 6), "one": scores(1, 6)}
    figure = drop_curve(fractions, curves, tmp_path / "a.png")
    axes = figure.axes[0]
    assert png_size((tmp_path / "a.png").read_bytes()) == (640, 400)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["RaMbIT $", "random", "one"]
    assert np.allclose(axes.lines[0].get_ydata(), scores(10, 6).mean(0))
    assert np.allclose(axes.lines[0].get_xdata(), [0, 10, 20, 30, 40, 50])
    assert len(axes.collections) == 1, "a band where there are several series"
    assert axes.lines[1].get_color() == "0.45"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("cells replaced (%)", "probability of the predicted class")
    many = drop_curve(fractions, {str(i): scores(6, seed=i) for i in range(20)}).axes[0]
    assert len({(line.get_color(), line.get_linestyle()) for line in many.lines}) == 20


@pytest.mark.parametrize(
    ("fractions", "curves", "message"),
    [
        ([0, 1], {}, "at least one curve"),
        ([0, 1], {"a": [1.0]}, r"curves\['a'\] must have one value for each of 2 fractions"),
        ([0, 1], {"a": np.zeros((0, 2))}, r"curves\['a'\]"),
        ([0, 1], {"a": 1.0}, r"curves\['a'\] must have 1 or 2 axes"),
        ([[0, 1]], {"a": [1.0, 2.0]}, "fractions must have 1 axes"),
    ],
)
def test_drop_curve_names_a_wrong_argument(fractions: Any, curves: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drop_curve(fractions, curves)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    for call in (lambda: heatmap(scores(1, 2, 3)), lambda: drop_curve([0, 1], {"a": [1, 0]})):
        with pytest.raises(ImportError) as caught:
            call()
        assert str(caught.value) == "plots need matplotlib: pip install rambit[plots]"


def test_a_figure_shows_itself_in_a_fresh_notebook():
    """As the last value of a cell, without %matplotlib."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    source = "import torch\nfrom rambit.plots import heatmap\nheatmap(torch.randn(1, 2, 9))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output["data"]["image/png"].startswith("iVBOR")


def test_a_figure_can_be_pickled():
    figure = heatmap(torch.randn(1, 2, 9))
    assert pickle.loads(pickle.dumps(figure)).get_axes()
