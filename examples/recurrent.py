"""Your own nn.GRU and head: wrapped in `Recurrent` they are asked from where a series changes, not from its start."""

import torch
from torch import nn

from rambit import RaMbIT
from rambit.predictors import Recurrent

# Your model, trained in your own way: is feature 0 higher than feature 1 on the whole?
torch.manual_seed(0)
rnn, head = nn.GRU(2, 16, batch_first=True), nn.Linear(16, 2)
X = torch.randn(128, 2, 30)
y = (X[:, 0].mean(dim=1) > X[:, 1].mean(dim=1)).long()


def judge(x: torch.Tensor) -> torch.Tensor:
    """Logits (B, 2) for series (B, 2, T): the plain way to ask the same model."""
    return head(rnn(x.transpose(1, 2))[0][:, -1])


optimiser = torch.optim.Adam([*rnn.parameters(), *head.parameters()], lr=1e-2)
for _ in range(60):
    optimiser.zero_grad()
    logits = judge(X)
    nn.functional.cross_entropy(logits, y).backward()
    optimiser.step()
print(f"right for {float((logits.argmax(dim=1) == y).float().mean()):.1%} of the series it was trained on")

# The same questions twice: from the state before the first change, and from the start of every prefix.
stateful = RaMbIT(Recurrent(rnn, head), counterfactuals="mean", num_samples=1)
plain = RaMbIT(judge, counterfactuals="mean", num_samples=1)
few = X[:4]
scores, same = stateful.explain(few), plain.explain(few)
print(f"with states     {scores.row_steps:>9,} steps of the network in {scores.seconds:.2f} s")
print(f"without states  {same.row_steps:>9,} steps of the network in {same.seconds:.2f} s")
print(f"largest difference between the scores: {scores.compare(same)['max_abs_diff']:.1e}")
