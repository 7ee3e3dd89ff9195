"""The nets of the paper's table 1 in PyTorch: written from the table, sharing nothing with ours."""

import numpy as np

from tests.peers import torch

# A number is a 3x3 convolution with so many outputs, "1x1:n" a 1x1, "5x5:n" a 5x5; M pools, N
# normalises.
TABLE = {
  "A": "64 M 128 M 256 256 M 512 512 M 512 512 M",
  "A-LRN": "64 N M 128 M 256 256 M 512 512 M 512 512 M",
  "B": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
  "B-shallow": "5x5:64 M 5x5:128 M 5x5:256 M 5x5:512 M 5x5:512 M",
  "C": "64 64 M 128 128 M 256 256 1x1:256 M 512 512 1x1:512 M 512 512 1x1:512 M",
  "D": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
  "E": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


def build(
  config, classes, input_size=224, width=1.0, lrn_form="alexnet", ceil_mode=False, norm=False
):
  """Returns (features, classifier) with PyTorch's random weights; `norm` adds batch norms."""
  features, channels = [], 3
  for word in TABLE[config].split():
    if word == "M":
      features.append(torch.nn.MaxPool2d(2, 2, ceil_mode=ceil_mode))
    elif word == "N":  # PyTorch divides alpha by the size, like Caffe
      bias, alpha = {"alexnet": (2.0, 5 * 1e-4), "caffe": (1.0, 1e-4)}[lrn_form]
      features.append(torch.nn.LocalResponseNorm(5, alpha=alpha, beta=0.75, k=bias))
    else:
      side = int(word[0]) if ":" in word else 3
      outputs = int(int(word.partition(":")[2] or word) * width)
      features.append(torch.nn.Conv2d(channels, outputs, side, padding=side // 2))
      if norm:
        features.append(torch.nn.BatchNorm2d(outputs))
      features.append(torch.nn.ReLU())
      channels = outputs
  hidden = int(4096 * width)
  side = input_size // 32
  classifier = torch.nn.Sequential(
    torch.nn.Flatten(),
    torch.nn.Linear(channels * side * side, hidden),
    torch.nn.ReLU(),
    torch.nn.Linear(hidden, hidden),
    torch.nn.ReLU(),
    torch.nn.Linear(hidden, classes),
  )
  return torch.nn.Sequential(*features), classifier


def weighted(*nets):
  """Returns the layers with weights, in order."""
  kinds = (torch.nn.Conv2d, torch.nn.Linear)
  return [layer for net in nets for layer in net if isinstance(layer, kinds)]


def copy_weights(model, features, classifier):
  """Copies our model's weights into PyTorch's layers."""
  layers = weighted(features, classifier)
  assert len(layers) == len(model.layers)
  with torch.no_grad():
    for ours, theirs in zip(model.layers.values(), layers, strict=True):
      theirs.weight.copy_(torch.tensor(to_torch(ours.weights.numpy(), theirs)))
      theirs.bias.copy_(torch.tensor(ours.biases.numpy()))


def to_torch(kernel, layer):
  """Returns a kernel [height, width, inputs, outputs] in the axes of PyTorch's layer."""
  kernel = kernel.transpose(3, 2, 0, 1)
  return kernel if isinstance(layer, torch.nn.Conv2d) else kernel.reshape(len(kernel), -1)


def convolve_classifier(classifier, side):
  """Returns the classifier as a fully-convolutional net whose first kernel has this side."""
  layers = []
  for layer in weighted(classifier):
    inputs = layer.in_features // side**2
    convolution = torch.nn.Conv2d(inputs, layer.out_features, side, dtype=layer.weight.dtype)
    with torch.no_grad():
      convolution.weight.copy_(layer.weight.reshape(convolution.weight.shape))
      convolution.bias.copy_(layer.bias)
    layers += [convolution, torch.nn.ReLU()]
    side = 1
  return torch.nn.Sequential(*layers[:-1])


def prepare(images, mean_rgb):
  """Returns uint8 [N, H, W, 3] images as [N, 3, H, W], the mean subtracted."""
  return torch.tensor((np.float32(images) - np.float32(mean_rgb)).transpose(0, 3, 1, 2))
