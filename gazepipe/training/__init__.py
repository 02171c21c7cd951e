"""The three training loops: embedding network, refiner, universal predictor.

Each reads top to bottom: data on the device, batches drawn by index, one visible loop, early stopping on validation
users and images only, the best weights returned. No loader, no trainer framework; files and printing stay outside.
Test users and test images are never touched here.
"""

from __future__ import annotations

from gazepipe.training.course import Progress, Trained
from gazepipe.training.embedding import descriptor_tables, embedding_pools, train_embedding
from gazepipe.training.encoder import Encoder
from gazepipe.training.refiner import train_multicnn, train_refiner
from gazepipe.training.universal import train_universal

__all__ = [
    "Encoder",
    "Progress",
    "Trained",
    "descriptor_tables",
    "embedding_pools",
    "train_embedding",
    "train_multicnn",
    "train_refiner",
    "train_universal",
]
