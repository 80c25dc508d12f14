"""Pictures: what is drawn where, that files are whole, and what is refused."""

from __future__ import annotations

import builtins
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
    assert len({axes.images[0].get_clim() for axes in found}) == 1, "one scale for all"


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
    plain = heatmap(scores(2, 3, 4)).axes[0].images[0]
    assert plain.cmap.name == "rambit-scores"
    assert plain.get_clim() == (0.0, pytest.approx(scores(2, 3, 4).max().item()))
    signed = heatmap(0.5 * scores(2, 3, 4) - 0.4).axes[0].images[0]
    assert signed.cmap.name == "rambit-signed"
    low, high = signed.get_clim()
    assert low == -high == pytest.approx(-0.4, abs=0.05)
    red, _, blue, _ = np.array(signed.cmap([0.0, 0.5, 1.0])).T
    assert blue[0] > red[0]
    assert red[2] > blue[2]
    assert abs(red[1] - blue[1]) < 0.01, "zero has no hue"
    rounding = scores(2, 3, 4)
    rounding[0, 0, 0] = -1e-9
    assert heatmap(rounding).axes[0].images[0].cmap.name == "rambit-scores"
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
    array = heatmap(values).axes[0].images[0].get_array()
    assert array.shape[1] <= 700
    assert (array.max(), array.min()) == (1.0, -0.5)
    assert np.count_nonzero(array) == 2
    assert array[0].argmax() == 1234 * array.shape[1] // 5000
    values[0, 0, :2000] = math.nan
    cut = np.ma.getmaskarray(heatmap(values, lengths=[3000]).axes[0].images[0].get_array())
    assert cut[:, 421:].all()
    assert cut[0, :279].all()
    assert not cut[1, :420].any()


def test_names_are_shown_as_they_are_but_short(tmp_path: Path) -> None:
    names = ["$a^$ {", "a_b", "temperature of the outer wall, north side 1", "ü"]
    figure = heatmap(scores(2, 4, 5), feature_names=names, titles=["$x^$", "y" * 500], path=tmp_path / "a.png")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:2] == names[:2]
    assert len(labels[2]) == 24
    assert labels[2].endswith("side 1")
    many = heatmap(scores(1, 400, 5), X=scores(1, 400, 5))
    assert len(many.axes[0].get_yticklabels()) < 150, "labels do not overlap"
    assert not many.axes[0].lines, "no room for curves"
    assert many.get_figheight() < 22


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
