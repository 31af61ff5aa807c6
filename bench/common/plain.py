"""Training in bare PyTorch, as tutorials teach it: what Frostline is compared with."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from frostline.training.optim import learning_rate

Images = Dataset[tuple[torch.Tensor, int]]


def train_plainly(
    frozen: nn.Module,
    trained: nn.Module,
    train_loader: Callable[[int], DataLoader[tuple[torch.Tensor, int]]],
    val_loader: DataLoader[tuple[torch.Tensor, int]],
    *,
    epochs: int,
    lr: float,
    weight_decay: float,
    clip_norm: float | None = None,
) -> list[float]:
    """Train with AdamW and a one-cycle schedule; return the validation accuracy after each epoch.

    The frozen part runs again for every batch of every epoch. ``train_loader`` returns an epoch's batches.
    """
    loss_of = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=lr, weight_decay=weight_decay)
    accuracies = []
    for epoch in range(epochs):
        trained.train()
        batches = train_loader(epoch)
        for step, (x, y) in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate("onecycle", lr, epoch * len(batches) + step, epochs * len(batches))
            with torch.no_grad():
                maps = frozen(x)
            loss = loss_of(trained(maps), y)
            optimizer.zero_grad()
            loss.backward()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(trained.parameters(), clip_norm)
            optimizer.step()
        trained.eval()
        right = count = 0
        with torch.no_grad():
            for x, y in val_loader:
                right += int((trained(frozen(x)).argmax(1) == y).sum())
                count += len(y)
        accuracies.append(right / count)
    return accuracies
