"""The demo end to end, with parts missing, and the two checks that it prints."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from rambit import Attribution, Predictor, RaMbIT
from rambit.cli import demo
from rambit.cli.demo import motions, parts, spike
from rambit.cli.demo.demo_checks import average_precision, probability_drop
from rambit.counterfactuals import Gaussian, Zero
from rambit.datasets import load
from rambit.training import load_checkpoint

TINY = replace(parts.FAST, motion_epochs=1, motion_series=4, masks=2, spike_epochs=30, spike_series=200)


@pytest.mark.slow
def test_fast(rambit, tmp_path):
    pytest.importorskip("sktime")
    pytest.importorskip("matplotlib")
    out = tmp_path / "demo"
    done = rambit("demo", "--fast", "--out", out)
    assert done.code == 0, done.err
    assert done.err == ""
    assert len(done.out.splitlines()) < 40
    assert max(map(len, done.out.splitlines())) < 120 + len(str(out))
    names = {path.name for path in out.iterdir()}
    assert names == {*motions.FILES, *motions.FIGURES, *spike.FILES, *spike.FIGURES}
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in (*motions.FIGURES, *spike.FIGURES))
    assert Attribution.load(out / "basicmotions.safetensors").settings["anchor"] == "end"
    assert Attribution.load(out / "spike.safetensors").settings["anchor"] == "cell"

    rows = [line.split() for line in done.out.splitlines() if line.strip().startswith(("highest", "any cells"))]
    curves = [[float(number) for number in row[2:]] for row in rows]
    for ranked, random in ((curves[0], curves[1]), (curves[2], curves[3])):
        assert ranked[0] == random[0]
        assert min(ranked) < random[-1]
    auprc = float(done.out.split("AUPRC ")[1].split()[0])
    assert auprc > 0.8

    # What it suggests next works as it is printed.
    lines = done.out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("  rambit attribute"))
    words = " ".join(lines[first : first + 2]).replace("\\", "").split()[1:]
    words[words.index("--out") + 1] = str(tmp_path / "scores.safetensors")
    assert rambit(*words).code == 0


def test_files_are_kept(fails, rambit, tmp_path, monkeypatch):
    monkeypatch.setattr(motions, "read", lambda: None)
    monkeypatch.setattr(spike, "explain", lambda job: "explained")
    mine = tmp_path / "spike.png"
    mine.write_text("mine")
    assert "spike.png exists; --force overwrites it" in fails("demo", "--out", tmp_path)
    assert "is not a folder" in fails("demo", "--out", mine)
    assert "explained" in rambit("demo", "--out", tmp_path, "--force").out


def test_without_sktime_and_matplotlib(rambit, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "FAST", TINY)
    for name in ("sktime", "sktime.datasets", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    out = tmp_path / "new" / "demo"
    done = rambit("demo", "--fast", "--out", out)
    assert done.code == 0, done.err
    assert done.out.startswith("BasicMotions is skipped: it comes with sktime, pip install 'rambit[data]'\n")
    assert "Spike: " in done.out
    assert "Figures are skipped: they need matplotlib, pip install 'rambit[plots]'" in done.out
    assert {path.name for path in out.iterdir()} == set(spike.FILES)

    # The scores that it wrote are those of the model that it wrote.
    saved = Attribution.load(out / "spike.safetensors")
    model, _ = load_checkpoint(out / "spike-model.safetensors")
    X = torch.from_numpy(load(f"spike:n={TINY.spike_series}", "test").X)
    again = RaMbIT(model, counterfactuals="interpolate", num_samples=1).attribute(X)
    torch.testing.assert_close(saved.values, again)


def test_threads_come_back(threads):
    threads(2)
    with parts.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_average_precision():
    scores, truth = np.array([[0.9, 0.8], [0.7, 0.1]]), np.array([[True, False], [True, False]])
    assert average_precision(scores, truth) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(truth.astype(float), truth) == 1
    assert average_precision(np.zeros((2, 2)), truth) == 0.5  # one threshold for all: the share of true cells
    assert average_precision(np.array([1.0, 1.0, 0.0]), np.array([True, False, True])) == pytest.approx(
        (1 / 2 + 2 / 3) / 2
    )


def test_average_precision_as_in_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, truth = rng.integers(0, 6, 50) / 5, rng.random(50) < 0.3
        assert average_precision(scores, truth) == pytest.approx(metrics.average_precision_score(truth, scores))


def judge(x):
    return torch.stack([x[:, 0].sum(-1), x[:, 1].sum(-1) - 1], dim=1)


def test_probability_drop_by_hand():
    """Zeros stand in: the first k cells by score are zero, and the model is asked directly."""
    x = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    scores = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    predictor, ks = Predictor.of(judge), [0, 1, 4, 10]
    ranked, random = probability_drop(predictor, Zero(), x, scores, ks, series=0, draws=1)
    target = int(judge(x[None])[0].argmax())
    for k, value in zip(ks, ranked, strict=True):
        masked = x.clone().flatten()
        masked[scores.flatten().argsort(descending=True)[:k]] = 0
        assert value == pytest.approx(judge(masked.view(1, 2, 5)).softmax(1)[0, target].item(), abs=1e-6)
    assert random[0] == ranked[0]
    assert random[-1] == pytest.approx(ranked[-1].item())


def test_probability_drop_repeats_and_differs_by_series():
    x, scores = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)), torch.arange(10.0).view(2, 5)

    def drop(series):
        return probability_drop(Predictor.of(judge), Gaussian(), x, scores, [3], series=series, draws=2)

    assert all(torch.equal(a, b) for a, b in zip(drop(0), drop(0), strict=True))
    assert not torch.equal(drop(0)[0], drop(1)[0])
