"""Shapes of layers as `bidst bench conv` writes them, and random sparse weights for them."""
import re
from typing import NamedTuple

import numpy


class Shape(NamedTuple):
    """`OUTxINxKHxKW@SIDE/STRIDE`, or `OUTxIN` with no kernel."""

    outputs: int
    inputs: int
    kernel: tuple | None = None
    side: int = 1
    stride: int = 1
    groups: int = 1

    def weights(self):
        """Positions of the dense weight."""
        return numpy.prod([self.outputs, self.inputs, *(self.kernel or ())], dtype=int).item()


def parse_shape(text):
    match = re.fullmatch(r"(\d+)x(\d+)(?:x(\d+)x(\d+)@(\d+)(?:/(\d+))?)?", text)
    if match is None:
        raise SystemExit(f"{text}: expected OUTxINxKHxKW@SIDE, perhaps with /STRIDE, or OUTxIN")
    outputs, inputs, height, width, side, stride = (group and int(group) for group in match.groups())
    if height is None:
        return Shape(outputs, inputs)
    return Shape(outputs, inputs, (height, width), side, stride or 1)


def random_weight(shape, density):
    """A float32 weight with exactly `round(density * positions)` non-zeros, the same every time."""
    random = numpy.random.default_rng(0)
    weight = numpy.zeros(shape.weights(), numpy.float32)
    active = random.choice(weight.size, round(density * weight.size), replace=False)
    weight[active] = random.uniform(0.1, 1.0, active.size)
    return weight.reshape(shape.outputs, shape.inputs, *(shape.kernel or ()))
