"""VGG nets in PyTorch, built as torchvision builds its own."""

import numpy as np

from tests.models import torch_vgg
from tests.peers import torch


def torchvision_like(config, classes, norm=False, width=1.0, side=7):
  """Returns a module with the names of torchvision's VGG, with random weights."""
  layers, channels = [], 3
  for word in torch_vgg.TABLE[config].split():
    if word == "M":
      layers.append(torch.nn.MaxPool2d(2, 2))
      continue
    kernel = 1 if word.startswith("1x1:") else 3
    outputs = int(int(word.removeprefix("1x1:")) * width)
    layers.append(torch.nn.Conv2d(channels, outputs, kernel, padding=kernel // 2))
    layers += [torch.nn.BatchNorm2d(outputs)] if norm else []
    layers.append(torch.nn.ReLU())
    channels = outputs
  hidden = int(4096 * width)
  module = torch.nn.Module()
  module.features = torch.nn.Sequential(*layers)
  module.classifier = torch.nn.Sequential(
    torch.nn.Linear(channels * side * side, hidden),
    torch.nn.ReLU(),
    torch.nn.Dropout(),
    torch.nn.Linear(hidden, hidden),
    torch.nn.ReLU(),
    torch.nn.Dropout(),
    torch.nn.Linear(hidden, classes),
  )
  module.forward = lambda pixels: module.classifier(torch.flatten(module.features(pixels), 1))
  with torch.no_grad():
    for name, value in module.state_dict().items():
      if value.ndim > 1:
        value.normal_(0, float(np.sqrt(2 / np.prod(value.shape[1:]))))
      elif value.ndim == 1:
        value.uniform_(0.5, 1.5) if "running" in name or norm else value.uniform_(-0.5, 0.5)
  return module.eval()
