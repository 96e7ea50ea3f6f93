"""Items as single tokens of a language model, so that one step of it scores the catalogue: Reindex-Then-Adapt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsmith.errors import UserError


class SingleTokenIndex(nn.Module):
    """One vector per item in the space of a language model's output vectors (He et al., 2024: Reindex-Then-Adapt: improving large
    language models for conversational recommendation).

    *Reindex*: the output vectors of the tokens of a title, aggregated by a recurrent layer whose change is added to their mean, become
    the vector of one token. *Adapt*: a bias per item moves the model's prior to that of the platform. The language model stays as it is:
    what is trained are the aggregator and the biases, from hidden states of contexts whose next item is known.

    Deviations: the change starts at zero, so that an index without training scores by the mean of the title's tokens.
    """

    tokens: Tensor
    lengths: Tensor

    def __init__(self, token_vectors: Tensor, titles: Sequence[Sequence[int]], *, width: int = 64) -> None:
        """`token_vectors` float `[vocabulary, dim]` (not trained) and the token numbers of each item's title."""
        super().__init__()
        if any(len(title) == 0 for title in titles):
            empty = next(item for item, title in enumerate(titles) if len(title) == 0)
            raise UserError(f"the title of item {empty} has no token; give every item a title, such as its id")
        longest = max(len(title) for title in titles)
        padded = torch.tensor([[*title, *[0] * (longest - len(title))] for title in titles])
        self.register_buffer("tokens", padded)
        self.register_buffer("lengths", torch.tensor([len(title) for title in titles]))
        self.vectors = nn.Parameter(token_vectors.detach().clone(), requires_grad=False)
        self.reader = nn.GRU(token_vectors.shape[1], width, batch_first=True)
        self.change = nn.Linear(width, token_vectors.shape[1])
        self.bias = nn.Parameter(torch.zeros(len(titles)))
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)

    def item_vectors(self) -> Tensor:
        """Float `[item, dim]`."""
        words = self.vectors[self.tokens]
        standing = (torch.arange(words.shape[1], device=words.device)[None] < self.lengths[:, None]).unsqueeze(-1)
        mean = (words * standing).sum(dim=1) / self.lengths[:, None]
        read, _ = self.reader(words)
        last = read[torch.arange(len(read), device=read.device), self.lengths - 1]
        return mean + self.change(last)

    def score(self, hidden: Tensor) -> Tensor:
        """Scores `[row, item]` for the last hidden states `[row, dim]` of contexts."""
        return hidden @ self.item_vectors().T + self.bias

    def fit(
        self, hidden: Tensor, targets: Tensor, *, steps: int = 200, learning_rate: float = 0.01, batch_size: int = 256, seed: int = 0
    ) -> float:
        """Train aggregator and biases on hidden states `[case, dim]` and the items `[case]` that followed; returns the last mean loss."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=learning_rate)
        random = torch.Generator().manual_seed(seed)
        value = float("nan")
        for _ in range(steps):
            rows = torch.randint(len(hidden), (min(batch_size, len(hidden)),), generator=random)
            loss = functional.cross_entropy(self.score(hidden[rows]), targets[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            value = float(loss.detach())
        return value
