"""Scores judged by asking the model again: the definition, time_interpret, WinIT's removals, and bad input."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rambit import metrics
from rambit.counterfactuals import CarryForward, Interpolate, Mean, Replay, Zero
from rambit.game import Game, TensorSample
from rambit.predictors import Predictor
from tests.naive import metrics as naive

AT_ONCE = ("comprehensiveness", "log_odds", "average_prediction_difference")
ONE_BY_ONE = ("cpd", "cpp")
CURVES = ("deletion_auc", "insertion_auc")


def random_model(seed, D, T, C=3):
    """A small network in float64: logits (N, C) of (N, D, T)."""
    random = np.random.RandomState(seed)
    first, second = (torch.from_numpy(random.randn(*shape)) for shape in ((D * T, 6), (6, C)))
    return lambda x: torch.tanh(x.flatten(1) @ first) @ second


class Case:
    """A game and its twin on the same random series."""

    def __init__(
        self, seed=0, B=3, D=2, T=4, C=3, draws=1, kind="zero", missing=0.0, levels=None, output="auto", **options
    ):
        random = np.random.RandomState(seed)
        self.f = random_model(seed + 1, D, T, C)
        self.x = torch.from_numpy(random.randn(B, D, T))
        self.scores = random.rand(B, D, T) - 0.3 if levels is None else random.randint(levels, size=(B, D, T)) / levels
        observed = torch.from_numpy(random.rand(B, D, T) >= missing)
        observed[:, 0, :2] = True  # something to remove in every series, after t = 0 too
        strategy = {
            "zero": Zero,
            "mean": Mean,
            "carry_forward": CarryForward,
            "interpolate": Interpolate,
            "replay": lambda: Replay(torch.from_numpy(random.randn(draws, B, D, T))),
        }[kind]()
        sample = TensorSample(self.x, torch.arange(B), None if missing == 0 else observed)
        predictor = Predictor.of(self.f, output=output)
        self.game = Game(predictor, sample, strategy, draws=draws, **options)
        values = {
            "zero": lambda: torch.zeros(1, B, D, T, dtype=torch.float64),
            "mean": lambda: strategy.draws(self.x, sample.observed, sample.ids, 1, seed=0),
            "replay": lambda: strategy.values,
        }
        fixed = values[kind]() if kind in values else None
        self.twin = naive.Evaluated(
            lambda x: predictor.whole(x)[:, :, 0],
            self.x,
            fixed,
            kind if fixed is None else "fixed",
            observed if missing else None,
        )

    def both(self, name, *arguments, **options):
        ours = getattr(metrics, name)(self.game, self.scores, *arguments, **options)
        theirs = getattr(naive, name)(self.twin, self.scores, *arguments, **options)
        assert isinstance(ours, float)
        return ours, pytest.approx(theirs, rel=1e-9, abs=1e-9)


@st.composite
def cases(draw, **fixed):
    options = {
        "seed": draw(st.integers(0, 10**6)),
        "B": draw(st.integers(1, 3)),
        "D": draw(st.integers(1, 3)),
        "T": draw(st.integers(2, 5)),
        "C": draw(st.sampled_from([1, 2, 3])),
        "kind": draw(st.sampled_from(["zero", "mean", "carry_forward", "interpolate", "replay"])),
        "missing": draw(st.sampled_from([0.0, 0.4])),
        "levels": draw(st.sampled_from([None, 1, 3])),
        "batch_size": draw(st.sampled_from([1, 5, 1000])),
        **fixed,
    }
    if options["kind"] == "replay":
        options["draws"] = draw(st.integers(1, 2))
    return Case(**options)


AMOUNTS = st.sampled_from([1, 2, 3, 0.34, 0.5, 0.9, 1.0])
PER = st.sampled_from(["series", "all"])
EXTENTS = st.sampled_from(["cell", "end", "std"])


def some(case, k, per, extent):
    """Whether k is an allowed amount of this case's cells."""
    cells = [len(case.twin.cells(b, 0 if extent == "cell" else 1)) for b in range(len(case.x))]
    size = sum(cells) if per == "all" else max(cells)
    return k <= size if isinstance(k, int) else k * size >= 1


# -- the definition ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*AT_ONCE, *ONE_BY_ONE, "masked_count"])
@settings(max_examples=100)
@given(case=cases(), k=AMOUNTS, per=PER, extent=EXTENTS)
def test_is_what_the_twin_computes(name, case, k, per, extent):
    assume(some(case, k, per, extent))
    ours, theirs = case.both(name, k, per=per, extent=extent)
    assert ours == theirs


@settings(max_examples=100)
@given(case=cases(), k=AMOUNTS, per=PER)
def test_sufficiency_is_what_the_twin_computes(case, k, per):
    assume(some(case, k, per, "cell"))
    ours, theirs = case.both("sufficiency", k, per=per)
    assert ours == theirs


@pytest.mark.parametrize("name", CURVES)
@settings(max_examples=80)
@given(case=cases(), steps=st.sampled_from([None, 1, 2]))
def test_curves_are_what_the_twin_computes(name, case, steps):
    ours, theirs = case.both(name, steps=steps)
    assert ours == theirs


@pytest.mark.parametrize("name", ["deletion_curve", "insertion_curve"])
@settings(max_examples=40)
@given(case=cases(), steps=st.sampled_from([None, 1, 2]))
def test_points_of_curves_are_what_the_twin_computes(name, case, steps):
    found = getattr(metrics, name)(case.game, case.scores, steps=steps)
    assert found == pytest.approx(getattr(naive, name)(case.twin, case.scores, steps), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", [*AT_ONCE, *ONE_BY_ONE, *CURVES, "sufficiency", "masked_count"])
@settings(max_examples=15)
@given(case=cases())
def test_the_number_of_each_series(name, case):
    k = () if name in CURVES else (0.5,)
    found = getattr(metrics, name)(case.game, case.scores, *k)
    assert type(found) is metrics.SeriesMean
    for b, value in enumerate(found.by_series):
        alone = copy.copy(case.twin)
        alone.all = lambda b=b: [(b, s) for s in range(case.twin.S)]
        assert value == pytest.approx(getattr(naive, name)(alone, case.scores, *k), rel=1e-9, abs=1e-9)
    assert found == pytest.approx(found.by_series.mean(), rel=1e-12)


def test_all_that_a_table_may_show_are_registered():
    named = {*AT_ONCE, *ONE_BY_ONE, *CURVES, "sufficiency", "auc_drop", "masked_count"}
    assert named <= set(metrics.FAITHFULNESS)
    assert all(metrics.FAITHFULNESS[name] is getattr(metrics, name) for name in named)


@settings(max_examples=80)
@given(case=cases(B=6, C=3), k=AMOUNTS, per=PER, extent=EXTENTS, seed=st.integers(0, 100))
def test_auc_drop_is_what_the_twin_computes(case, k, per, extent, seed):
    assume(some(case, k, per, extent))
    labels = [0, 1, *np.random.RandomState(seed).randint(3, size=4).tolist()]
    ours = metrics.auc_drop(case.game, case.scores, labels, k, per=per, extent=extent)
    theirs = naive.auc_drop(case.twin, case.scores, labels, k, per, extent)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ["average_prediction_difference", "cpd", "cpp"])
@pytest.mark.parametrize("extent", ["cell", "std"])
def test_regression(name, extent):
    case = Case(seed=5, output="regression", kind="carry_forward")
    options = {"regression": True} if name == "average_prediction_difference" else {}
    ours = getattr(metrics, name)(case.game, case.scores, 0.4, extent=extent)
    theirs = getattr(naive, name)(case.twin, case.scores, 0.4, extent=extent, **options)
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_by_hand():
    # One series, two cells, p = sigmoid(x0 + 3 x1) of class 1: the second cell matters most.
    x = torch.tensor([[[1.0, 1.0]]], dtype=torch.float64)
    weight = torch.tensor([1.0, 3.0], dtype=torch.float64)
    game = Game(
        Predictor.of(lambda x: (x[:, 0] * weight).sum(1, keepdim=True)), TensorSample(x, torch.arange(1)), Zero()
    )
    p = {k: 1 / (1 + np.exp(-k)) for k in (0, 1, 3, 4)}
    scores = np.array([[[0.1, 0.9]]])
    assert metrics.comprehensiveness(game, scores, 1) == pytest.approx(p[4] - p[1])
    assert metrics.comprehensiveness(game, scores, 1, target=0) == pytest.approx(p[1] - p[4])
    assert metrics.sufficiency(game, scores, 1) == pytest.approx(p[4] - p[3])
    assert metrics.log_odds(game, scores, 1) == pytest.approx(np.log(p[1]) - np.log(p[4]))
    assert metrics.average_prediction_difference(game, scores, 1, target=[1]) == pytest.approx(p[4] - p[1])
    assert metrics.cpd(game, scores, 1.0) == pytest.approx(2 * (p[4] - p[0]))
    assert metrics.cpd(game, scores, 1) == pytest.approx(2 * (p[4] - p[1]))
    assert metrics.cpp(game, scores, 1) == pytest.approx(2 * (p[4] - p[3]))
    assert metrics.deletion_auc(game, scores) == pytest.approx((p[4] / 2 + p[1] + p[0] / 2) / 2)
    assert metrics.insertion_auc(game, scores) == pytest.approx((p[0] / 2 + p[3] + p[4] / 2) / 2)
    assert metrics.insertion_auc(game, scores, steps=1) == pytest.approx((p[0] + p[4]) / 2)


def test_auc_drop_by_hand():
    # The answer follows cell 0 alone, which separates the classes; without it all series answer alike.
    x = torch.tensor([[[-2.0, 5.0]], [[-1.0, 5.0]], [[1.0, 5.0]], [[2.0, 5.0]]], dtype=torch.float64)
    predictor = Predictor.of(lambda x: torch.stack((-x[:, 0, 0], x[:, 0, 0]), dim=1))
    game = Game(predictor, TensorSample(x, torch.arange(4)), Zero())
    labels = torch.tensor([0, 0, 1, 1])
    first = np.tile([[[1.0, 0.0]]], (4, 1, 1))
    assert metrics.auc_drop(game, first, labels, 1) == 0.5
    assert metrics.auc_drop(game, 1 - first, labels, 1) == 0
    assert metrics.auc_drop(game, first, 1 - labels, 1) == -0.5
    assert metrics.auc_drop(game, first, labels.bool(), 1) == 0.5


def test_top_k_overall():
    """Overall, the series with the highest scores lose the most."""
    case = Case(B=2, D=1, T=3)
    scores = np.array([[[0.9, 0.8, 0.1]], [[0.5, 0.2, 0.7]]])
    without = metrics.comprehensiveness(case.game, scores, 0.5, per="all")
    gone = [[(0, 0), (0, 1)], [(0, 2)]]
    drops = [case.twin(b, 0, []) - case.twin(b, 0, gone[b]) for b in range(2)]
    assert without == pytest.approx(np.mean([drops[b][case.twin.target(b)] for b in range(2)]))


def test_a_series_that_has_lost_its_share_adds_nothing():
    """Overall, one series goes on longer; the other, asked along with it, may round differently in each batch."""
    x = torch.tensor([[[0.5, -1.0, 2.0]], [[7.0, 1.0, 1.0]]], dtype=torch.float64)
    scores = np.array([[[3.0, 2.0, 1.0]], [[0.0, 0.0, 0.0]]])
    values = []
    for noise in (0.0, 0.1):
        calls = []

        def f(x, noise=noise, calls=calls):
            calls.append(len(x))
            total = x.sum((1, 2)) + noise * len(calls) * (x[:, 0, 0] == 7)
            return torch.stack((total, -total), dim=1)

        predictor = Predictor.of(f, output="logits")
        predictor.looked = True  # only the rows that are asked for
        game = Game(predictor, TensorSample(x, torch.arange(2)), Zero(), batch_size=2)
        values.append(metrics.cpd(game, scores, 3, per="all"))
        assert len(calls) == 4
    assert values[0] == values[1] > 0


def test_log_odds_of_nothing_left_is_finite():
    x = torch.ones(1, 1, 2, dtype=torch.float64)
    predictor = Predictor.of(lambda x: torch.stack((x[:, 0, 0], 1 - x[:, 0, 0]), dim=1), output="probs")
    game = Game(predictor, TensorSample(x, torch.arange(1)), Zero())
    assert metrics.log_odds(game, np.array([[[1, 0]]]), 1) == pytest.approx(np.log(1e-12))
    assert metrics.log_odds(game, np.array([[[1, 0]]]), 1, target=1) == pytest.approx(-np.log(1e-12))


def test_ties_go_from_the_front():
    case = Case()
    front = -np.arange(8.0).reshape(1, 2, 4).repeat(3, axis=0)
    for name in AT_ONCE + ONE_BY_ONE:
        metric = getattr(metrics, name)
        if name == "cpp":
            front = -front
        assert metric(case.game, np.zeros((3, 2, 4)), 3) == metric(case.game, front, 3)


def test_a_fraction_is_a_count_of_cells():
    case = Case(D=4, T=25)
    for name in AT_ONCE + ONE_BY_ONE + ("sufficiency",):
        metric = getattr(metrics, name)
        assert metric(case.game, case.scores, 0.29) == metric(case.game, case.scores, 29)
    assert metrics.comprehensiveness(case.game, case.scores, 0.297) == metrics.comprehensiveness(
        case.game, case.scores, 29
    )
    assert metrics.sufficiency(case.game, case.scores, 0.292) == metrics.sufficiency(case.game, case.scores, 30)


def test_numpy_numbers_count_too():
    case = Case()
    expected = metrics.comprehensiveness(case.game, case.scores, 2, target=1)
    assert metrics.comprehensiveness(case.game, case.scores, np.int64(2), target=np.int64(1)) == expected
    expected = metrics.comprehensiveness(case.game, case.scores, 0.5)
    assert metrics.comprehensiveness(case.game, torch.from_numpy(case.scores), np.float32(0.5)) == expected


# -- removals that reach further ---------------------------------------------------------------------------------------


def carried_to_the_end(x, scores, k):
    """WinIT's removal, written as it is told: the value before the cell stands from there to the end."""
    x, gone = x.clone(), torch.zeros(x.shape, dtype=torch.bool)
    for cell in sorted(np.ndindex(*x.shape), key=lambda cell: -scores[cell]):
        d, t = cell
        if t == 0 or gone[d, t]:
            continue
        x[d, t:] = x[d, t - 1]
        gone[d, t:] = True
        k -= 1
        if k == 0:
            break
    return x


@pytest.mark.parametrize("k", [1, 2, 3])
def test_carry_forward_to_the_end_is_winits_removal(k):
    case = Case(seed=k, B=4, D=3, T=7, kind="carry_forward")
    without = torch.stack([carried_to_the_end(case.x[b], case.scores[b], k) for b in range(4)])
    before, after = (case.f(x).softmax(1) for x in (case.x, without))
    classes = before.argmax(1, keepdim=True)
    drop = (before - after).gather(1, classes).mean()
    assert metrics.comprehensiveness(case.game, case.scores, k, extent="end") == pytest.approx(float(drop))


def test_a_run_ends_where_the_value_leaves_one_deviation():
    x = torch.tensor([[[0.0, 1.0, 1.5, 0.9, 9.0, 1.0]]], dtype=torch.float64)  # deviation 3.1
    seen = []

    def f(x):
        seen.append(x.clone())
        return torch.stack((x.sum((1, 2)), x[:, 0, 0]), dim=1)

    game = Game(Predictor.of(f), TensorSample(x, torch.arange(1)), CarryForward())
    metrics.comprehensiveness(game, np.array([[[0, 0, 1, 0, 0, 0.5]]]), 1, extent="std")
    assert seen[-1].tolist() == [[[0, 1, 1, 1, 9, 1]]]
    metrics.comprehensiveness(game, np.array([[[0, 0, 1, 0, 0, 0.5]]]), 2, extent="std")
    assert seen[-1].tolist() == [[[0, 1, 1, 1, 9, 9]]]


def test_a_count_counts_runs_and_a_fraction_cells():
    case = Case(B=1, D=1, T=5, kind="zero")
    scores = np.array([[[9.0, 1.0, 4.0, 3.0, 2.0]]])
    once, twice = ([(0, t) for t in range(start, 5)] for start in (2, 1))
    c = case.twin.target(0)
    drop = [float((case.twin(0, 0, []) - case.twin(0, 0, gone))[c]) for gone in (once, twice)]
    by = lambda k: metrics.comprehensiveness(case.game, scores, k, extent="end")  # noqa: E731
    assert by(1) == by(0.25) == by(0.75) == pytest.approx(drop[0])  # the cells at 3 and 4 are gone already
    assert by(2) == by(4) == by(1.0) == pytest.approx(drop[1])
    before = case.game.cost().rows
    metrics.cpd(case.game, scores, 1.0, extent="end")
    assert case.game.cost().rows - before == 2  # one row a run: the series itself was asked before


# -- what is asked -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*AT_ONCE, *ONE_BY_ONE, *CURVES, "sufficiency"])
def test_rows(name):
    case = Case(draws=2, kind="replay")
    getattr(metrics, name)(case.game, case.scores)
    masks = {"cpd": 1, "cpp": 1, "deletion_auc": 9, "insertion_auc": 9}.get(name, 1)  # 0.2 of 8 cells is 1
    assert case.game.cost().rows == 3 + masks * 2 * 3  # the series themselves know no draws


@pytest.mark.parametrize("name", [*AT_ONCE, *ONE_BY_ONE, *CURVES, "sufficiency"])
def test_memory_and_batches_change_nothing(name):
    expected = None
    for options in ({}, {"batch_size": 1}, {"batch_size": 7}, {"max_memory": 200}, {"max_memory": 1000}):
        case = Case(seed=3, draws=2, kind="replay", T=6, **options)
        k = () if name in CURVES else (0.8,)
        value = getattr(metrics, name)(case.game, case.scores, *k)
        assert value == pytest.approx(value if expected is None else expected, rel=1e-12)
        expected = value


def test_scores_are_left_alone():
    case = Case()
    before = case.scores.copy()
    for name in [*AT_ONCE, *ONE_BY_ONE, *CURVES, "sufficiency"]:
        getattr(metrics, name)(case.game, case.scores)
    assert np.array_equal(case.scores, before)


def test_on_every_device(device):
    """The same numbers wherever the series live."""
    case = Case(kind="mean")
    sample = TensorSample(case.x.to(device), torch.arange(3, device=device))
    weight = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def evaluate(device):
        where = weight.to(device)
        return Predictor.of(lambda x: x.flatten(1) @ where, device=device)

    here = Game(evaluate("cpu"), TensorSample(case.x, torch.arange(3)), Mean())
    there = Game(evaluate(device), sample, Mean())
    scores = torch.from_numpy(case.scores)
    for name in [*AT_ONCE, *ONE_BY_ONE, *CURVES, "sufficiency"]:
        metric = getattr(metrics, name)
        assert metric(there, scores.to(device)) == pytest.approx(metric(here, scores), rel=1e-9)
    labels = torch.tensor([0, 1, 2])
    assert metrics.auc_drop(there, scores, labels.to(device)) == metrics.auc_drop(here, scores, labels)


# -- time_interpret ----------------------------------------------------------------------------------------------------


def tint_example(seed, shape, classes):
    """Series, scores, and the model random_model(seed + 10, …)."""
    random = np.random.RandomState(seed)
    x, scores = torch.from_numpy(random.randn(*shape)), torch.from_numpy(random.rand(*shape))
    return x, scores, random_model(seed + 10, *shape[1:], classes)


def tint_game(x, f, baseline):
    return Game(Predictor.of(f), TensorSample(x, torch.arange(len(x))), {"zero": Zero, "mean": Mean}[baseline]())


@pytest.mark.parametrize("baseline", ["zero", "mean"])
@pytest.mark.parametrize("k", [0.1, 0.25, 0.5, 0.62])
@pytest.mark.parametrize(("seed", "shape", "classes"), [(3, (4, 3, 5), 3), (6, (5, 2, 9), 2), (7, (1, 4, 13), 4)])
def test_is_what_time_interpret_computes(seed, shape, classes, k, baseline):
    theirs = pytest.importorskip("tint.metrics")
    x, scores, f = tint_example(seed, shape, classes)
    values = None if baseline == "zero" else x.mean(2, keepdim=True).expand_as(x).contiguous()
    for target in (None, 1):
        for name in ("comprehensiveness", "sufficiency", "log_odds"):
            expected = getattr(theirs, name)(f, x, scores, baselines=values, topk=k, target=target)
            ours = getattr(metrics, name)(tint_game(x, f, baseline), scores, k, target=target)
            assert ours == pytest.approx(expected, abs=1e-9)


# What time_interpret 0.3.0 gives for tint_example(seed, shape, classes) and k, with baselines zero and mean.
RECORDED = {
    (3, (4, 3, 5), 3, 0.1): {
        "comprehensiveness": (0.04811671333030437, 0.016598223055095618),
        "sufficiency": (0.38422661495186317, 0.4276157109011534),
        "log_odds": (-0.06932498266899173, -0.022671061285500296),
    },
    (3, (4, 3, 5), 3, 0.2): {
        "comprehensiveness": (0.16705265957046928, 0.15933273136086165),
        "sufficiency": (0.05193116710720938, 0.3609216061575093),
        "log_odds": (-0.3470083842882936, -0.29957660415596754),
    },
    (3, (4, 3, 5), 3, 0.5): {
        "comprehensiveness": (0.03476195889119932, 0.15682271127095979),
        "sufficiency": (0.28004033831413067, 0.31228535460280404),
        "log_odds": (-0.09163734007431071, -0.3559370315407673),
    },
    (4, (6, 2, 10), 2, 0.2): {
        "comprehensiveness": (-0.014859176815628705, -0.030752607187411334),
        "sufficiency": (0.16617640801344039, 0.20527179203386556),
        "log_odds": (0.01765284862647608, 0.03813515414982174),
    },
    (4, (6, 2, 10), 2, 0.5): {
        "comprehensiveness": (0.1255103726486151, 0.10112012047459346),
        "sufficiency": (0.07832597405327413, 0.1837132615106637),
        "log_odds": (-0.6784222650622911, -0.6333595950439589),
    },
}


@pytest.mark.parametrize("case", RECORDED)
def test_is_what_time_interpret_computed(case):
    *given_, k = case
    x, scores, f = tint_example(*given_)
    for name, values in RECORDED[case].items():
        for baseline, expected in zip(("zero", "mean"), values, strict=True):
            assert getattr(metrics, name)(tint_game(x, f, baseline), scores, k) == pytest.approx(expected, abs=1e-9)


# -- bad input ---------------------------------------------------------------------------------------------------------

GOOD = Case()
NAN = GOOD.scores.copy()
NAN[0, 1, 2] = np.nan
BAD_SCORES = [
    (NAN, ValueError, "scores must be finite"),
    (GOOD.scores[:2], ValueError, r"scores must have the shape \(B, D, T\) = \(3, 2, 4\)"),
    (GOOD.scores.transpose(0, 2, 1), ValueError, "scores must have the shape"),
    (GOOD.scores.astype(str), TypeError, "scores must be real numbers"),
]
ALL = (*AT_ONCE, *ONE_BY_ONE, *CURVES, "sufficiency", "auc_drop")


def labels(name):
    return ([0, 1, 2],) if name == "auc_drop" else ()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("scores", "error", "message"), BAD_SCORES)
def test_bad_scores(name, scores, error, message):
    with pytest.raises(error, match=message):
        getattr(metrics, name)(GOOD.game, scores, *labels(name))


BAD_OPTIONS = [
    ({"k": 0}, ValueError, "k must be between 1 and the number of cells, 8, got 0"),
    ({"k": 9}, ValueError, "k must be between 1 and the number of cells, 8, got 9"),
    ({"k": -1}, ValueError, "k must be between"),
    ({"k": 0.0}, ValueError, "k must be a fraction above 0"),
    ({"k": 1.5}, ValueError, "k must be a fraction above 0"),
    ({"k": float("nan")}, ValueError, "k must be a fraction above 0"),
    ({"k": True}, TypeError, "k must be a count"),
    ({"k": "all"}, TypeError, "k must be a count"),
    ({"per": "feature"}, ValueError, "per must be one of series, all, got 'feature'"),
    ({"extent": "far"}, ValueError, "extent must be one of cell, end, std, got 'far'"),
    ({"k": 7, "extent": "end"}, ValueError, "k must be between 1 and the number of cells, 6, got 7"),
]


@pytest.mark.parametrize("name", [*AT_ONCE, *ONE_BY_ONE, "sufficiency", "auc_drop"])
@pytest.mark.parametrize(("options", "error", "message"), BAD_OPTIONS)
def test_bad_options(name, options, error, message):
    if name == "sufficiency" and "extent" in options:
        return
    with pytest.raises(error, match=message):
        getattr(metrics, name)(GOOD.game, GOOD.scores, *labels(name), **options)


@pytest.mark.parametrize("name", [*AT_ONCE, *ONE_BY_ONE, "auc_drop"])
def test_a_fraction_of_no_cell(name):
    with pytest.raises(ValueError, match=r"k=0.1 of 8 cells is none"):
        getattr(metrics, name)(GOOD.game, GOOD.scores, *labels(name), k=0.1)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(
    ("steps", "error"), [(0, ValueError), (9, ValueError), (1.5, TypeError), (True, TypeError), ("all", TypeError)]
)
def test_bad_steps(name, steps, error):
    with pytest.raises(error, match="steps must be"):
        getattr(metrics, name)(GOOD.game, GOOD.scores, steps=steps)


@pytest.mark.parametrize("name", [*AT_ONCE, *CURVES, "sufficiency"])
@pytest.mark.parametrize("target", [3, -1, [0, 1], [0, 1, 3], [0, 1, 0.5], [[0, 1, 2]]])
def test_bad_target(name, target):
    with pytest.raises(ValueError, match="target must"):
        getattr(metrics, name)(GOOD.game, GOOD.scores, target=target)


@pytest.mark.parametrize(
    "given_labels", [[0, 1], [0, 0, 0], [0, 1, 3], [0, 1, -1], [0, 1, 0.5], [0, 1, np.nan], [[0, 1, 2]]]
)
def test_bad_labels(given_labels):
    with pytest.raises(ValueError, match="labels must"):
        metrics.auc_drop(GOOD.game, GOOD.scores, given_labels)


@pytest.mark.parametrize("name", ["comprehensiveness", "log_odds", *CURVES, "sufficiency", "auc_drop"])
def test_a_regression_has_no_classes(name):
    case = Case(output="regression")
    with pytest.raises(ValueError, match="game must evaluate a classifier"):
        getattr(metrics, name)(case.game, case.scores, *labels(name))


def test_a_regression_has_no_target():
    case = Case(output="regression")
    with pytest.raises(ValueError, match="target must be None"):
        metrics.average_prediction_difference(case.game, case.scores, target=0)


@pytest.mark.parametrize("name", ALL)
def test_a_dry_game_answers_nothing(name):
    case = Case(dry=True)
    with pytest.raises(ValueError, match="game must not be dry"):
        getattr(metrics, name)(case.game, case.scores, *labels(name))
