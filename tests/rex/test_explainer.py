"""ReX end to end, through real games: what was planted is found, every mask suffices, bad input is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit.counterfactuals import Zero
from rambit.game import Game, TensorSample
from rambit.models import GRUClassifier
from rambit.predictors import PredictionError, Predictor
from rambit.rex import Decision, NoExplanationError, ReX, RexExplanation, SearchSettings, search
from rambit.rex.evaluation import evaluate
from rambit.rex.search import Iterations
from tests.rex.test_golden import fraction_model


def planted(shape, extent, seed, count=1):
    """An input (1, C, *shape) of noise with ``count`` separate blocks of ones, and the blocks (count, *shape)."""
    rng = np.random.default_rng(seed)
    blocks = []
    while len(blocks) < count:
        start = [int(rng.integers(0, n - extent + 1)) for n in shape]
        block = np.zeros(shape, dtype=bool)
        block[tuple(slice(s, s + extent) for s in start)] = True
        near = np.zeros(shape, dtype=bool)
        near[tuple(slice(max(0, s - 1), s + extent + 1) for s in start)] = True
        if not any((near & other).any() for other in blocks):
            blocks.append(block)
    x = 0.3 * rng.random((1, 1, *shape), dtype=np.float32)
    x[0, 0][np.any(blocks, axis=0)] = 1
    return torch.from_numpy(x), torch.from_numpy(np.stack(blocks))


def block_model(blocks):
    """As fraction_model, for inputs of any number of axes."""
    flat = blocks.flatten(1)
    model = fraction_model(flat[:, None])
    return lambda x: model(x.flatten(1)[:, None, None])


def suffices(model, x, mask):
    return int(model(x * mask).argmax()) == int(model(x).argmax())


@pytest.mark.parametrize(
    ("shape", "extent"), [((200,), 20), ((24, 30), 6), ((12, 14, 16), 5)], ids=["peak", "patch", "cube"]
)
def test_what_was_planted_is_found_for_twenty_seeds(shape, extent):
    for seed in range(20):
        x, blocks = planted(shape, extent, seed)
        model = block_model(blocks)
        explanation = ReX(model, seed=seed, iters=10).explain(x)
        assert explanation.responsibility.shape == explanation.mask.shape == shape
        assert bool(blocks[0].flatten()[explanation.responsibility.argmax()])
        assert suffices(model, x, explanation.mask)
        assert explanation.area == pytest.approx(float(explanation.mask.double().mean()))


def test_several_features_of_a_series_are_two_dimensional():
    x, blocks = planted((4, 60), 3, 5)
    model = block_model(blocks)
    explanation = ReX(model, seed=1).explain(x[0])
    assert explanation.responsibility.shape == explanation.mask.shape == (4, 60)
    assert bool(blocks[0].flatten()[explanation.responsibility.argmax()])
    assert suffices(model, x, explanation.mask)


@pytest.mark.slow
def test_planted_images_are_explained_by_little_more_than_needed():
    areas = []
    for seed in range(20):
        x, blocks = planted((64, 64), 10, 100 + seed)
        areas.append(int(ReX(block_model(blocks), seed=seed).explain(x).mask.sum()))
    assert np.mean(areas) <= 1.30 * 50


@pytest.mark.slow
def test_conjunctive_search_finds_two_separate_regions():
    areas = []
    for seed in range(20):
        x, blocks = planted((64, 64), 10, 200 + seed, count=2)
        explanation = ReX(block_model(blocks), seed=seed, search="conjunctive").explain(x)
        assert suffices(block_model(blocks), x, explanation.mask)
        areas.append(int(explanation.mask.sum()))
    assert np.mean(areas) <= 1.45 * 100


@pytest.mark.parametrize("options", [{}, {"queue": "all", "search_limit": 200}, {"search": "conjunctive"}], ids=str)
def test_a_generation_synchronises_once(monkeypatch, options):
    x, blocks = planted((32, 32), 8, 3)
    game = Game(Predictor.of(block_model(blocks)), TensorSample.spatial(x), Zero())
    decision = Decision(game, dimensions=2)
    assert game.runner.syncs == 1
    generations = []
    original = Iterations.generation

    def counted(run):
        generations.append(run)
        return original(run)

    monkeypatch.setattr(Iterations, "generation", counted)
    search(decision, SearchSettings(**options))
    assert len(generations) > 2
    assert game.runner.syncs - 1 <= len(generations)


def test_a_batch_is_attributed_one_input_at_a_time():
    pairs = [planted((20, 20), 6, seed) for seed in range(3)]
    X = torch.cat([x for x, _ in pairs])
    blocks = pairs[0][1]
    X[:, 0, blocks[0]] = 1
    explainer = ReX(block_model(blocks), iters=5)
    scores = explainer.attribute(X)
    assert scores.shape == (3, 20, 20)
    for b in range(3):
        assert torch.equal(scores[b], explainer.explain(X[b : b + 1]).responsibility)
    assert torch.equal(explainer.attribute(X, target=[1, 1, 1]), scores)
    series = explainer.attribute(X.view(3, 20, 20))
    assert series.shape == (3, 20, 20)
    assert explainer.attribute(X.view(3, 1, 400)).shape == (3, 1, 400)


def test_colour_and_grey_images_of_either_precision_agree():
    x, blocks = planted((20, 26), 6, 1)
    regions = blocks
    grey = ReX(fraction_model(regions), iters=4).explain(x)
    for other in (x.double(), x.expand(1, 3, 20, 26).contiguous()):
        explanation = ReX(fraction_model(regions), iters=4).explain(other)
        assert torch.equal(explanation.responsibility, grey.responsibility)
        assert torch.equal(explanation.mask, grey.mask)


@pytest.mark.parametrize("shape", [(2, 2), (1, 40), (40, 1), (2, 300), (3, 2000)], ids=str)
@pytest.mark.parametrize("columns", [1, 2])
def test_thin_images_and_models_with_one_column(shape, columns):
    x = 0.2 + torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(1))

    def model(batch):
        logit = 8 * (batch.flatten(1).mean(dim=1, keepdim=True) - 0.3)
        return logit if columns == 1 else torch.cat((torch.zeros_like(logit), logit), dim=1)

    explanation = ReX(model, iters=3, min_box_size=1, chunk_size=1).explain(x)
    assert explanation.mask.shape == shape
    assert explanation.target == 1  # one column is the logit of class 1
    assert explanation.area < 1
    assert float(model(x * explanation.mask)[0, -1]) > 0


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 2), (1, 1, 3, 3)], ids=str)
def test_an_input_that_is_too_small_to_split_says_so(shape):
    x = torch.ones(shape)
    with pytest.raises(NoExplanationError, match="min_box_size=10 leaves nothing to split in an input of"):
        ReX(lambda batch: batch.flatten(1)[:, :1].expand(-1, 2)).explain(x)


def constant(batch):
    return batch.new_tensor([[-0.5, 0.5]]).expand(len(batch), 2)


@pytest.mark.parametrize("strategy", ["global", "spatial", "multi_spotlight"])
def test_of_a_constant_model_nothing_is_explained(strategy):
    explanation = ReX(constant, iters=3, strategy=strategy).explain(torch.ones(1, 1, 12, 12))
    assert int(explanation.mask.sum()) == explanation.area == 0
    assert explanation.confidence == pytest.approx(1 / (1 + np.exp(-1)))
    assert explanation.stats["passing"] == explanation.stats["mutants"]
    assert "which what replaces the input has by itself" in repr(explanation)
    if strategy == "multi_spotlight":
        assert explanation.spotlights.shape == (1, 12, 12)


def test_nothing_suffices_where_what_replaces_the_input_has_its_class():
    x = torch.zeros(1, 1, 12, 12)
    x[..., :6] = 1.0

    def model(batch):  # class 1 for every image of which half or more is bright
        logit = 20 * (batch.flatten(1).mean(dim=1) - 0.49)
        return torch.stack((torch.zeros_like(logit), logit), dim=1)

    for value, empty in ((0, False), (1, True), ("mean", True), ("min", False), (torch.ones_like(x), True)):
        explanation = ReX(model, iters=3, mask_value=value).explain(x)
        assert explanation.area == 0 if empty else explanation.area >= 0.49
    # The replaced input has the class, but is not as sure of it as wanted.
    unsure = ReX(model, iters=3, mask_value="mean", minimum_confidence_threshold=1.0).explain(x * 1.1 + 0.2)
    assert unsure.area == 0
    sure = ReX(model, iters=3, mask_value=0.5, minimum_confidence_threshold=1.0).explain(x * 1.1 + 0.2)
    assert sure.area > 0


def test_an_odd_input_of_a_batch_is_named():
    x, blocks = planted((12, 12), 4, 0)
    X = torch.cat((x, x, x))
    explainer = ReX(block_model(blocks), iters=2)
    with pytest.raises(ValueError, match=r"X\[1\]: target must be the class that the model gives to x, 1"):
        explainer.attribute(X, target=[1, 0, 1])
    with pytest.raises(TypeError, match=r"X\[0\]: target must be an integer, got 1\.5"):
        explainer.attribute(X, target=[1.5, 1, 1])
    with pytest.raises(NoExplanationError, match=r"X\[0\]: min_box_size=200 leaves nothing to split"):
        ReX(block_model(blocks), min_box_size=200).attribute(X)
    broken = X.clone()
    broken[2, 0, 3, 4] = torch.nan
    with pytest.raises(ValueError, match=r"X must be finite, got NaN or infinite values, the first at \(2, 0, 3, 4\)"):
        explainer.attribute(broken)

    def model(batch):  # no number for what is mostly negative
        level = batch.flatten(1).mean(dim=1)
        return torch.stack((-level, torch.where(level < -0.1, torch.nan, level + 1)), dim=1)

    with pytest.raises(PredictionError, match=r"X\[1\]: the model returned NaN"):
        ReX(model, iters=2, mask_value="random").attribute(torch.cat((x, -x)))


@pytest.mark.parametrize(
    ("shape", "order"),
    [((1, 64, 48, 3), "0, 3, 1, 2"), ((1, 12, 30, 1), "0, 3, 1, 2"), ((1, 8, 9, 10, 4), "0, 4, 1, 2, 3")],
)
def test_channels_that_come_last_are_told_of(shape, order):
    with pytest.warns(
        UserWarning, match=rf"x .* is read as {shape[1]} channels.*give layout='NHWC', or x\.permute\({order}\)"
    ):
        ReX(constant, iters=1, min_box_size=1).explain(torch.rand(shape))


@pytest.mark.parametrize("shape", [(1, 3, 20, 20), (1, 64, 5, 5), (1, 3, 20, 3), (1, 1, 8, 9, 3)])
def test_channels_that_come_first_are_fine(shape):
    ReX(constant, iters=1, min_box_size=1).explain(torch.rand(shape))


def test_an_image_of_one_value_is_explained_and_evaluated():
    for value in (0.0, 0.7):
        x = torch.full((1, 1, 12, 12), value)
        for mask_value in (0, "min", "mean", "random", 0.3):
            explainer = ReX(lambda batch: batch.flatten(1)[:, :2] * 3, iters=2, mask_value=mask_value)
            found = explainer.evaluate(x, explainer.explain(x))
            assert found.robustness == 1.0
            assert np.isfinite([found.area, found.insertion, found.deletion]).all()


def test_an_answer_that_is_no_number_is_named():
    def model(batch):
        level = batch.flatten(1).mean(dim=1)
        return torch.stack((torch.zeros_like(level), torch.where(level < 0.2, torch.nan, level)), dim=1)

    with pytest.raises(PredictionError, match=r"NaN or infinite values for the row of series id 0, draw 0, mask \d+"):
        ReX(model, iters=3).explain(torch.ones(1, 1, 12, 12))


def test_memory_changes_nothing():
    x, blocks = planted((60, 60), 12, 4)
    x = x.expand(1, 3, 60, 60).contiguous()
    sizes = {}
    for memory in (1 << 20, 1 << 29):
        model, largest = fraction_model(blocks), []

        def watched(batch, model=model, largest=largest):
            largest.append(len(batch))
            return model(batch)

        explanation = ReX(watched, iters=4, max_memory=memory).explain(x)
        sizes[memory] = (max(largest), explanation)
    assert sizes[1 << 20][0] < sizes[1 << 29][0]
    few, many = (explanation for _, explanation in sizes.values())
    assert torch.equal(few.responsibility, many.responsibility)
    assert torch.equal(few.mask, many.mask)


def test_evaluation_asks_about_the_input_that_was_explained():
    x, blocks = planted((20, 24), 6, 3)
    explainer = ReX(block_model(blocks), iters=6, chunk_size=2)
    explanation = explainer.explain(x)
    found = explainer.evaluate(x, explanation, step=20, repeats=5, seed=1)
    decision = explainer.decision(x)
    assert decision.target == explanation.target
    assert found == evaluate(decision, explanation, step=20, repeats=5, seed=1)
    assert found.area == explanation.area
    assert found.deletion < found.insertion
    with pytest.raises(ValueError, match=r"explanation must be of x, over the grid \(20, 20\), got \(20, 24\)"):
        explainer.evaluate(x[..., :20], explanation)
    with pytest.raises(ValueError, match="target must be the class that the model gives to x, 0"):
        explainer.evaluate(torch.zeros_like(x), explanation)
    with pytest.raises(ValueError, match="step must be at least 1"):
        explainer.evaluate(x, explanation, step=0)


def test_why_not_another_class(tmp_path):
    def model(x):  # of two squares each speaks for a class of its own
        a, b = x[:, 0, 3:7, 3:7].mean((1, 2)), x[:, 0, 14:18, 12:16].mean((1, 2))
        return torch.stack((torch.zeros_like(a), 12 * (a - 0.4), 12 * (b - 0.6)), dim=1)

    x = 0.2 * torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    x[:, :, 3:7, 3:7], x[:, :, 14:18, 12:16] = 1, 0.9
    explainer = ReX(model, min_box_size=4, chunk_size=1)
    assert explainer.explain(x).predicted is None
    for target, fewest in ((0, 10 + 6), (2, 5)):  # by hand: so many pixels of the squares must be replaced
        found = explainer.explain(x, target=target)
        assert (found.target, found.predicted) == (target, 1)
        replaced = int((~found.mask).sum())
        assert fewest <= replaced <= fewest + 1
        probabilities = model(x * found.mask).softmax(1)[0]
        assert int(probabilities.argmax()) == target
        assert float(probabilities[target]) == pytest.approx(found.confidence, abs=1e-5)
        for position in (~found.mask).nonzero():  # none of them can be spared
            less = found.mask.clone()
            less[tuple(position)] = True
            assert int(model(x * less).argmax()) != target
        assert f"class {target} instead of class 1; {replaced / 400:.2%} replaced" in repr(found)
        found.save(tmp_path / f"{target}.safetensors")
        assert repr(RexExplanation.load(tmp_path / f"{target}.safetensors")) == repr(found)
        with pytest.raises(ValueError, match="target must be the class that the model gives"):
            explainer.evaluate(x, found)
    with pytest.raises(NoExplanationError, match="mutants gives class 0"):
        ReX(model, mask_value=1.0, min_box_size=4).explain(x, target=0)


def test_the_map_alone():
    x, model = small()
    found, alone = ReX(model).explain(x), ReX(model, strategy="map_only").explain(x)
    assert torch.equal(alone.responsibility, found.responsibility)
    assert alone.mask.all()
    assert alone.confidence == pytest.approx(float(found.outputs[found.target]))
    assert alone.stats["rows"] < found.stats["rows"]
    assert "all kept" in repr(alone)


def test_a_decision_is_open_to_questions():
    x, blocks = planted((20, 24), 6, 3)
    explainer = ReX(block_model(blocks), iters=6)
    decision = explainer.decision(x, target=1)
    found = search(decision, explainer)
    assert np.array_equal(found.maps[1][0], explainer.explain(x).responsibility.numpy())
    with pytest.raises(ValueError, match="target must be the class"):
        explainer.decision(x, target=0)
    with pytest.raises(ValueError, match="x must be one input"):
        explainer.decision(x.expand(2, 1, 20, 24))


def test_rows_are_what_the_model_answered():
    x, blocks = planted((20, 20), 6, 2)
    model, evaluated = block_model(blocks), []

    def counted(batch):
        evaluated.append(len(batch))
        return model(batch)

    explainer = ReX(counted, iters=4)
    explainer.explain(x)
    evaluated.clear()  # a model that was not seen before is looked at first, which is not counted
    explanation = explainer.explain(x)
    assert explanation.stats["rows"] == sum(evaluated)
    assert explanation.stats["passing"] < explanation.stats["mutants"]


def test_progress_tells_of_the_work(capsys):
    x, blocks = planted((20, 20), 6, 2)
    ReX(block_model(blocks), iters=2).explain(x, show_progress=True)
    assert "row-step" in capsys.readouterr().err


def small():
    x, blocks = planted((12, 12), 4, 0)
    return x, block_model(blocks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.expand(2, 1, 12, 12), r"x must be one input.*got a batch of 2: \(2, 1, 12, 12\)"),
        (lambda x: x[0, 0], r"x must be .*got \(12, 12\)"),
        (lambda x: x[:, :, :0], r"x must be .*got \(1, 1, 0, 12\)"),
        (lambda x: x / 0, "x must be finite"),
        (lambda x: x.new_zeros(1, 1, 1, 1).expand(1, 1, 9000, 9000), "x must have at most 67,108,864 positions"),
    ],
    ids=["two", "no batch", "empty", "infinite", "too large"],
)
def test_bad_inputs_are_named(change, message):
    x, model = small()
    with pytest.raises(ValueError, match=message):
        ReX(model).explain(change(x))


def test_inputs_of_other_types_are_named():
    x, model = small()
    with pytest.raises(TypeError, match=r"x must be floating for a model without floating weights, got torch\.int64"):
        ReX(model).explain(x.long())
    with pytest.raises(TypeError, match="x must be a tensor, got list"):
        ReX(model).explain(x.tolist())
    with pytest.raises(TypeError, match="target must be given by number, got 'cat'"):
        ReX(model).explain(x, target="cat")


def test_inputs_are_arrays_of_any_kind():
    x = planted((3, 40), 3, 0)[0][0]
    model = GRUClassifier(3, 4, 2).eval()
    rex = ReX(model, iters=3, min_box_size=2, mask_value="mean")
    one = rex.explain(x)
    arrays = {
        "array": x.numpy(),
        "double": x.double(),
        "big-endian": x.numpy().astype(">f4"),
        "reversed": np.ascontiguousarray(x.numpy()[:, :, ::-1])[:, :, ::-1],
        "read-only": np.broadcast_to(x.numpy(), x.shape),
        "nothing masked": np.ma.array(x.numpy(), mask=False),
        "long double": x.numpy().astype(np.longdouble),
    }
    for name, given in arrays.items():
        found = rex.explain(given)
        assert torch.equal(found.responsibility, one.responsibility), name
        assert torch.equal(rex.attribute(given), one.responsibility[None]), name
        assert rex.evaluate(given, found) == rex.evaluate(x, one), name
    for call in (rex.explain, rex.attribute, rex.decision, lambda x: rex.evaluate(x, one)):
        with pytest.raises(ValueError, match=r"(?i)x is a masked array with 5 masked values"):
            call(np.ma.array(x.numpy(), mask=np.arange(120).reshape(1, 3, 40) < 5))
        for given, message in ((x.to_sparse(), "is stored as"), (x.to("meta"), "is on the device 'meta'")):
            with pytest.raises(TypeError, match=f"(?i)x {message}"):
                call(given)
        with pytest.raises(ValueError, match=r"(?i)x holds values beyond torch\.float32.*first at \(0, 0, 0\)"):
            call(x.double() + 1e300)
    with pytest.raises(ValueError, match="target is a masked array"):
        rex.attribute(x, target=np.ma.array([0], mask=True))


def test_targets_must_exist_and_be_what_the_model_says():
    x, model = small()
    for target in (2, -1):
        with pytest.raises(ValueError, match=rf"target must be one of the 2 classes, 0 … 1, got {target}"):
            ReX(model).explain(x, target=target)
    with pytest.raises(ValueError, match=r"X\[0\]: target must be the class that the model gives to x, 1 .*got 0"):
        ReX(model).attribute(x, target=[0])
    with pytest.raises(ValueError, match=r"target=0 is another class than the model gives to x, 1.*'contrastive'"):
        ReX(model, strategy="contrastive").explain(x, target=0)
    with pytest.raises(ValueError, match=r"target must have one class an input, \(1,\), got 2"):
        ReX(model).attribute(x, target=[1, 1])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tree_depth": 0}, ValueError, "tree_depth must be at least 1, got 0"),
        ({"min_box_size": -1}, ValueError, "min_box_size must be at least 1, got -1"),
        ({"min_box_size": 2.5}, TypeError, "min_box_size must be an integer, got 2.5"),
        ({"iters": True}, TypeError, "iters must be an integer, got True"),
        ({"queue_len": 0}, ValueError, "queue_len must be at least 1, got 0"),
        ({"iters": 2**32}, ValueError, "iters must be at most 4294967295, got 4294967296"),
        ({"tree_depth": 10**30}, ValueError, "tree_depth must be at most 4294967295"),
        ({"spotlights": 10**30}, ValueError, "spotlights must be at most 500"),
        ({"chunk_size": 10**30}, ValueError, "chunk_size must be at most 2147483647"),
        ({"initial_radius": 10**30}, ValueError, "initial_radius must be at most 2147483647"),
        ({"budget": 10**30}, ValueError, "budget must be at most 2147483647"),
        ({"search_limit": 0}, ValueError, "search_limit must be at least 1, got 0"),
        ({"queue": "largest"}, ValueError, "queue must be one of area, all, intersection, dc, got 'largest'"),
        ({"distribution": "normal"}, ValueError, "distribution must be one of uniform, betabinom, adaptive"),
        ({"distribution": "betabinom"}, ValueError, "dist_args must be two positive numbers"),
        ({"distribution": "betabinom", "dist_args": (1, 0)}, ValueError, r"dist_args\[1\] must be above 0, got 0"),
        ({"dist_args": (1, 1)}, ValueError, "dist_args belongs to distribution 'betabinom' only"),
        ({"confidence_filter": -0.1}, ValueError, "confidence_filter must be at least 0, got -0.1"),
        ({"weighted": 1}, TypeError, "weighted must be True or False, got 1"),
        ({"responsibility_style": "sum"}, ValueError, "responsibility_style must be one of multiplicative, additive"),
        ({"search": "double"}, ValueError, "search must be one of single, conjunctive, got 'double'"),
        ({"search": "conjunctive", "queue": "all"}, ValueError, "search='conjunctive' needs a search_limit"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"strategy": "best"}, ValueError, "strategy must be one of global, spatial"),
        ({"chunk_size": 0}, ValueError, "chunk_size must be at least 1"),
        (
            {"minimum_confidence_threshold": "0.5"},
            TypeError,
            "minimum_confidence_threshold must be a number, got '0.5'",
        ),
        ({"radius_growth": []}, TypeError, r"radius_growth must be a number, got \[\]"),
        ({"radius_growth": 0.9}, ValueError, "radius_growth must be at least 1, got 0.9"),
        ({"permitted_overlap": None}, TypeError, "permitted_overlap must be a number, got None"),
        ({"permitted_overlap": 1.1}, ValueError, "permitted_overlap must be at least 0 and at most 1, got 1.1"),
        ({"search": np.array(["single", "a"])}, ValueError, "search must be one of single, conjunctive"),
        ({"output": "regression"}, ValueError, "output must be auto, logits or probs"),
        ({"max_memory": 10}, ValueError, "max_memory must be at least"),
        ({"max_memory": "512M"}, TypeError, "max_memory must be an integer, got '512M'"),
        ({"mask_value": "median"}, ValueError, "mask_value must be a number or one of min, mean"),
        ({"itres": 3}, TypeError, "ReX takes no itres; did you mean iters"),
        ({"queue_style": "all"}, TypeError, "ReX takes no queue_style; did you mean queue"),
        ({"qqq": 1}, TypeError, "ReX takes no qqq; it takes binary_threshold, budget, .*, weighted"),
    ],
    ids=str,
)
def test_bad_options_are_named_before_any_work(options, error, message):
    def model(x):
        raise AssertionError("the model was evaluated")

    with pytest.raises(error, match=message):
        ReX(model, **options)


def test_a_decision_that_needs_everything_has_no_explanation():
    def model(x):
        whole = (x != 0).flatten(1).all(dim=1).float()
        return torch.stack((1 - whole, whole), dim=1)

    x = torch.ones(1, 1, 12, 12)
    with pytest.raises(NoExplanationError, match=r"none of .* mutants gives class 1"):
        ReX(model, iters=3, output="probs").explain(x)
    with pytest.raises(NoExplanationError, match="none of"):
        ReX(model, iters=3, output="probs").attribute(x)


@pytest.mark.parametrize("mask_value", [0, "min", "random", "uniform:lo=0,hi=0.3", "linear"])
def test_several_inputs_in_lock_step_are_each_alone(mask_value):
    generator = torch.Generator().manual_seed(0)
    shape = (5, 2, 40) if mask_value == "linear" else (5, 1, 16, 20)
    X = torch.rand(shape, generator=generator)
    weights = torch.rand(2, X[0].numel(), generator=generator) < 0.15
    calls = []

    def model(x):  # row by row, so that no sum depends on the batch
        calls.append(len(x))
        sums = torch.stack([torch.stack([row.flatten()[w].sum() for w in weights]) for row in x])
        return torch.cat((sums, sums.new_full((len(x), 1), 9.0)), dim=1) / 2

    explainer = ReX(model, iters=3, min_box_size=4, mask_value=mask_value, queue_len=2, seed=3)
    together, calls_together = explainer.explain_all(X), len(calls)
    calls.clear()
    alone = [explainer.explain(X[b : b + 1]) for b in range(5)]
    assert calls_together < len(calls)
    for one, other in zip(together, alone, strict=True):
        assert repr(one) == repr(other)
        for name, tensor in other.tensors().items():
            assert torch.equal(one.tensors()[name], tensor), name
    maps = explainer.attribute(X, target=[one.target for one in alone])
    assert torch.equal(maps, torch.stack([one.responsibility for one in alone]))
    with pytest.raises(ValueError, match=r"X\[1\]: target must be one of the 3 classes"):
        explainer.explain_all(X, target=[alone[0].target, 3, 0, 0, 0])


def test_why_not_a_class_that_only_small_parts_have():
    def model(x):  # class 2 where some of the square is kept, and nearly nothing else
        square = x[:, 0, 12:16, 12:16].mean((1, 2))
        kept = (x > 0.05).flatten(1).double().mean(1).to(x)
        return torch.stack((0 * square, 9 * (square - 0.05), torch.where((square > 0.1) & (kept < 0.03), 9.0, -9.0)), 1)

    x = 0.1 + 0.1 * torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    x[:, :, 12:16, 12:16] = 1
    explainer = ReX(model, min_box_size=4, iters=1, chunk_size=1)
    for found in (explainer.explain(x, target=2), explainer.explain_all(torch.cat((x, x)), target=[1, 2])[1]):
        assert int(model(x * found.mask).argmax()) == found.target == 2
        assert found.predicted == 1
        # Its own search finds nothing: the map is that of the search for class 1.
        assert torch.equal(found.responsibility, explainer.explain(x).maps[2])


def test_an_error_in_lock_step_names_its_input():
    def model(x):  # no number for dark rows of the second input
        level, bright = x.flatten(1).mean(1), x.flatten(1).amax(1) > 1.5
        return torch.stack((-level, torch.where((level < 0.3) & bright, torch.nan, level + 1)), dim=1)

    x = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    explainer = ReX(model, iters=2)
    for call in (explainer.attribute, explainer.explain_all):
        with pytest.raises(PredictionError, match=r"X\[1\]: the model returned NaN"):
            call(torch.cat((x, 2 * x, x)))


def test_classes_by_name():
    x, model = small()
    rex = ReX(model, iters=2)
    own = int(rex.explain(x).target)
    names = ["cat", "dog"] if own == 1 else ["dog", "cat"]
    found, expected = rex.explain(x, target="dog", labels={"outputs": names}), rex.explain(x, target=own)
    assert found.target == own
    assert torch.equal(found.responsibility, expected.responsibility)
    assert torch.equal(rex.explain_all(x, target=["dog"], labels={"outputs": names})[0].mask, expected.mask)
    with pytest.raises(ValueError, match="target must be one of dog, cat, got 'dgo'"):
        rex.explain(x, target="dgo", labels={"outputs": names})
    rex.predictor.class_names = tuple(names)
    assert torch.equal(rex.attribute(x, target=["dog"])[0], expected.responsibility)
    assert rex.decision(x, target="dog").target == own
