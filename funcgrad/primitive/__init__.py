"""The one place that touches JAX's extension API: op primitives, batch levels, and reading jaxprs."""

from funcgrad.primitive.binding import OpPrimitives as OpPrimitives
from funcgrad.primitive.binding import is_inexact as is_inexact
from funcgrad.primitive.binding import is_plain as is_plain
from funcgrad.primitive.binding import zeros_of as zeros_of
from funcgrad.primitive.deferral import defer as defer
from funcgrad.primitive.jaxprs import Equation as Equation
from funcgrad.primitive.jaxprs import as_function as as_function
from funcgrad.primitive.jaxprs import bodies as bodies
from funcgrad.primitive.jaxprs import body as body
from funcgrad.primitive.jaxprs import holds_references as holds_references
from funcgrad.primitive.jaxprs import is_literal as is_literal
from funcgrad.primitive.jaxprs import prune as prune
from funcgrad.primitive.jaxprs import scope_of as scope_of
from funcgrad.primitive.levels import Level as Level
from funcgrad.primitive.levels import Levels as Levels
from funcgrad.primitive.levels import Linear as Linear
from funcgrad.primitive.levels import vectorize as vectorize
from funcgrad.primitive.sources import source_line as source_line
from funcgrad.primitive.tangents import Tangent as Tangent
from funcgrad.primitive.wiring import Loop as Loop
from funcgrad.primitive.wiring import Wiring as Wiring
from funcgrad.primitive.wiring import loop_of as loop_of
from funcgrad.primitive.wiring import saves as saves
from funcgrad.primitive.wiring import wirings as wirings
