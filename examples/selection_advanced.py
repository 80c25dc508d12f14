"""Mechanisms, losses and counterfactual generators side by side, and the selector as an attribution method."""

import torch
from torch import nn

from rambit.selection import (
    CombinedLoss,
    CounterfactualExplainer,
    CounterfactualGenerator,
    DiversityLoss,
    InfluenceFramework,
    ModelAgnosticWrapper,
    SelectionAttributor,
)

# In each series three of 20 steps are marked in feature 0; the label is the sum of what they show in feature 1.
generator = torch.Generator().manual_seed(1)
where = torch.rand(1200, 20, generator=generator).argsort(dim=1)[:, :3]
marked = torch.zeros(1200, 20).scatter(1, where, 1.0)
signs = torch.randint(2, (1200, 20), generator=generator) * 2.0 - 1
X = 0.1 * torch.randn(1200, 20, 3, generator=generator)
X[..., 0] += marked
X[..., 1] += marked * signs
y = (marked * signs).sum(dim=1, keepdim=True)


class Sum(nn.Module):
    """A linear model of each step, summed over steps."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(3, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.step(x).sum(dim=1)


print("mechanisms: the share of the marked steps that is kept in 200 other series, and how many steps are kept")
wrappers = {}
for method, options in {
    "topk": {"k": 3},
    "gumbel": {"k": 3, "temperature": 10.0},
    "threshold": {"threshold": 0.5},
}.items():
    torch.manual_seed(0)
    framework = InfluenceFramework(3, 32, selection_method=method, alpha_diversity=0.0, **options)
    wrappers[method] = ModelAgnosticWrapper(Sum(), framework)
    wrappers[method].fit(X[:1000], y[:1000], epochs=15, warmup=8, batch_size=50, lr=4e-3)
    mask = framework.selector(X[1000:])[0].detach()
    recall = float(mask.gather(1, where[1000:]).mean())
    print(f"  {method:<10} {recall:.0%}, {framework.selector.compute_selection_stats(mask)['num_selected']:.1f} steps")

print("losses: the same predictions and mask under other weights")
wrapper = wrappers["topk"]
predictions, mask, _ = wrapper(X[1000:], return_selection=True)
for weight in (0.0, 0.1, 0.5):
    loss = CombinedLoss(task_loss_fn=nn.L1Loss(), alpha_diversity=weight, diversity_epsilon=1.0)
    total, parts = loss(predictions=predictions, targets=y[1000:], features=X[1000:], mask=mask)
    print(f"  alpha_diversity={weight}: " + ", ".join(f"{name} {value:.3f}" for name, value in parts.items()))
likelihood = -float(DiversityLoss(normalise=True)(X[1000:], mask).detach())
print(f"  log-likelihood of the selections under a determinantal point process: {likelihood:.1f}")

print("generators: how far the kept steps are moved, and how far the prediction")
for method in ("perturbation", "replacement", "removal"):
    torch.manual_seed(0)
    made = CounterfactualGenerator(3, 32, generation_method=method)
    changed = made(X[1000:], mask.detach())
    distance = made.compute_counterfactual_distance(X[1000:], changed, mask.detach()).mean().detach()
    found = CounterfactualExplainer(made, wrapper.base_model).explain_prediction(X[1000:], mask.detach())
    moved = found["interventions"]["modify_selected"]["prediction_change"]
    print(f"  {method:<12} squared distance {float(distance):.3f}, prediction moves by {moved:.3f}")

# The scores of a selector in the layout (B, D, T) that all attribution methods of this package have.
result = SelectionAttributor(wrapper).explain(X[1000:].transpose(1, 2))
best = result.values[:, 0].topk(3, dim=1).indices
hits = float((best[:, :, None] == where[1000:, None, :]).any(dim=2).float().mean())
print(f"as an attribution method: {result}")
print(f"{hits:.0%} of its three best timestamps are marked")
