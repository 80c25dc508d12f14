"""What `rambit rex` writes beside the result: measures, pictures, names; and what may replace."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from rambit.rex import ReX, RexExplanation
from rambit.rex.mask_values import strategies
from tests.cli.test_rex_inputs import QUICK, photo, zoo  # noqa: F401  the fixture

pillow = pytest.importorskip("PIL.Image")
MODEL = ("--model", "zoo_inputs:first", "--model-id", "first")


@pytest.fixture
def one(rambit, zoo):  # noqa: F811
    """Explain a photo with these options: what was printed, and the result."""
    photo("a.png")

    def run(*options, **more):
        done = rambit("rex", "a.png", *MODEL, "--out", "a.safetensors", "--force", *QUICK, *options)
        assert done.code == 0, done.err
        return done, RexExplanation.load("a.safetensors")

    return run


def test_measures_in_the_report_and_in_the_file(one, rambit):
    done, found = one("--analyse")
    evaluation = ReX(first, iters=2, min_box_size=4).evaluate(found.x, found, step=2)
    assert found.measures == pytest.approx(evaluation.measures())
    assert torch.equal(found.curves, torch.tensor(evaluation.points, dtype=torch.float64))
    assert np.trapezoid(found.curves[1], found.curves[0]) / float(found.outputs[1]) == pytest.approx(
        evaluation.insertion
    )
    for name in ("area", "entropy", "insertion", "deletion", "robustness", "curves"):
        assert f"\n{name}" in done.out
    assert re.search(rf"\n  50% +{np.interp(0.5, *found.curves[:2].numpy()):.4f}  ", done.out)
    rambit("rex", "a.png", *MODEL, "--out", "b.safetensors", *QUICK)
    assert RexExplanation.load("b.safetensors").measures is None


def first(x):
    logits = 8 * (x[:, :, :8, :8].mean((1, 2, 3)) - 0.3)
    return torch.stack((torch.zeros_like(logits), logits), dim=1)


def test_the_map_alone(one, fails):
    done, found = one("--map-only")
    assert "only the map was made" in done.out
    assert found.mask.all()
    assert torch.equal(found.responsibility, one()[1].responsibility)
    said = fails("rex", "a.png", *MODEL, "--out", "b.safetensors", "--picture", "b.png", "--map-only", *QUICK)
    assert "nothing is looked for" in said


@pytest.mark.parametrize("style", ["raw", "colour", "alpha", "grid"])
def test_the_explained_image(one, style):
    _, found = one("--picture", "e.png", "--picture-as", style, "--mask-value", 0.25, "--mean", 0.5, "--std", 0.5)
    image, drawn = (np.asarray(pillow.open(name).convert("RGB")).astype(float) for name in ("a.png", "e.png"))
    kept = found.mask.numpy()
    if style == "grid":
        assert (drawn[:, 1] == 128).all()
        kept = kept & (drawn != 128).any(2)
    assert np.array_equal(drawn[kept], image[kept])
    other = ~found.mask.numpy() & (drawn != 128).any(2)
    expected = {"raw": 0 * image + round((0.25 * 0.5 + 0.5) * 255), "colour": 0 * image + 200}
    faint = expected.get(style, 200 + 0.2 * (image - 200))
    assert np.abs(drawn - faint)[other].max() <= 0.5


@pytest.mark.parametrize("part", ["necessary", "complete"])
def test_the_explained_image_is_the_part_that_was_looked_for(one, part):
    options = ("--strategy", {"necessary": "contrastive"}.get(part, part), "--chunk-size", 4)
    _, found = one("--picture", "e.png", "--picture-as", "colour", *options)
    kept = getattr(found, part).numpy()
    assert not np.array_equal(kept, found.mask.numpy())
    drawn = np.asarray(pillow.open("e.png"))
    assert np.array_equal(drawn[kept], np.asarray(pillow.open("a.png"))[kept])
    assert (drawn[~kept] == 200).all()


def test_pictures_of_one_and_of_many(one, rambit, fails, zoo):  # noqa: F811
    pytest.importorskip("matplotlib")
    done, _ = one("--figure", "f.png", "--heatmap", "h.png", "--surface", "s.pdf", "--picture", "p.jpg")
    assert "wrote" in done.out
    assert all((zoo / name).stat().st_size > 500 for name in ("f.png", "h.png", "s.pdf", "p.jpg"))
    with pillow.open("p.jpg") as image:
        assert image.format == "JPEG"
    (zoo / "photos").mkdir()
    photo("photos/a.png")
    given = ("rex", "photos", *MODEL, *QUICK, "--analyse")
    rambit(*given, "--out", "r", "--surface", "surfaces", "--picture", "pictures")
    assert (zoo / "surfaces" / "a.png.png").is_file()
    assert (zoo / "pictures" / "a.png.png").is_file()
    assert "--picture must end in" in fails("rex", "a.png", *MODEL, "--out", "b.safetensors", "--picture", "b.pdf")
    assert "--picture-as says" in fails("rex", "a.png", *MODEL, "--out", "b.safetensors", "--picture-as", "raw")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "dark\nbright\n"),
        ("names.json", json.dumps(["dark", "bright"])),
        ("index.json", json.dumps({"0": ["n01", "dark"], "1": ["n02", "bright"]})),
    ],
)
def test_names_of_classes(one, zoo, name, text):  # noqa: F811
    (zoo / name).write_text(text)
    done, found = one("--labels", name)
    assert "1 bright" in done.out
    assert found.labels.outputs == ("dark", "bright")
    done, found = one("--labels", name, "--target", 0)
    assert "instead of  1 bright" in done.out
    assert "dark instead of bright" in repr(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dark\n", "outputs"),
        ("[1, 2]", "must hold a list of names"),
        ('{"1": "a"}', "and has no 0"),
        ("{", "can't be read as names of classes"),
    ],
)
def test_wrong_names(fails, zoo, text, said):  # noqa: F811
    photo("a.png")
    name = "names.txt" if text == "dark\n" else "names.json"
    (zoo / name).write_text(text)
    assert said in fails("rex", "a.png", *MODEL, "--out", "a.safetensors", "--labels", name, *QUICK)


# -- what replaces -----------------------------------------------------------------------------------------------------


def test_a_file_replaces(one, rambit, fails, zoo):  # noqa: F811
    context = (np.random.default_rng(2).random((16, 16, 3)) * 40).astype(np.uint8)
    pillow.fromarray(context).save("context.png")
    x = torch.from_numpy(context).permute(2, 0, 1)[None] / 255
    _, found = one("--mask-value", "context.png")
    assert torch.equal(found.mask, ReX(first, iters=2, min_box_size=4, mask_value=x).explain(found.x).mask)
    _, noisy = one("--mask-value", "context.png", "--noise", 0.1, "--picture", "e.png", "--picture-as", "raw")
    added = np.asarray(pillow.open("e.png")).astype(float) - context
    assert 10 < added[~noisy.mask.numpy()].std() < 30  # of 0.1 · 255, cut at 0
    assert "--noise is added to the file" in fails("rex", "a.png", *MODEL, "--out", "b.safetensors", "--noise", 1)
    (zoo / "photos").mkdir()
    photo("photos/a.png")
    given = ("rex", "photos", *MODEL, *QUICK, "--mask-value", "context.png", "--out", "r")
    assert rambit(*given).code == 0
    pillow.fromarray(context // 2).save("context.png")
    assert "settings" in fails(*given)


def test_any_strategy_by_its_name(one):
    _, named = one("--mask-value", "uniform:lo=0,hi=0.2")
    assert named.settings["mask_value"] == "uniform:lo=0,hi=0.2"
    assert {"zero", "gaussian", "uniform", "interpolate", "carry_forward"} <= set(strategies())
    for name in strategies():
        if name in ("interpolate", "carry_forward"):
            with pytest.raises(ValueError, match="fills gaps along time"):
                ReX(first, mask_value=name).explain(torch.rand(1, 3, 16, 16))
        else:
            ReX(first, mask_value=name, iters=1).explain(torch.rand(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"mask_value must be a number or one of min, .*gaussian.*given 'marginal'"):
        ReX(first, mask_value="marginal")
    with pytest.raises(ValueError, match="mask_value: strategy gaussian has no option"):
        ReX(first, mask_value="gaussian:width=2")


def test_what_the_model_reads():
    x = torch.rand(1, 3, 8, 9)
    mask = torch.rand(8, 9) < 0.5
    assert torch.equal(ReX(first, mask_value="min").masked(x, mask), torch.where(mask, x, x.min()))
    last = ReX(lambda x: first(x.movedim(-1, 1)), layout="NHWC").masked(x.movedim(1, -1), mask)
    assert torch.equal(last, (x * mask).movedim(1, -1))
    with pytest.raises(ValueError, match=r"mask must be \(8, 9\) bool"):
        ReX(first).masked(x, mask.T)
    with pytest.raises(ValueError, match="depends on what is kept"):
        ReX(first, mask_value="linear").masked(torch.rand(1, 1, 8), torch.ones(8, dtype=torch.bool))
