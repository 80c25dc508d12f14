"""Which timestamps suffice? A selector is trained with the model, keeps three of twenty steps, and is questioned."""

import torch
from torch import nn

from rambit.selection import CounterfactualExplainer, InfluenceFramework, ModelAgnosticWrapper

# Series (B, T, D) as recurrent networks read them: every step shows +1 or -1 in feature 0, the rest is noise.
# The label is the sum of what three steps show; which three they are is what the selector has to find out.
generator = torch.Generator().manual_seed(0)
DECISIVE = [4, 11, 15]
X = 0.1 * torch.randn(1200, 20, 2, generator=generator)
X[..., 0] += torch.randint(2, (1200, 20), generator=generator) * 2 - 1
y = X[:, DECISIVE, 0].sum(dim=1, keepdim=True)
train, test = slice(0, 1000), slice(1000, 1200)

# Any model of (B, T, D) may stand behind the selector; it sees zeros where a step is not kept.
torch.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(20 * 2, 1))
framework = InfluenceFramework(input_dim=2, hidden_dim=32, k=3, alpha_diversity=0.0, positions=True)
wrapper = ModelAgnosticWrapper(model, framework)
history = wrapper.fit(X[train], y[train], epochs=15, warmup=15, batch_size=50, lr=2e-3)
first, last = history[0]["task_loss"], history[-1]["task_loss"]
print(
    f"task loss, the squared error over the share of steps kept: {first:.2f} in the first epoch, {last:.2f} in the last"
)

predictions, mask, _ = wrapper(X[test], return_selection=True)
mask = mask.detach()
share = mask.mean(dim=0)
for t in share.argsort(descending=True)[:5].tolist():
    print(f"step {t:>2} is kept in {share[t]:.0%} of 200 other series{'  (decisive)' if t in DECISIVE else ''}")
error = float(nn.functional.mse_loss(predictions.detach(), y[test]))
print(f"squared error from the kept steps alone: {error:.3f}; of always saying 0: {float(y[test].square().mean()):.1f}")
print(f"statistics of the mask: {framework.selector.compute_selection_stats(mask)}")

# What would the model say if the kept steps were not there, and which of them matters most?
explainer = CounterfactualExplainer(framework.counterfactual_generator, model)
found = explainer.explain_prediction(X[test], mask, ["modify_selected", "remove_selected", "remove_unselected"])
for name, part in found["interventions"].items():
    print(f"{name}: the prediction moves by {part['prediction_change']:.3f} on average")
scores = explainer.compute_attribution_scores(X[test], torch.ones_like(mask))
print(f"the three steps whose removal moves the model most: {sorted(scores.mean(dim=0).topk(3).indices.tolist())}")
