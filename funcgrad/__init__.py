"""funcgrad: backpropagation you can read, replace and plan, on JAX."""

from funcgrad import errors as errors
from funcgrad import layers as layers
from funcgrad import ops as ops
from funcgrad import train as train
from funcgrad.autodiff import Tape as Tape
from funcgrad.autodiff import grad as grad
from funcgrad.autodiff import plan as plan
from funcgrad.autodiff import record as record
from funcgrad.autodiff import value_and_grad as value_and_grad
from funcgrad.autodiff import vjp as vjp
from funcgrad.graph import Graph as Graph
from funcgrad.graph import trace as trace
from funcgrad.naming import detach as detach
from funcgrad.naming import name as name
from funcgrad.naming import scope as scope
from funcgrad.planning import Plan as Plan
from funcgrad.registry import Marker as Marker
from funcgrad.registry import Rule as Rule
from funcgrad.registry import RuleSet as RuleSet
from funcgrad.registry import exact as exact
from funcgrad.registry import modified as modified
from funcgrad.registry import op as op
from funcgrad.registry import subgradient as subgradient
from funcgrad.registry import surrogate as surrogate
