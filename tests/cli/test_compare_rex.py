"""ReX in a table of `rambit compare`: its responsibility as scores, and series that it does not explain."""

from __future__ import annotations

import pytest
import torch

from rambit.compare.methods import parse
from rambit.compare.responsibility import Responsibility
from rambit.compare.runs import Data, Sketch
from rambit.game import batch_size
from rambit.rex import ReX


def rising(x):
    """Class 1 where the second half of a series is above the first."""
    rise = x[:, 0, 10:].mean(1) - x[:, 0, :10].mean(1)
    return torch.stack((torch.zeros_like(rise), 4 * rise), dim=1)


def whole(x):
    """Class 1 for series that lack nothing."""
    complete = (x != 0).flatten(1).all(dim=1).float()
    return torch.stack((1 - complete, complete), dim=1)


@pytest.mark.parametrize("features", [1, 3])
def test_scores_are_the_responsibility(features, monkeypatch):
    X = 1 + torch.rand(4, features, 20, generator=torch.Generator().manual_seed(0))
    evaluated = []

    def counted(x):
        evaluated.append(len(x))
        return rising(x)

    method = Responsibility(counted, iters=4, min_box_size=2, mask_value="mean", seed=3)
    method.rex.predictor.looked = True  # that look is not counted, nor is the one at what a row costs
    monkeypatch.setattr(batch_size, "read_activations", lambda *_: None)
    found = method.explain(X)
    assert found.rows == sum(evaluated)
    assert found.row_steps == 20 * found.rows
    explainer = ReX(rising, iters=4, min_box_size=2, mask_value="mean", seed=3)
    assert torch.equal(found.values, explainer.attribute(X))
    assert found.settings == {**explainer.settings(), "layout": "BDT", "unexplained": 0}


def test_series_that_are_not_explained_score_nothing_and_are_counted():
    X = torch.ones(3, 12, 12)
    X[1, 0, 0] = 0.0  # class 0, for which any part suffices
    found = Responsibility(whole, iters=3).explain(X)  # votes: it looks at decisions alone
    assert found.settings["unexplained"] == 2
    assert found.evaluated.flatten(1).all(dim=1).tolist() == [False, True, False]
    assert not found.values[[0, 2]].any()
    assert found.values[1].any()
    assert found.rows > 3


def test_its_options(fails, tmp_path):
    sketch = Sketch(Data.read("spike:n=40,T=15", 4))
    method = parse("rex:iters=3,mask_value=0.5,search=conjunctive")
    built = method.build(sketch)
    assert (built.rex.iters, built.rex.mask_value, built.rex.search) == (3, 0.5, "conjunctive")
    command = ["compare", "--data", "spike:n=40,T=15", "--out", tmp_path / "out", "--methods"]
    for text, said in (("size=3", "rex has no option 'size=3'"), ("iters=0", "iters must be at least 1, got 0")):
        assert said in fails(*command, f"rex:{text}")
    assert "--methods rex:mask_value=median: mask_value must be a number or" in fails(*command, "rex:mask_value=median")
    assert not (tmp_path / "out").exists()
