"""Scores against known salient cells: the definition, scikit-learn, time_interpret, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit import metrics
from tests.naive import metrics as naive

BY_ORDER = ("auprc", "auroc", "mean_rank", "mean_rank_min", "iou")
BY_VALUE = ("aup", "aur", "information", "entropy")
BY_RANK = ("auprc_trapezoid", "aup_by_rank", "aur_by_rank")
EVERY = BY_ORDER + BY_VALUE


def call(name, scores, truth, **options):
    extra = (0.7,) if name == "iou" else ()
    return getattr(metrics, name)(scores, truth, *extra, **options)


def example(seed, shape, levels=None):
    random = np.random.RandomState(seed)
    scores = random.rand(*shape) if levels is None else random.randint(levels, size=shape) / levels
    return scores, random.rand(*shape) < 0.2


@st.composite
def cases(draw):
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5)))
    scores, truth = example(draw(st.integers(0, 10**6)), shape, draw(st.sampled_from([None, 1, 2, 5])))
    scores = scores * draw(st.sampled_from([1.0, 1e-3, 40.0])) - draw(st.sampled_from([0.0, 0.5]))
    truth.flat[draw(st.integers(0, truth.size - 1))] = True
    return scores, truth


def both_kinds(case):
    return not case[1].all()


# -- the definition ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY + BY_RANK)
@given(case=cases())
def test_is_what_the_twin_computes(name, case):
    scores, truth = case
    if name == "auroc" and truth.all():
        return
    rows = [a.reshape(len(a), -1).tolist() for a in (scores, truth)]
    extra = (0.7,) if name == "iou" else ()
    assert call(name, scores, truth) == pytest.approx(getattr(naive, name)(*rows, *extra), rel=1e-10, abs=1e-12)


@given(case=cases())
def test_lowest_rank_of_ties(case):
    scores, truth = case
    rows = [a.reshape(len(a), -1).tolist() for a in (scores, truth)]
    assert metrics.mean_rank(scores, truth, ties="min") == pytest.approx(naive.mean_rank(*rows, ties="min"))
    assert metrics.mean_rank_min(scores, truth, ties="min") == pytest.approx(naive.mean_rank_min(*rows, ties="min"))


def test_by_hand():
    scores = np.array([[[0.9, 0.1, 0.5]], [[0.2, 0.8, 0.8]]])
    truth = np.array([[[True, False, False]], [[False, True, False]]])
    assert metrics.auprc(scores, truth) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert metrics.auroc(scores, truth) == pytest.approx((4 + 3.5) / 8)
    assert metrics.mean_rank(scores, truth) == pytest.approx((1 + 1.5) / 2)
    assert metrics.mean_rank(scores, truth, ties="min") == 1
    assert metrics.mean_rank_min(scores, truth) == pytest.approx((1 + 1.5) / 2)
    assert metrics.iou(scores, truth, 1.0) == pytest.approx(2 / 3)
    assert metrics.iou(scores, truth, 0.0) == pytest.approx(2 / 6)
    half = np.full((1, 1, 4), 0.5)
    assert metrics.information(half, scale=False) == pytest.approx(4, abs=1e-3)
    assert metrics.entropy(half, scale=False) == pytest.approx(4, abs=1e-3)


def test_the_best_cell_counts_only_where_there_is_one():
    scores = np.array([[[3.0, 2.0, 1.0]], [[1.0, 2.0, 3.0]]])
    truth = np.array([[[False, True, True]], [[False, False, False]]])
    assert metrics.mean_rank(scores, truth) == 2.5
    assert metrics.mean_rank_min(scores, truth) == 2


@pytest.mark.parametrize("name", EVERY)
def test_kinds_of_arrays(name):
    scores, truth = example(7, (3, 2, 5))
    expected = call(name, scores, truth)
    assert isinstance(expected, float)
    assert call(name, torch.from_numpy(scores).requires_grad_(), torch.from_numpy(truth)) == expected
    assert call(name, scores.tolist(), truth.astype(int)) == expected
    assert call(name, scores, truth.astype(np.float32)) == expected
    assert call(name, scores.reshape(3, 10), truth.reshape(3, 10)) == expected  # series first is all that matters
    coarse = torch.from_numpy(scores).bfloat16()
    assert call(name, coarse, truth) == call(name, coarse.double(), truth)


@pytest.mark.parametrize("name", EVERY)
def test_input_is_left_alone(name):
    scores, truth = example(8, (3, 2, 5))
    before = scores.copy(), truth.copy()
    call(name, scores, truth)
    assert np.array_equal(scores, before[0])
    assert np.array_equal(truth, before[1])


@pytest.mark.parametrize("name", EVERY)
def test_skip_first(name):
    scores, truth = example(9, (3, 2, 5))
    scores[:, :, 0], truth[:, :, 0] = 100, True
    assert call(name, scores, truth, skip_first=True) == call(name, scores[:, :, 1:], truth[:, :, 1:])
    assert call(name, scores, truth, skip_first=True) != call(name, scores, truth)


@pytest.mark.parametrize("name", ["auprc", "auroc"])
def test_scaling_first(name):
    scores, truth = example(10, (4, 3, 7))
    scores *= np.array([1.0, 10.0, 0.1, 5.0])[:, None, None]
    low, high = scores.min(axis=(1, 2), keepdims=True), scores.max(axis=(1, 2), keepdims=True)
    scaled = (scores - low) / (high - low + 1e-5)
    assert call(name, scores, truth, scale=True) == call(name, scaled, truth)
    assert call(name, scores, truth, scale=True) != call(name, scores, truth)


@pytest.mark.parametrize("name", BY_VALUE)
def test_without_scaling(name):
    scores, truth = example(11, (4, 3, 7))
    low, high = scores.min(axis=(1, 2), keepdims=True), scores.max(axis=(1, 2), keepdims=True)
    scaled = (scores - low) / (high - low + 1e-5)
    assert call(name, scores, truth) == call(name, scaled, truth, scale=False)
    with pytest.raises(ValueError, match=r"scores must lie in \[0, 1\]"):
        call(name, scores + 0.5, truth, scale=False)
    with pytest.raises(ValueError, match=r"scores must lie in \[0, 1\]"):
        call(name, scores - 0.5, truth, scale=False)


@pytest.mark.parametrize("name", ["information", "entropy"])
def test_over_all_cells(name):
    scores, truth = example(12, (3, 2, 5))
    every = getattr(metrics, name)
    assert every(scores) == pytest.approx(every(scores, np.ones_like(truth)))
    assert every(scores) == pytest.approx(every(scores, truth) + every(scores, ~truth))
    assert every(scores, skip_first=True) == every(scores[:, :, 1:])


def test_rescaling_changes_what_depends_on_values_alone():
    scores, truth = example(13, (1, 3, 40))
    for power in (4, 0.25):
        for name in BY_ORDER:
            assert call(name, scores**power, truth) == call(name, scores, truth)
        for name in BY_VALUE:
            assert abs(call(name, scores**power, truth) - call(name, scores, truth)) > 0.01


def test_summary():
    scores, truth = example(14, (3, 2, 5))
    result = metrics.summary(scores, truth, skip_first=True, quantile=0.7)
    assert list(result) == [*BY_ORDER, *BY_VALUE]
    assert result == {name: call(name, scores, truth, skip_first=True) for name in EVERY}


# -- other implementations ---------------------------------------------------------------------------------------------


@given(case=cases().filter(both_kinds))
def test_is_what_sklearn_computes(case):
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, truth = case
    flat = truth.ravel(), scores.ravel()
    assert metrics.auprc(scores, truth) == pytest.approx(sklearn.average_precision_score(*flat), abs=1e-12)
    assert metrics.auroc(scores, truth) == pytest.approx(sklearn.roc_auc_score(*flat), abs=1e-12)


THEIRS = {
    "auprc": "auprc",
    "auroc": "roc_auc",
    "aup": "aup",
    "aur": "aur",
    "information": "information",
    "entropy": "entropy",
}


@given(case=cases().filter(both_kinds))
def test_is_what_time_interpret_computes(case):
    pytest.importorskip("tint")
    from tint.metrics import white_box

    scores, truth = case
    given = torch.from_numpy(scores), torch.from_numpy(truth).int()
    for name, theirs in THEIRS.items():
        assert call(name, scores, truth, scale=True) == pytest.approx(getattr(white_box, theirs)(*given), abs=1e-6)
        if name in BY_ORDER or (scores.min() >= 0 and scores.max() <= 1):
            raw = getattr(white_box, theirs)(*given, normalize=False)
            assert call(name, scores, truth, scale=False) == pytest.approx(raw, abs=1e-6)


# What time_interpret 0.3.0 gives for example(seed, shape, levels), scaled and as they are.
RECORDED = {
    (0, (4, 3, 7), None): {
        "aup": (0.21728575628231817, 0.21364981104660735),
        "aur": (0.576328929704594, 0.5611673280211646),
        "information": (33.03246643507464, 25.365026286190368),
        "entropy": (6.9018218492593215, 7.797623162491772),
        "auprc": (0.24070661193816686, 0.2602558331698255),
        "auroc": (0.5877573131094258, 0.5958829902491876),
    },
    (1, (5, 2, 6), 4): {
        "aup": (0.15758585353626414, 0.11819096601073345),
        "aur": (0.5138820371283939, 0.3854166666666667),
        "information": (22.066651284032964, 6.490037447601972),
        "entropy": (7.346380204182335, 7.678730470011436),
        "auprc": (0.18189475253428744, 0.18189475253428744),
        "auroc": (0.43229166666666663, 0.43229166666666663),
    },
    (2, (3, 4, 5), None): {
        "aup": (0.07492135361516315, 0.0642453031076076),
        "aur": (0.3419604787791095, 0.2996144408177395),
        "information": (6.255301678961644, 5.600293448417839),
        "entropy": (6.322578848125043, 6.948447542232622),
        "auprc": (0.11688737011499564, 0.11871436376578544),
        "auroc": (0.3224400871459695, 0.3311546840958606),
    },
}


@pytest.mark.parametrize("case", RECORDED)
def test_is_what_time_interpret_computed(case):
    scores, truth = example(*case)
    for name, (scaled, raw) in RECORDED[case].items():
        assert call(name, scores, truth, scale=True) == pytest.approx(scaled, abs=1e-9)
        assert call(name, scores, truth, scale=False) == pytest.approx(raw, abs=1e-9)


# -- the edges ---------------------------------------------------------------------------------------------------------


def test_constant_scores():
    scores, truth = np.full((2, 3, 4), 0.3), np.zeros((2, 3, 4), dtype=bool)
    truth[0, 0, :2] = truth[1, 1, 3] = True
    result = metrics.summary(scores, truth)
    assert result["auprc"] == result["iou"] == 3 / 24
    assert result["auroc"] == 0.5
    assert result["mean_rank"] == result["mean_rank_min"] == 6.5
    assert metrics.mean_rank(scores, truth, ties="min") == 1
    assert result["aup"] == result["aur"] == 0
    assert result["information"] == pytest.approx(0, abs=1e-4)
    assert result["entropy"] == pytest.approx(0, abs=1e-4)


def test_all_cells_salient():
    scores, truth = example(15, (2, 3, 4))[0], np.ones((2, 3, 4), dtype=bool)
    assert metrics.auprc(scores, truth) == 1
    assert metrics.mean_rank(scores, truth) == 6.5
    assert metrics.mean_rank_min(scores, truth) == 1
    assert metrics.iou(scores, truth, 0.0) == 1
    with pytest.raises(ValueError, match="truth must have a cell that is not salient"):
        metrics.auroc(scores, truth)
    with pytest.raises(ValueError, match="truth must have a cell that is not salient"):
        metrics.summary(scores, truth)


GOOD = example(16, (2, 3, 4))
NAN = GOOD[0].copy()
NAN[1, 2, 3] = np.nan
BAD = [
    ((GOOD[0], np.zeros((2, 3, 4), dtype=bool)), ValueError, "truth must have at least one salient cell"),
    ((NAN, GOOD[1]), ValueError, "scores must be finite"),
    ((GOOD[0] * np.inf, GOOD[1]), ValueError, "scores must be finite"),
    ((GOOD[0], GOOD[1][:, :, :3]), ValueError, r"truth must have the shape of scores \(2, 3, 4\), got \(2, 3, 3\)"),
    ((GOOD[0], GOOD[1].transpose(1, 0, 2)), ValueError, "truth must have the shape of scores"),
    ((GOOD[0], GOOD[0]), ValueError, "truth must be boolean"),
    ((GOOD[0], GOOD[1] * 2), ValueError, "truth must be boolean"),
    ((GOOD[0], GOOD[1].astype(str)), ValueError, "truth must be boolean"),
    ((GOOD[0][:0], GOOD[1][:0]), ValueError, "scores is empty"),
    ((GOOD[0].ravel(), GOOD[1].ravel()), ValueError, r"scores must be \(N, D, T\)"),
    ((GOOD[1].astype(str), GOOD[1]), TypeError, "scores must be real numbers"),
    ((GOOD[0] + 1j, GOOD[1]), TypeError, "scores must be real numbers"),
]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_input(name, arguments, error, message):
    with pytest.raises(error, match=message):
        call(name, *arguments)


@pytest.mark.parametrize("name", EVERY)
def test_arrays_of_any_kind(name):
    want = call(name, *GOOD)
    for change in (
        torch.tensor,
        lambda a: a.tolist(),
        lambda a: [torch.tensor(row) for row in a],
        lambda a: a.astype(a.dtype.newbyteorder(">")),
        lambda a: np.ma.array(a, mask=False),
    ):
        assert call(name, *map(change, GOOD)) == want
    for place, argument in enumerate(("scores", "truth")):
        masked = np.ma.array(GOOD[place], mask=GOOD[1])
        for wrong, error, message in (
            (masked, ValueError, " is a masked array"),
            (list(masked), ValueError, r"(\[\d\])? is a masked array"),
            (torch.tensor(GOOD[place]).to_sparse(), TypeError, " is stored as"),
            (torch.tensor(GOOD[place], device="meta"), TypeError, " is on the device 'meta'"),
        ):
            with pytest.raises(error, match=argument + message):
                call(name, *[wrong if i == place else given for i, given in enumerate(GOOD)])


@pytest.mark.parametrize("name", EVERY)
def test_skipping_everything(name):
    scores, truth = GOOD[0][:, :, :1], np.ones((2, 3, 1), dtype=bool)
    with pytest.raises(ValueError, match="skip_first leaves nothing"):
        call(name, scores, truth, skip_first=True)
    only_first = np.zeros((2, 3, 4), dtype=bool)
    only_first[0, 0, 0] = True
    with pytest.raises(ValueError, match="truth must have at least one salient cell after t = 0"):
        call(name, GOOD[0], only_first, skip_first=True)


@pytest.mark.parametrize("name", ["information", "entropy"])
def test_bad_scores_without_truth(name):
    with pytest.raises(ValueError, match="scores must be finite"):
        getattr(metrics, name)(NAN)
    with pytest.raises(ValueError, match=r"scores must be \(N, D, T\)"):
        getattr(metrics, name)(GOOD[0].ravel())


@pytest.mark.parametrize("quantile", [-0.1, 1.1, float("nan")])
def test_bad_quantile(quantile):
    with pytest.raises(ValueError, match="quantile must be between 0 and 1"):
        metrics.iou(*GOOD, quantile)
    with pytest.raises(ValueError, match="quantile must be between 0 and 1"):
        metrics.summary(*GOOD, quantile=quantile)


def test_bad_ties():
    for metric in (metrics.mean_rank, metrics.mean_rank_min):
        with pytest.raises(ValueError, match="ties must be one of average, min, got 'max'"):
            metric(*GOOD, ties="max")


def test_scores_that_lie_too_far_apart_are_refused():
    scores, salient = np.array([[[1e308, -1e308, 0.0]]]), np.array([[[True, False, False]]])
    for metric in (metrics.aup, metrics.aur, metrics.information, metrics.entropy, metrics.summary):
        with pytest.raises(ValueError, match="scores of a series lie further apart than float64 can tell"):
            metric(scores, salient)
    assert metrics.auprc(scores, salient) == 1.0
    assert np.isfinite(metrics.aup(scores / 4, salient))


def test_the_first_score_that_is_no_number_is_named():
    scores = np.zeros((2, 3, 4))
    scores[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match=r"scores must be finite.*the first at \(1, 2, 3\)"):
        metrics.auprc(scores, np.ones_like(scores))


def test_a_measure_of_ones_own():
    @metrics.MEASURES.register("best-hit")
    def best_hit(scores, truth):
        """Whether the highest score is a salient cell."""
        return float(np.asarray(truth).ravel()[np.asarray(scores).argmax()])

    try:
        scores, truth = np.array([[[0.1, 0.9], [0.3, 0.2]]]), np.array([[[False, True], [False, False]]])
        found = metrics.summary(scores, truth)
        assert found["best-hit"] == 1.0
        assert list(found)[:2] == ["auprc", "auroc"]
        assert found.keys() == set(metrics.MEASURES)
    finally:
        del metrics.MEASURES._entries["best-hit"]
    assert "best-hit" not in metrics.summary(scores, truth)
