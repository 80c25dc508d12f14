"""Estimators as people have them: of scikit-learn, sktime and LightGBM; regressors, pipelines, tables of any order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit import PredictionError, RaMbIT
from rambit.attribution import Occlusion
from rambit.predictors import EstimatorPredictor, Predictor

sklearn = pytest.importorskip("sklearn")

from sklearn import linear_model, multioutput, neighbors, pipeline, preprocessing, svm, tree  # noqa: E402

D, T, N = 3, 4, 40
random = np.random.default_rng(0)
SERIES = random.normal(size=(N, D, T))
TABLE = SERIES.reshape(N, -1)
#: What is to be learnt: values, two and three classes.
VALUES = 10 + 3 * SERIES[:, 0, 1] - SERIES[:, 2, 3]
TWO, THREE = (VALUES > 10).astype(int), np.digitize(VALUES, (9, 11))
X = torch.from_numpy(SERIES[:5])


def scaled(model):
    return pipeline.make_pipeline(preprocessing.StandardScaler(), model)


def softmax(z):
    z = np.exp(z - z.max(1, keepdims=True))
    return z / z.sum(1, keepdims=True)


def sides(z):
    """Probabilities of two classes from one number each."""
    return softmax(np.stack((0 * z, z), axis=1))


#: An estimator, what it learns, what it is taken to return, and that, from a table.
FITTED = {
    "linear regression": (linear_model.LinearRegression(), VALUES, "regression", lambda m, t: m.predict(t)[:, None]),
    "two values": (
        linear_model.Ridge(),
        np.stack((VALUES, -VALUES), axis=1),
        "regression",
        lambda m, t: m.predict(t),
    ),
    "a tree of values": (tree.DecisionTreeRegressor(), VALUES, "regression", lambda m, t: m.predict(t)[:, None]),
    "a regressor in a pipeline": (
        scaled(linear_model.Ridge()),
        VALUES,
        "regression",
        lambda m, t: m.predict(t)[:, None],
    ),
    "classes": (linear_model.LogisticRegression(), THREE, "probs", lambda m, t: m.predict_proba(t)),
    "named classes": (
        linear_model.LogisticRegression(),
        np.array(["no", "yes"])[TWO],
        "probs",
        lambda m, t: m.predict_proba(t),
    ),
    "classes in a pipeline": (
        scaled(linear_model.LogisticRegression()),
        TWO,
        "probs",
        lambda m, t: m.predict_proba(t),
    ),
    "a margin": (svm.LinearSVC(), TWO, "logits", lambda m, t: sides(m.decision_function(t))),
    "margins": (svm.LinearSVC(), THREE, "logits", lambda m, t: softmax(m.decision_function(t))),
    "a margin in a pipeline": (
        scaled(linear_model.RidgeClassifier()),
        TWO,
        "logits",
        lambda m, t: sides(m.decision_function(t)),
    ),
    "one of several outputs": (
        multioutput.MultiOutputClassifier(linear_model.LogisticRegression()),
        TWO[:, None],
        "probs",
        lambda m, t: m.predict_proba(t)[0],
    ),
}


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
@pytest.mark.parametrize("name", FITTED)
def test_outputs_and_the_order_of_columns(name, layout):
    """Column d * w + t; with ``layout="BTD"`` column t * D + d."""
    model, y, output, expected = FITTED[name]
    table = TABLE if layout == "BDT" else SERIES.transpose(0, 2, 1).reshape(N, -1)
    model = sklearn.base.clone(model).fit(table, y)
    predictor = Predictor.of(model, layout=layout)
    assert type(predictor) is EstimatorPredictor
    assert predictor.output == output
    np.testing.assert_allclose(predictor.whole(X)[:, :, 0], expected(model, table[:5]), rtol=1e-6)
    scores = Occlusion(predictor).explain(X)
    assert scores.settings["distance"] == ("abs" if output == "regression" else "pd")
    assert float(scores.values.abs().max()) > 0


def test_columns_with_names():
    """A pipeline that was fitted on a data frame gets one, without a word."""
    pandas, compose = pytest.importorskip("pandas"), pytest.importorskip("sklearn.compose")
    columns = [f"{d}@{t}" for d in "abc" for t in range(T)]
    picks = compose.make_column_transformer(("passthrough", ["a@1", "c@3"]))
    model = pipeline.make_pipeline(picks, linear_model.LinearRegression())
    model.fit(pandas.DataFrame(TABLE, columns=columns), VALUES)
    np.testing.assert_allclose(Predictor.of(model).whole(X)[:, 0, 0], VALUES[:5])
    scores = Occlusion(model).attribute(X).abs().amax(0)
    assert {(0, 1), (2, 3)} == {tuple(cell) for cell in (scores > 1e-6).nonzero().tolist()}


def test_other_widths_are_refused():
    model = linear_model.LinearRegression().fit(TABLE, VALUES)
    with pytest.raises(
        ValueError, match="fitted on tables of 12 columns, but series of 3 features and 5 steps make 15"
    ):
        Occlusion(model).attribute(torch.zeros(2, D, T + 1))
    with pytest.raises(ValueError, match=r"first steps of a series \(.* tables of 12 columns.*anchor='end'"):
        RaMbIT(model, L=2).attribute(X)


def test_several_outputs_are_refused():
    model = multioutput.MultiOutputClassifier(linear_model.LogisticRegression()).fit(TABLE, np.stack((TWO, THREE), 1))
    with pytest.raises(PredictionError, match=r"predict_proba returned 2 tables.*\[0\]\) with output='probs'"):
        Occlusion(model).attribute(X)
    labels = neighbors.KNeighborsClassifier().fit(TABLE, np.stack((TWO, TWO), 1))
    with pytest.raises(PredictionError, match="2 tables"):
        Occlusion(labels).attribute(X)


def test_one_decision_for_each_pair_is_refused():
    model = svm.SVC(decision_function_shape="ovo").fit(TABLE, np.digitize(VALUES, (8, 10, 12)))
    with pytest.raises(PredictionError, match=r"returned 6 numbers for 4 classes.*decision_function_shape='ovr'"):
        Occlusion(model).attribute(X)


class Labels:
    """A classifier that gives labels alone."""

    _estimator_type = "classifier"

    def __init__(self, names=(0, 1)):
        self.names = np.array(names)

    def predict(self, series):
        return self.names[(series[:, 0, 1] > 0).astype(int)]


def test_labels_alone():
    for method in (RaMbIT, Occlusion, Predictor.of):
        with pytest.raises(TypeError, match=r"model Labels predicts labels alone.*CalibratedClassifierCV"):
            method(Labels())
    with pytest.raises(PredictionError, match="expected floating scores"):
        Occlusion(Labels(), output="regression").attribute(X)
    with pytest.raises(PredictionError, match=r"predict returned labels such as '(no|yes)', expected numbers"):
        Occlusion(Labels(("no", "yes")), output="regression").attribute(X)
    assert Occlusion(Labels((0.0, 1.0)), output="regression").attribute(X).shape == X.shape


def test_an_estimator_that_does_not_say_what_it_is():
    class Softmax:
        """Like a network with ``predict`` alone."""

        def predict(self, series):
            return sides(series[:, 0, 1])

    class Values:
        def predict(self, series):
            return series.sum((1, 2))

    with pytest.warns(UserWarning, match="are probabilities"):
        ours = Occlusion(Softmax()).attribute(X)
    torch.testing.assert_close(ours, Occlusion(lambda x: torch.stack((0 * x[:, 0, 1], x[:, 0, 1]), 1)).attribute(X))
    with pytest.raises(PredictionError, match=r"\(8,\) needs output='logits' or 'probs'.*or output='regression'"):
        Occlusion(Values()).attribute(X)
    torch.testing.assert_close(Occlusion(Values(), output="regression").attribute(X), X.abs())


class Booster:
    """Like lightgbm.Booster: reads tables alone, and what it predicts depends on its objective."""

    def __init__(self, objective):
        self.params = {"objective": objective, "num_leaves": 3}

    def num_feature(self):
        return D * T

    def predict(self, data, start_iteration=0, num_iteration=None, raw_score=False):
        assert data.shape[1:] == (D * T,)
        z = 3 * data[:, 1] - data[:, -1]
        if self.params["objective"].startswith("multiclass"):
            return softmax(np.stack((z, 0 * z, -z), axis=1))
        return 1 / (1 + np.exp(-z)) if self.params["objective"] in ("binary", "mine") else z


@pytest.mark.parametrize(
    ("objective", "output", "columns"),
    [("binary", "probs", 2), ("multiclass", "probs", 3), ("multiclassova", "probs", 3)]
    + [(name, "regression", 1) for name in ("regression", "regression_l1", "huber", "poisson", "lambdarank")],
)
def test_boosters(objective, output, columns):
    predictor = Predictor.of(Booster(objective))
    assert predictor.output == output
    found = predictor.whole(X)[:, :, 0]
    assert found.shape == (5, columns)
    np.testing.assert_allclose(found[:, -1], Booster(objective).predict(TABLE[:5]).reshape(5, -1)[:, -1])
    assert float(Occlusion(predictor).attribute(X)[:, 0, 1].abs().min()) > 0
    with pytest.raises(ValueError, match="tables of 12 columns"):
        Occlusion(predictor).attribute(torch.zeros(2, D, 1))


def test_a_booster_whose_objective_is_not_known():
    with pytest.raises(PredictionError, match="needs output="):
        Occlusion(Booster("mine")).attribute(X)
    told = Occlusion(Booster("mine"), output="probs").attribute(X)
    assert torch.equal(told, Occlusion(Booster("binary")).attribute(X))


@pytest.mark.filterwarnings("ignore")
def test_classes_are_called_as_the_estimator_calls_them():
    x = torch.randn(30, 2, 4, generator=torch.Generator().manual_seed(0))
    model = linear_model.LogisticRegression().fit(x.flatten(1).numpy(), np.where(x[:, 0, -1] > 0, "up", "down"))
    result = Occlusion(model).explain(x[:2], targets="all")
    assert result.labels.outputs == ("down", "up")
    assert result.top(1, target="up") == result.top(1, target=1)
    named = Occlusion(model).explain(x[:2], labels={"outputs": ["falls", "rises"]})
    assert named.labels.outputs == ("falls", "rises")


def test_sktime():
    pytest.importorskip("sktime")
    from sktime.classification.feature_based import SummaryClassifier
    from sktime.regression.dummy import DummyRegressor

    classifier = SummaryClassifier(estimator=linear_model.LogisticRegression()).fit(SERIES, TWO)
    predictor = Predictor.of(classifier)
    assert predictor.output == "probs"
    np.testing.assert_allclose(predictor.whole(X)[:, :, 0], classifier.predict_proba(SERIES[:5]))
    regressor = Predictor.of(DummyRegressor().fit(SERIES, VALUES))
    assert regressor.output == "regression"
    np.testing.assert_allclose(regressor.whole(X)[:, 0, 0], np.full(5, VALUES.mean()))


def test_a_kind_that_stands_in_tags():
    class Tagged:
        """As aeon's regressors and sktime's have it: no ``_estimator_type``."""

        def get_tags(self):
            return {"object_type": "regressor", "capability:multivariate": True}

        def predict(self, series):
            assert series.shape[1:] == (D, T)
            return series[:, 0, 1]

    predictor = Predictor.of(Tagged())
    assert predictor.output == "regression"
    assert torch.equal(predictor.whole(X)[:, 0, 0], X[:, 0, 1])
