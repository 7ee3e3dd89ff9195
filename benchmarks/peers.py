"""Net D at 224 pixels by others: in torch and in Keras 2, on one batch."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from vggtf.models import vgg

TORCH = importlib.util.find_spec("torch") is not None
KERAS = importlib.util.find_spec("tf_keras") is not None
SIDE = 224
MEAN_RGB = (120.0, 115.0, 100.0)
HIDDEN = 4096


def make_torch(
  compute_type: str, image: np.ndarray, label: np.ndarray, classes: int
) -> tuple[Callable[[], object], Callable[[], object]]:
  """Returns the step and the forward pass of the same net in torch."""
  import torch

  torch.set_num_threads(len(os.sched_getaffinity(0)))
  layers, inputs = [], 3
  for block, channels in zip(vgg.CONFIGS["D"], vgg.BLOCK_CHANNELS, strict=True):
    for kernel in block:
      layers += [torch.nn.Conv2d(inputs, channels, kernel, padding=1), torch.nn.ReLU()]
      inputs = channels
    layers.append(torch.nn.MaxPool2d(2))
  layers.append(torch.nn.Flatten())
  inputs *= (SIDE // 32) ** 2
  for _ in ("fc6", "fc7"):
    layers += [torch.nn.Linear(inputs, HIDDEN), torch.nn.ReLU(), torch.nn.Dropout(0.5)]
    inputs = HIDDEN
  net = torch.nn.Sequential(*layers, torch.nn.Linear(inputs, classes))
  net = net.to(memory_format=torch.channels_last)
  update = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)
  images, labels, mean = (
    torch.from_numpy(image),
    torch.from_numpy(label).long(),
    torch.tensor(MEAN_RGB),
  )

  def logits():
    maps = (images.float() - mean).permute(0, 3, 1, 2)  # so stored: channels last
    with torch.autocast("cpu", torch.bfloat16, enabled=compute_type == "bfloat16"):
      return net(maps).float()

  def step():
    net.train()
    loss = torch.nn.functional.cross_entropy(logits(), labels)
    update.zero_grad()
    loss.backward()
    update.step()
    return loss.item()

  def forward():
    net.eval()
    with torch.inference_mode():
      return logits().numpy()

  return step, forward


def make_keras_fit(
  compute_type: str, image: np.ndarray, label: np.ndarray, classes: int, steps: int
) -> Callable[[], object]:
  """Returns an epoch of so many steps of model.fit of the same net in Keras 2."""
  import tf_keras as keras

  policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[compute_type]
  keras.mixed_precision.set_global_policy(policy)
  net = keras.Sequential([keras.layers.Rescaling(1.0, [-mean for mean in MEAN_RGB])])
  for block, channels in zip(vgg.CONFIGS["D"], vgg.BLOCK_CHANNELS, strict=True):
    for kernel in block:
      net.add(keras.layers.Conv2D(channels, kernel, padding="same", activation="relu"))
    net.add(keras.layers.MaxPool2D())
  net.add(keras.layers.Flatten())
  for _ in ("fc6", "fc7"):
    net.add(keras.layers.Dense(HIDDEN, activation="relu"))
    net.add(keras.layers.Dropout(0.5))
  net.add(keras.layers.Dense(classes, dtype="float32"))
  loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  net.compile(keras.optimizers.legacy.SGD(1e-3, momentum=0.9), loss, jit_compile=False)
  batches = tf.data.Dataset.from_tensors((image, label)).repeat()
  return lambda: net.fit(batches, steps_per_epoch=steps, verbose=0)
