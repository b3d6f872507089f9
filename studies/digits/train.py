"""Trains the built-in digits encoder and exports it: digits.onnx (fp32), calibration.npz, test.npz.

Run: pip install 'tileformer[train]', then python studies/digits/train.py. Data: scikit-learn's digits (1 797 images of
8x8, UCI optical recognition of handwritten digits). A token is one image row; pixels are divided by 16, so x is in [0, 1].
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

TOKENS, PIXELS, WIDTH, HEADS, HIDDEN, LAYERS, CLASSES = 8, 8, 32, 4, 64, 2, 10


class DigitsEncoder(nn.Module):
    """(batch, 8, 8) rows of pixels -> (batch, 10) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(PIXELS, WIDTH)
        self.positions = nn.Parameter(0.1 * torch.randn(1, TOKENS, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, dropout=0.1, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.classify = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch of images."""
        return self.classify(self.encoder(self.embed(x) + self.positions).mean(dim=1))


def shifted(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images moved by at most one pixel up, down, left or right, each at random."""
    moves = torch.randint(-1, 2, (len(x), 2), generator=generator)
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    return torch.stack(
        [p[1 + dy : 9 + dy, 1 + dx : 9 + dx] for p, (dy, dx) in zip(padded, moves.tolist(), strict=True)]
    )


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, seed: int) -> None:
    """AdamW with a one-cycle learning rate and label smoothing."""
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * (len(x) // 64 + 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    model.train()
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for batch in order.split(64):
            inputs = shifted(x[batch], generator) if epoch < epochs * 3 // 4 else x[batch]
            loss = loss_of(model(inputs), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}", flush=True)
    model.eval()


def main() -> None:
    """Train, report accuracy, write the three files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[2] / "dse" / "models" / "digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=80)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(2)
    images, labels = load_digits(return_X_y=True)
    x = (images.reshape(-1, TOKENS, PIXELS) / 16).astype(np.float32)
    split = train_test_split(x, labels, test_size=500, stratify=labels, random_state=options.seed)
    x_train, x_test, y_train, y_test = split
    model = DigitsEncoder()
    train(model, torch.from_numpy(x_train), torch.from_numpy(y_train), options.epochs, options.seed)
    with torch.no_grad():
        right = model(torch.from_numpy(x_test)).argmax(dim=1).numpy() == y_test
    print(f"test accuracy {100 * right.mean():.1f} % of {len(y_test)}")
    options.out.mkdir(parents=True, exist_ok=True)
    sample = torch.from_numpy(x_test[:1])
    path = options.out / "digits.onnx"
    names = {"input_names": ["x"], "output_names": ["logits"]}
    torch.onnx.export(model, (sample,), str(path), dynamo=True, external_data=False, opset_version=18, **names)
    np.savez_compressed(options.out / "calibration.npz", x=x_train[:128])
    np.savez_compressed(options.out / "test.npz", x=x_test, y=y_test.astype(np.int64))


if __name__ == "__main__":
    main()
