"""The networks of `bidst` that are compared, dense in PyTorch.

They are the same networks: `compare_step.py` asserts that the numbers of parameters agree.
"""
import torch
from torch import nn


def conv(inputs, outputs, kernel, stride=1, groups=1):
    """A convolution without bias, and its batch norm."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


def relu():
    return nn.ReLU(inplace=True)


class Residual(nn.Module):
    """`activation(body(x) + shortcut(x))`; the shortcut is a projection where the shape changes."""

    def __init__(self, body, shortcut, activation):
        super().__init__()
        self.body = nn.Sequential(*body)
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = activation

    def forward(self, x):
        return self.activation(self.body(x).add_(self.shortcut(x)))


def projection(inputs, outputs, stride):
    return conv(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else []


def basic(inputs, channels, stride):
    body = [*conv(inputs, channels, 3, stride), relu(), *conv(channels, channels, 3)]
    return Residual(body, projection(inputs, channels, stride), relu()), channels


def bottleneck(inputs, channels, stride):
    outputs = 4 * channels
    body = [*conv(inputs, channels, 1), relu(), *conv(channels, channels, 3, stride), relu()]
    body += conv(channels, outputs, 1)
    return Residual(body, projection(inputs, outputs, stride), relu()), outputs


def stages(inputs, plan, block):
    """Stages of (channels, blocks); all but the first begin with stride 2."""
    layers = []
    for stage, (channels, blocks) in enumerate(plan):
        for index in range(blocks):
            layer, inputs = block(inputs, channels, 2 if stage and not index else 1)
            layers.append(layer)
    return layers, inputs


def head(features, classes):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes)]


def resnet32(width, classes):
    """He et al. (2016) for CIFAR, with projections as shortcuts."""
    scaled = [round(channels * width) for channels in (16, 32, 64)]
    blocks, features = stages(scaled[0], [(channels, 5) for channels in scaled], basic)
    return nn.Sequential(*conv(3, scaled[0], 3), relu(), *blocks, *head(features, classes))


def resnet50(width, classes):
    """He et al. (2016) for ImageNet, with the stride in the 3x3 convolution."""
    scaled = [(round(channels * width), blocks) for channels, blocks in ((64, 3), (128, 4), (256, 6), (512, 3))]
    blocks, features = stages(scaled[0][0], scaled, bottleneck)
    stem = [*conv(3, scaled[0][0], 7, 2), relu(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, *head(features, classes))


def vgg19(width, classes):
    """Simonyan and Zisserman (2015) with batch norm and one linear layer."""
    layers, inputs = [], 3
    for stage, (channels, count) in enumerate(((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))):
        layers += [nn.MaxPool2d(2)] if stage else []
        for _ in range(count):
            outputs = round(channels * width)
            layers += [*conv(inputs, outputs, 3), relu()]
            inputs = outputs
    return nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(inputs, classes))


def mobilenet_v2(width, classes):
    """Sandler et al. (2018) with the first strides taken out, as is usual for CIFAR."""
    plan = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    inputs = round(32 * width)
    layers = [*conv(3, inputs, 3), nn.ReLU6(inplace=True)]
    for expansion, channels, blocks, first_stride in plan:
        outputs = round(channels * width)
        for index in range(blocks):
            stride, hidden = first_stride if index == 0 else 1, inputs * expansion
            body = [*conv(inputs, hidden, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
            body += [*conv(hidden, hidden, 3, stride, hidden), nn.ReLU6(inplace=True), *conv(hidden, outputs, 1)]
            adds = stride == 1 and inputs == outputs
            layers.append(Residual(body, [], nn.Identity()) if adds else nn.Sequential(*body))
            inputs = outputs
    layers += [*conv(inputs, 1280, 1), nn.ReLU6(inplace=True)]
    return nn.Sequential(*layers, *head(1280, classes))


NETWORKS = {"resnet32": resnet32, "vgg19": vgg19, "mobilenet-v2": mobilenet_v2, "resnet50": resnet50}


def build(name, width, classes=10):
    """The network `name` in training mode, with the same weights every time."""
    torch.manual_seed(0)
    return NETWORKS[name](width, classes).train()
