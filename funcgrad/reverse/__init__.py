"""The reverse pass: a short loop that runs a plan."""

from funcgrad.reverse.cotangents import Cotangents as Cotangents
from funcgrad.reverse.passes import forward as forward
from funcgrad.reverse.passes import reverse as reverse
