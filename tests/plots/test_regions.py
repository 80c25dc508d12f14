"""Pictures of explanations: which panels, which colours, what is marked as kept, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rambit import plots
from rambit.plots import explanation
from rambit.plots.regions import MAX_SLICES

pytest.importorskip("matplotlib")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def headed(figure: Any) -> dict[str, Any]:
    return {axes.get_title("left").split(",")[0]: axes for axes in figure.axes if axes.get_title("left")}


def border(mask: np.ndarray) -> set[tuple[tuple[float, float], ...]]:
    """The edges between a kept pixel and one that is not, by looking at every pixel's four neighbours."""
    edges = set()
    for r, c in np.argwhere(mask):
        for dr, dc in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            inside = 0 <= r + dr < mask.shape[0] and 0 <= c + dc < mask.shape[1]
            if inside and mask[r + dr, c + dc]:
                continue
            y, x = r + dr / 2, c + dc / 2
            half = (abs(dr) / 2, abs(dc) / 2)
            edges.add(((x - half[0], y - half[1]), (x + half[0], y + half[1])))
    return edges


def drawn_border(axes: Any) -> set[tuple[tuple[float, float], ...]]:
    return {tuple(sorted(map(tuple, path.vertices.tolist()))) for c in axes.collections for path in c.get_paths()}


def test_an_image_and_its_cut_out_part(tmp_path):
    scores, x, mask = rng().random((6, 8)), rng(1).random((3, 6, 8)), rng(2).random((6, 8)) < 0.4
    figure = explanation(scores, x=x, masks={"sufficient": mask}, title="class 7", path=tmp_path / "a.png")
    panels = headed(figure)
    assert list(panels) == ["responsibility", "sufficient"]
    picture, overlay = panels["responsibility"].images
    assert overlay.cmap.name == "cividis"
    assert np.allclose(overlay.get_array(), scores)
    assert overlay.get_clim() == (0.0, scores.max())
    grey = picture.get_array()
    assert np.allclose(grey[..., 0], grey[..., 2])
    cut = panels["sufficient"].images[0].get_array()
    assert np.allclose(cut[mask], np.moveaxis(x, 0, -1)[mask])
    assert cut[~mask].min() >= 0.8
    assert drawn_border(panels["sufficient"]) == border(mask)
    assert panels["sufficient"].get_title("left") == f"sufficient, {mask.mean():.1%} kept"
    assert figure.get_suptitle() == "class 7"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_several_explanations_in_one_figure(count):
    masks = {f"explanation {i}": rng(i).random((5, 7)) < 0.3 for i in range(count)}
    panels = headed(explanation(rng().random((5, 7)), x=rng(1).random((1, 5, 7)), masks=masks))
    assert list(panels) == ["responsibility", *masks]
    for name, mask in masks.items():
        assert drawn_border(panels[name]) == border(mask)


def test_inputs_of_any_range_and_number_of_channels():
    scores = rng().random((4, 5))
    for x in (rng().normal(size=(3, 4, 5)) * 50, rng().random((2, 4, 5)), np.full((1, 4, 5), 7.0)):
        shown = headed(explanation(scores, x=x, masks={"m": scores > 0.5}))["m"].images[0].get_array()
        assert shown.shape == (4, 5, 3)
        assert 0 <= shown.min() <= shown.max() <= 1


def test_a_map_alone():
    scores = rng().random((4, 5)) - 0.5
    figure = explanation(scores, masks={"m": scores > 0})
    panels = headed(figure)
    assert len(panels["responsibility"].images) == 1
    assert panels["responsibility"].images[0].get_clim() == (scores.min(), scores.max())
    assert np.array_equal(panels["m"].images[0].get_array(), scores > 0)
    assert headed(explanation(np.zeros((4, 5))))["responsibility"].images[0].get_clim() == (0.0, 1.0)
    assert headed(explanation(scores, cmap="magma"))["responsibility"].images[0].cmap.name == "magma"


@pytest.mark.parametrize("shape", [(30,), (1, 30)])
def test_a_spectrum_is_a_curve_shaded_by_responsibility(shape):
    scores, x, mask = rng().random(30), rng(1).normal(size=shape), np.zeros(30, bool)
    mask[[3, 10, 11, 12]] = True
    [axes] = headed(explanation(scores, x=x, masks={"sufficient": mask})).values()
    assert np.allclose(axes.images[0].get_array(), scores[None])
    curve, kept = (np.asarray(line.get_ydata()) for line in axes.lines)
    flat = x.ravel()
    assert curve.argmin() == flat.argmax(), "up is up"
    assert np.array_equal(np.isfinite(kept), mask)
    assert np.allclose(kept[mask], curve[mask])
    labels = axes.get_yticklabels()
    ticks = [(tick, float(label.get_text())) for tick, label in zip(axes.get_yticks(), labels, strict=True)]
    least, most = ticks[0], ticks[-1]
    assert least[1] == pytest.approx(flat.min(), rel=0.01)
    assert most[1] == pytest.approx(flat.max(), rel=0.01)
    assert curve[flat.argmin()] == pytest.approx(least[0])
    assert curve[flat.argmax()] == pytest.approx(most[0])


def test_a_series_has_a_row_for_each_feature_and_a_block_for_each_mask():
    scores, x = rng().random((4, 20)), rng(1).normal(size=(4, 20))
    x[2] = 1.0  # constant
    masks = {"sufficient": scores > 0.8, "necessary": scores > 0.5}
    panels = headed(explanation(scores, x=x, masks=masks))
    assert list(panels) == list(masks)
    for name, mask in masks.items():
        curves = [line for line in panels[name].lines if line.get_color() == "0.25"]
        kept = [line for line in panels[name].lines if line.get_color() != "0.25"]
        assert len(curves) == 4
        for d, line in enumerate(curves):
            assert np.all(np.abs(np.asarray(line.get_ydata()) - d) <= 0.4 + 1e-9)
        shown = [np.isfinite(line.get_ydata()) for line in kept]
        assert np.array_equal(shown, [row for row in mask if row.any()])


def test_without_the_input_a_spectrum_shows_what_is_kept():
    mask = np.arange(12) % 3 == 0
    [axes] = headed(explanation(rng().random(12), masks={"m": mask})).values()
    assert not axes.lines
    assert drawn_border(axes) == border(mask[None])


def test_long_curves_lose_no_peak():
    scores = np.zeros(5000)
    scores[1234] = 1.0
    figure = explanation(scores, x=scores)
    peaks, means = figure.axes[0].images[0].get_array()
    assert len(peaks) == len(means) == 8 * plots.DPI
    assert peaks.max() == 1.0
    assert peaks.argmax() == means.argmax() == 1234 * len(peaks) // 5000
    assert "above their peak, below their mean" in figure.axes[0].get_xlabel()


SHAPES = {"image": (4, 6), "volume": (3, 4, 6), "series": (3, 20)}


@pytest.mark.parametrize("kind", ["map", "part", "input"])
@pytest.mark.parametrize("of", SHAPES)
def test_one_kind_of_panel(kind, of):
    scores = rng().random(SHAPES[of])
    x = rng(1).random(scores.shape if of == "series" else (3, *scores.shape))
    mask = scores > 0.5
    figure = explanation(scores, x=x, masks={"m": mask}, kind=kind)
    assert [axes.get_ylabel() for axes in figure.axes].count("responsibility") == (kind == "map"), "a scale for the map"
    assert any("m, " in name or name == "m" for name in headed(figure)) == (kind == "part" and of != "volume")
    image = figure.axes[0].images[-1].get_array()
    if of == "image":
        pixels = np.moveaxis(x, 0, -1)
        if kind == "map":
            assert np.allclose(image, scores)
        else:
            where = mask if kind == "part" else np.ones_like(mask)
            assert np.allclose(image[where], pixels[where])
            assert kind == "input" or image[~mask].min() >= 0.8
    if of == "series":
        kept = [line for line in figure.axes[0].lines if line.get_color() != "0.25"]
        assert len(kept) == 3 * (kind == "part")
        assert (image.max() > 0) == (kind == "map")


def test_one_panel_in_axes_of_ones_own():
    from matplotlib.figure import Figure

    figure = Figure()
    one, other = figure.subplots(1, 2)
    scores = rng().random((4, 6))
    assert explanation(scores, kind="map", ax=one, title="cat") is figure
    explanation(scores, x=scores, masks={"m": scores > 0.5}, ax=other)
    assert one.get_title("left") == "cat"
    assert other.lines
    with pytest.raises(ValueError, match="ax is for one panel, and these are 2"):
        explanation(scores, masks={"m": scores > 0.5}, ax=one)


def test_a_surface_is_the_map():
    scores = rng().random((4, 6))
    axes = plots.surface(scores, title="cat").axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_zlabel()) == ("column", "row", "responsibility")
    [faces] = axes.collections
    assert len(faces.get_facecolor()) == 3 * 5
    assert axes.get_zlim()[0] <= scores.min() < scores.max() <= axes.get_zlim()[1]
    with pytest.raises(ValueError, match="responsibility must have 2 axes"):
        plots.surface(np.zeros((2, 3, 4)))


def test_the_picture_shows_most_where_responsibility_is_least():
    scores, x = rng().random((6, 8)), rng(1).random((3, 6, 8))
    alpha = headed(explanation(scores, x=x))["responsibility"].images[1].get_alpha()
    assert np.array_equal(alpha.ravel().argsort(), scores.ravel().argsort())
    assert 0.3 < alpha.min() < alpha.max() < 1
    flat = headed(explanation(np.zeros((6, 8)), x=x))["responsibility"].images[1].get_alpha()
    assert np.unique(flat).size == 1


def test_slices_lie_about_the_mask():
    scores, mask = rng().random((40, 5, 6)), np.zeros((40, 5, 6), bool)
    mask[20:23, 2] = True
    scores[21, 2, 2] = 2.0
    panels = headed(explanation(scores, masks={"sufficient": mask}))
    assert list(panels) == [f"slice {z}" for z in range(19, 24)]


@pytest.mark.parametrize("depth", [1, 3, 40])
def test_slices_of_a_volume(depth):
    scores, x = rng().random((depth, 5, 6)), rng(1).random((2, depth, 5, 6))
    peak = depth - 1 - depth // 3
    scores[peak, 2, 2] = 3.0
    mask = scores > 0.6
    panels = headed(explanation(scores, x=x, masks={"sufficient": mask}))
    chosen = [int(name.split()[1]) for name in panels]
    assert len(chosen) == min(depth, MAX_SLICES)
    assert peak in chosen
    assert chosen == sorted(chosen)
    for z, axes in zip(chosen, panels.values(), strict=True):
        assert np.allclose(axes.images[-1].get_array(), scores[z])
        assert axes.images[-1].get_clim() == (0.0, 3.0)
        assert drawn_border(axes) == border(mask[z])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"responsibility": np.zeros((1, 2, 3, 4))}, "responsibility must have 1 or 2 or 3 axes"),
        ({"responsibility": np.zeros((0, 4))}, "responsibility must hold finite values"),
        ({"responsibility": np.full((4, 5), np.nan)}, "responsibility must hold finite values"),
        ({"x": np.zeros((3, 5, 4))}, r"x must be an input over the grid \(4, 5\), given \(3, 5, 4\)"),
        ({"responsibility": np.zeros(5), "x": np.zeros((2, 5))}, "x must be an input over the grid"),
        ({"masks": {"m": np.zeros((5, 4))}}, r"masks\['m'\] must have the shape of responsibility \(4, 5\)"),
        ({"masks": {"m": np.zeros(20)}}, r"masks\['m'\] must have 2 axes"),
        ({"path": "a.docx"}, "path must end in"),
        ({"kind": "surface"}, "kind must be one of all, map, part, input, got 'surface'"),
        ({"kind": "part"}, "kind='part' needs masks, and there is none"),
        ({"kind": "input"}, "kind='input' needs x, and there is none"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        explanation(**{"responsibility": np.zeros((4, 5)), **arguments})


@pytest.mark.parametrize("scale", [1e300, 1e-280])
@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 3, 4)])
def test_values_are_drawn_whatever_their_scale(shape, scale):
    scores = scale * np.where(np.arange(np.prod(shape)) % 2, 1.0, -1.0).reshape(shape)
    for x in (scores, scores[None]):
        figure = explanation(scores, x=x if len(shape) < 3 else scores[None], masks={"m": scores > 0})
        assert figure.axes[0].images[-1].get_clim() == (-scale, scale)
        figure.canvas.draw()


@pytest.mark.parametrize("large", [1.01e300, 1e308])
def test_values_too_far_apart_are_named(large):
    far = np.array([[large, -large], [0.0, 1.0]])
    cube = np.broadcast_to(far, (1, 2, 2))
    for name, call in {
        "responsibility": lambda: explanation(far),
        "x": lambda: explanation(np.zeros((2, 2)), x=far),
        "values": lambda: plots.heatmap(cube),
        "X": lambda: plots.heatmap(np.zeros((1, 2, 2)), X=cube),
        r"curves\['a'\]": lambda: plots.drop_curve([0, 1], {"a": far}),
        "fractions": lambda: plots.drop_curve(far[0], {"a": [0, 1]}),
    }.items():
        with pytest.raises(ValueError, match=rf"{name} must lie within 1e\+300 of zero to be drawn, given a value of"):
            call()


def test_the_band_of_large_values_is_one_standard_error():
    y = rng().normal(size=(5, 3))
    bands = [plots.drop_curve([0, 0.5, 1], {"a": s * y}).axes[0].collections[0].get_paths()[0] for s in (1.0, 2.0**900)]
    assert np.array_equal(bands[0].vertices[:, 0], bands[1].vertices[:, 0])
    np.testing.assert_allclose(bands[1].vertices[:, 1] / 2.0**900, bands[0].vertices[:, 1], rtol=1e-12, atol=1e-15)
    gap = np.where(np.arange(3) == 1, np.nan, y)
    [band] = plots.drop_curve([0, 0.5, 1], {"a": gap}).axes[0].collections
    assert np.unique(np.concatenate([path.vertices[:, 0] for path in band.get_paths()])).tolist() == [0.0, 100.0]
