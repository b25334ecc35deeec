"""Layers that convolve over one, two or three image axes, channels last."""

from typing import Any, ClassVar

import jax

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.errors import ShapeError, describe
from funcgrad.layers.affine import start_affine
from funcgrad.layers.initialization import Initializer
from funcgrad.layers.layer import Layer, array_spec, take
from funcgrad.ops.axes import Padding, per_axis
from funcgrad.registry import Op

Sizes = int | tuple[int, ...]


class Convolution(Layer):
    """What the convolutions share; a subclass says over how many image axes, and by which op.

    Args:
        features: number of output channels.
        window: size of the kernel, one number or one per image axis.
        stride: step of the window, likewise.
        padding: "SAME", "VALID", a number for all sides, or a number or pair (before, after) per image axis.
        use_bias: whether there is a `b`.
        w_init: initializer of `w`.
        b_init: initializer of `b`.
        dilation: distance of the kernel's entries, one number or one per image axis.
        groups: how many runs of channels are convolved apart.
    """

    axes: ClassVar[int]
    operation: ClassVar[Op]

    features: int
    window: Sizes
    stride: Sizes = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    w_init: Initializer = "lecun_normal"
    b_init: Initializer = "zeros"
    dilation: Sizes = 1
    groups: int = 1

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Make `{"w", "b"}` of the input's dtype.

        Raises:
            ShapeError: the input has too few axes, or has its channels first, or `window` or `groups` does not fit it.
        """
        self.check_inputs(len(specs))
        x = array_spec(self, specs[0], least_ndim=self.axes + 1)
        try:
            window = per_axis("window", self.window, self.axes)
        except ValueError as error:
            raise ShapeError(f"{self.where}: {error}.") from None
        c = x.shape[-1]
        self._check_channels_last(x)
        if self.groups < 1 or c % self.groups:
            raise ShapeError(f"{self.where}: groups must divide the input's channels, {c}, got {self.groups}.")
        return start_affine(self, key, (*window, c // self.groups, self.features), x.dtype), {}

    def _check_channels_last(self, x: jax.ShapeDtypeStruct) -> None:
        """ShapeError for a batch of square images of one or three channels that come first.

        Read as channels last, it has images one or three high, as wide as it has channels: nobody's data, and hardly
        what a network comes to on its way. Parameters do not depend on the width, so who means it can init at another.
        """
        sides = x.shape[-self.axes :]
        if self.axes > 1 and len(x.shape) == self.axes + 2 and x.shape[1] in (1, 3) and len(set(sides)) == 1:
            if sides[0] >= 8:
                raise ShapeError(
                    f"{self.where}: images must have their channels last, got {describe(x)}; transpose them (should "
                    f"they be {x.shape[1]} high with {sides[0]} channels, init at another width)."
                )

    def forward(self, params: PyTree, x: Array) -> Array:
        """The convolution of `x` with `w`, plus `b`."""
        w, b = take(self, params, "w"), take(self, params, "b") if self.use_bias else None
        return self.operation(x, w, b, **self.attributes())

    def attributes(self) -> dict[str, Any]:
        """The op's."""
        return {n: getattr(self, n) for n in ("stride", "padding", "dilation", "groups")}


class conv1d(Convolution):
    """1-D convolution: `x[..., w, c] -> y[..., w', features]`; see `fg.ops.conv1d`.

    Its parameters are `w[kw, c / groups, features]` and `b[features]`.

    Args:
        features: number of output channels.
        window: size of the kernel.
        stride: step of the window.
        padding: "SAME", "VALID", a number for all sides, or (before, after), in a tuple of one.
        use_bias: whether there is a `b`.
        w_init: initializer of `w`.
        b_init: initializer of `b`.
        dilation: distance of the kernel's entries.
        groups: how many runs of channels are convolved apart; as many as channels makes it depthwise.

    Raises:
        ShapeError: from `init`, the input has too few axes, or has its channels first, or `window` or `groups` does not
            fit it.

    Example:
        >>> net, x = fg.layers.conv1d(5, 3, stride=2), jnp.ones((2, 8, 3))
        >>> params, state = net.init(jax.random.key(0), x)
        >>> params["w"].shape, net(params, x).shape
        ((3, 3, 5), (2, 4, 5))
    """

    axes = 1
    operation = ops.conv1d


class conv2d(Convolution):
    """2-D convolution: `x[..., h, w, c] -> y[..., h', w', features]`; see `fg.ops.conv2d`.

    Its parameters are `w[kh, kw, c / groups, features]` and `b[features]`.

    Args:
        features: number of output channels.
        window: size of the kernel, one number or (height, width).
        stride: step of the window, one number or (vertical, horizontal).
        padding: "SAME", "VALID", a number for all sides, or ((top, bottom), (left, right)).
        use_bias: whether there is a `b`.
        w_init: initializer of `w`.
        b_init: initializer of `b`.
        dilation: distance of the kernel's entries, one number or (vertical, horizontal).
        groups: how many runs of channels are convolved apart; as many as channels makes it depthwise.

    Raises:
        ShapeError: from `init`, the input has too few axes, or has its channels first, or `window` or `groups` does not
            fit it.

    Example:
        >>> net, x = fg.layers.conv2d(5, 3, stride=2), jnp.ones((2, 8, 8, 3))
        >>> params, state = net.init(jax.random.key(0), x)
        >>> params["w"].shape, net(params, x).shape
        ((3, 3, 3, 5), (2, 4, 4, 5))
    """

    axes = 2
    operation = ops.conv2d


class conv3d(Convolution):
    """3-D convolution: `x[..., d, h, w, c] -> y[..., d', h', w', features]`; see `fg.ops.conv3d`.

    Its parameters are `w[kd, kh, kw, c / groups, features]` and `b[features]`.

    Args:
        features: number of output channels.
        window: size of the kernel, one number or (depth, height, width).
        stride: step of the window, one number or one per image axis.
        padding: "SAME", "VALID", a number for all sides, or ((front, back), (top, bottom), (left, right)).
        use_bias: whether there is a `b`.
        w_init: initializer of `w`.
        b_init: initializer of `b`.
        dilation: distance of the kernel's entries, one number or one per image axis.
        groups: how many runs of channels are convolved apart; as many as channels makes it depthwise.

    Raises:
        ShapeError: from `init`, the input has too few axes, or has its channels first, or `window` or `groups` does not
            fit it.

    Example:
        >>> net, x = fg.layers.conv3d(5, 3, stride=2), jnp.ones((2, 8, 8, 8, 3))
        >>> params, state = net.init(jax.random.key(0), x)
        >>> params["w"].shape, net(params, x).shape
        ((3, 3, 3, 3, 5), (2, 4, 4, 4, 5))
    """

    axes = 3
    operation = ops.conv3d


class TransposedConvolution(Convolution):
    """What the transposed convolutions share.

    Args:
        features: number of output channels.
        window: size of the kernel, one number or one per image axis.
        stride: how far apart the entries of the input stand in the output, likewise.
        padding: "SAME", "VALID", a number for all sides, or a number or pair (before, after) per image axis; it is left
            out of the output.
        use_bias: whether there is a `b`.
        w_init: initializer of `w`.
        b_init: initializer of `b`.
        dilation: distance of the kernel's entries, one number or one per image axis.
        groups: how many runs of channels are convolved apart.
        output_padding: entries kept after the last that explicit padding leaves, likewise.
    """

    output_padding: Sizes = 0

    def attributes(self) -> dict[str, Any]:
        """The op's."""
        return {**super().attributes(), "output_padding": self.output_padding}


class conv_transpose1d(TransposedConvolution):
    """1-D transposed convolution: `x[..., w, c] -> y[..., w', features]`; see `fg.ops.conv_transpose1d`.

    Its parameters are `w[kw, c / groups, features]` and `b[features]`.

    Args:
        features: number of output channels.
        window: size of the kernel.
        stride: how far apart the entries of the input stand in the output.
        padding: "SAME", "VALID", a number for all sides, or (before, after), in a tuple of one;
            it is left out of the output.
        use_bias: whether there is a `b`.
        w_init: initializer of `w`.
        b_init: initializer of `b`.
        dilation: distance of the kernel's entries.
        groups: how many runs of channels are convolved apart; as many as channels makes it depthwise.
        output_padding: entries kept after the last that explicit padding leaves.

    Raises:
        ShapeError: from `init`, the input has too few axes, or has its channels first, or `window` or `groups` does not
            fit it.

    Example:
        >>> net, x = fg.layers.conv_transpose1d(5, 2, stride=2), jnp.ones((2, 4, 3))
        >>> params, state = net.init(jax.random.key(0), x)
        >>> params["w"].shape, net(params, x).shape
        ((2, 3, 5), (2, 8, 5))
    """

    axes = 1
    operation = ops.conv_transpose1d


class conv_transpose2d(TransposedConvolution):
    """2-D transposed convolution: `x[..., h, w, c] -> y[..., h', w', features]`; see `fg.ops.conv_transpose2d`.

    Its parameters are `w[kh, kw, c / groups, features]` and `b[features]`.

    Args:
        features: number of output channels.
        window: size of the kernel, one number or (height, width).
        stride: how far apart the entries of the input stand in the output, one number or (vertical, horizontal).
        padding: "SAME", "VALID", a number for all sides, or ((top, bottom), (left, right));
            it is left out of the output.
        use_bias: whether there is a `b`.
        w_init: initializer of `w`.
        b_init: initializer of `b`.
        dilation: distance of the kernel's entries, one number or (vertical, horizontal).
        groups: how many runs of channels are convolved apart; as many as channels makes it depthwise.
        output_padding: entries kept after the last that explicit padding leaves.

    Raises:
        ShapeError: from `init`, the input has too few axes, or has its channels first, or `window` or `groups` does not
            fit it.

    Example:
        >>> net, x = fg.layers.conv_transpose2d(5, 2, stride=2), jnp.ones((2, 4, 4, 3))
        >>> params, state = net.init(jax.random.key(0), x)
        >>> params["w"].shape, net(params, x).shape
        ((2, 2, 3, 5), (2, 8, 8, 5))
    """

    axes = 2
    operation = ops.conv_transpose2d


class conv_transpose3d(TransposedConvolution):
    """3-D transposed convolution: `x[..., d, h, w, c] -> y[..., d', h', w', features]`; see `fg.ops.conv_transpose3d`.

    Its parameters are `w[kd, kh, kw, c / groups, features]` and `b[features]`.

    Args:
        features: number of output channels.
        window: size of the kernel, one number or (depth, height, width).
        stride: how far apart the entries of the input stand in the output, one number or one per image axis.
        padding: "SAME", "VALID", a number for all sides, or ((front, back), (top, bottom), (left, right));
            it is left out of the output.
        use_bias: whether there is a `b`.
        w_init: initializer of `w`.
        b_init: initializer of `b`.
        dilation: distance of the kernel's entries, one number or one per image axis.
        groups: how many runs of channels are convolved apart; as many as channels makes it depthwise.
        output_padding: entries kept after the last that explicit padding leaves.

    Raises:
        ShapeError: from `init`, the input has too few axes, or has its channels first, or `window` or `groups` does not
            fit it.

    Example:
        >>> net, x = fg.layers.conv_transpose3d(5, 2, stride=2), jnp.ones((2, 4, 4, 4, 3))
        >>> params, state = net.init(jax.random.key(0), x)
        >>> params["w"].shape, net(params, x).shape
        ((2, 2, 2, 3, 5), (2, 8, 8, 8, 5))
    """

    axes = 3
    operation = ops.conv_transpose3d
