"""Cases of convolution."""

from funcgrad import ops
from tests.ops.cases.case import case, normal

case(ops.conv1d, normal(2, 7, 4), normal(3, 2, 6), normal(6), stride=2, dilation=2, groups=2)

case(ops.conv2d, normal(2, 7, 6, 3), normal(3, 3, 3, 4), normal(4))
case(ops.conv2d, normal(2, 7, 8, 2), normal(3, 2, 2, 3), stride=(2, 3), label="stride", slow=True)
case(ops.conv2d, normal(2, 8, 7, 2), normal(3, 3, 2, 3), stride=2, padding="VALID", label="left-over")
case(ops.conv2d, normal(6, 5, 2), normal(2, 3, 2, 1), padding=((2, 0), (1, 3)), label="no-batch", slow=True)
case(ops.conv2d, normal(2, 2, 5, 5, 1), normal(1, 1, 1, 2), normal(2), stride=3, label="leading")
case(ops.conv2d, normal(1, 4, 4, 1), normal(4, 4, 1, 1), padding="VALID", label="whole", slow=True)
case(ops.conv2d, normal(0, 4, 4, 1), normal(3, 3, 1, 2), normal(2), label="empty")
case(ops.conv2d, normal(2, 6, 5, 4), normal(3, 3, 1, 8), groups=4, stride=2, label="depthwise")
case(ops.conv2d, normal(2, 5, 5, 2), normal(1, 1, 2, 3), padding=((1, 0), (0, 2)), label="padded-point", slow=True)
case(ops.conv2d, normal(2, 3, 3, 2), normal(5, 5, 2, 3), padding="VALID", label="nothing-fits", slow=True)
case(ops.conv2d, normal(2, 7, 7, 2), normal(3, 3, 2, 3), padding=((-1, 0), (0, -2)), label="cropped", slow=True)

case(ops.conv3d, normal(1, 4, 5, 3, 2), normal(2, 3, 1, 2, 3), normal(3), stride=(1, 2, 1))

case(
    ops.conv_transpose1d, normal(2, 4, 4), normal(3, 2, 6), normal(6), stride=3, padding=((1, 0),), output_padding=2,
    groups=2,
)  # fmt: skip

case(
    ops.conv_transpose2d, normal(2, 4, 3, 2), normal(3, 2, 2, 3), normal(3), stride=(2, 3), padding=((1, 1), (0, 1)),
    output_padding=1,
)  # fmt: skip
case(ops.conv_transpose2d, normal(2, 4, 3, 2), normal(3, 3, 2, 3), stride=2, label="same")
case(ops.conv_transpose2d, normal(2, 4, 3, 2), normal(2, 2, 2, 3), stride=3, padding="VALID", label="gaps", slow=True)
case(
    ops.conv_transpose2d,
    normal(3, 4, 2),
    normal(3, 3, 1, 4),
    groups=2,
    dilation=2,
    stride=2,
    label="dilated",
    slow=True,
)
case(ops.conv_transpose2d, normal(0, 4, 4, 1), normal(3, 3, 1, 2), normal(2), stride=2, label="empty", slow=True)

case(ops.conv_transpose3d, normal(1, 2, 3, 2, 2), normal(2, 1, 3, 2, 2), normal(2), stride=(2, 1, 2))
