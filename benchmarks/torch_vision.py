"""The image networks as PyTorch modules with the weights of ours: what `vision.py` compares with.

They are written as PyTorch users write them, and give the same logits as `networks.convnet`,
`networks.resnet` with batch norm and `networks.transformer` at their defaults.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def convnet(params) -> nn.Module:
    convolutions = [layer for layer in params if layer["kernel"].ndim == 4]
    layers: list[nn.Module] = []
    for layer in convolutions:
        layers += [_convolution(layer), nn.ReLU(), nn.MaxPool2d(2)]
    first, *others = params[len(convolutions) :]
    layers += [nn.Flatten(), _linear(_channels_first(first, convolutions[-1]))]
    for layer in others:
        layers += [nn.ReLU(), _linear(layer)]
    return nn.Sequential(*layers)


def resnet(params) -> nn.Module:
    blocks = [
        Block(block, 2 if stage and not number else 1)
        for stage, several in enumerate(params["stages"])
        for number, block in enumerate(several)
    ]
    dense = [part for layer in params["dense"] for part in (_linear(layer), nn.ReLU())]
    return nn.Sequential(
        _normed(params["stem"]),
        nn.ReLU(inplace=True),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        *dense,
        _linear(params["head"]),
    )


class Block(nn.Module):
    def __init__(self, block, stride: int):
        super().__init__()
        self.first = _normed(block["first"], stride)
        self.second = _normed(block["second"])
        self.shortcut = _normed(block["shortcut"], stride) if "shortcut" in block else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, stream):
        inner = self.second(self.relu(self.first(stream)))
        inner += stream if self.shortcut is None else self.shortcut(stream)
        return self.relu(inner)


class Halving(nn.Conv2d):
    """A convolution of stride 2, padded on both sides as PyTorch users do.

    XLA's "SAME" pads the far side alone: so it is to be for comparing numbers. That takes a copy
    of the images, so it is not what is timed.
    """

    as_xla = False

    def forward(self, images):
        if not (self.as_xla and self.padding[0]):
            return super().forward(images)
        padded = functional.pad(images, (0, 1, 0, 1))
        return functional.conv2d(padded, self.weight, self.bias, self.stride)


class Transformer(nn.Module):
    def __init__(self, params, heads: int = 4, patch: int = 4):
        super().__init__()
        kernel = params["embed"]["kernel"]
        whole = kernel.reshape(patch, patch, -1, kernel.shape[1])
        self.embed = nn.Conv2d(whole.shape[2], whole.shape[3], patch, patch)
        _load(self.embed, whole.transpose(3, 2, 0, 1), params["embed"]["bias"])
        self.positions = nn.Parameter(_tensor(params["positions"]))
        self.blocks = nn.Sequential(*(Attention(block, heads) for block in params["blocks"]))
        self.norm, self.head = _layer_norm(params["norm"]), _linear(params["head"])

    def forward(self, images):
        tokens = self.embed(images).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(tokens)).mean(1))


class Attention(nn.Module):
    def __init__(self, block, heads: int):
        super().__init__()
        self.heads = heads
        self.attention_norm = _layer_norm(block["attention_norm"])
        self.attention, self.mix = _linear(block["attention"]), _linear(block["mix"])
        mlp = (_linear(block["up"]), nn.GELU(), _linear(block["down"]))
        self.mlp = nn.Sequential(_layer_norm(block["mlp_norm"]), *mlp)

    def forward(self, stream):
        rows, tokens, size = stream.shape
        read = self.attention(self.attention_norm(stream))
        parts = read.reshape(rows, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        taken = functional.scaled_dot_product_attention(*parts)
        stream = stream + self.mix(taken.transpose(1, 2).reshape(rows, tokens, size))
        return stream + self.mlp(stream)


MODULES = {"convnet": convnet, "resnet": resnet, "transformer": Transformer}


def pad_as_xla(model: nn.Module, on: bool) -> None:
    """Whether convolutions of stride 2 pad as XLA does."""
    for part in model.modules():
        if isinstance(part, Halving):
            part.as_xla = on


def trainer(model: nn.Module, inputs, labels, order, layout, rate: float, momentum: float):
    """Steps of SGD in the usual PyTorch way; the function that takes them returns the mean loss."""
    model.to(memory_format=layout)
    images = torch.from_numpy(np.moveaxis(inputs, 3, 1).copy()).to(memory_format=layout)
    targets, batches = torch.from_numpy(labels.astype(np.int64)), torch.from_numpy(order)
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    criterion = nn.CrossEntropyLoss()

    def train() -> float:
        losses = []
        for chosen in batches:
            optimiser.zero_grad()
            loss = criterion(model(images[chosen]), targets[chosen])
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    return train


def logits(model: nn.Module, inputs) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(np.moveaxis(inputs, 3, 1).copy())).numpy()


def size(model: nn.Module) -> int:
    return sum(part.numel() for part in model.parameters())


def _tensor(array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, order="C"))


def _load(module, weight, bias):
    module.weight.data, module.bias.data = _tensor(weight), _tensor(bias)
    return module


def _linear(layer) -> nn.Module:
    return _load(nn.Linear(*layer["kernel"].shape), layer["kernel"].T, layer["bias"])


def _channels_first(layer, convolution):
    """Ours flattens an image row, column, channel; PyTorch channel, row, column."""
    kernel, channels = layer["kernel"], convolution["kernel"].shape[3]
    side = round((kernel.shape[0] / channels) ** 0.5)
    whole = kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3)
    return layer | {"kernel": whole.reshape(kernel.shape)}


def _convolution(layer, stride: int = 1) -> nn.Module:
    side, _, channels, units = layer["kernel"].shape
    kind = nn.Conv2d if stride == 1 else Halving
    module = kind(channels, units, side, stride, padding=side // 2)
    return _load(module, layer["kernel"].transpose(3, 2, 0, 1), layer["bias"])


def _normed(layer, stride: int = 1) -> nn.Module:
    convolution = _convolution(layer, stride)
    norm = nn.BatchNorm2d(convolution.out_channels)
    return nn.Sequential(convolution, _load(norm, layer["scale"], layer["offset"]))


def _layer_norm(layer) -> nn.Module:
    norm = nn.LayerNorm(layer["scale"].shape[0], eps=1e-6)
    return _load(norm, layer["scale"], layer["offset"])
