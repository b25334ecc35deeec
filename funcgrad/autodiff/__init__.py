"""Gradients of functions: trace, plan, forward, reverse."""

from funcgrad.autodiff.accumulation import accumulate as accumulate
from funcgrad.autodiff.dynamic import Dynamic as Dynamic
from funcgrad.autodiff.dynamic import dynamic as dynamic
from funcgrad.autodiff.gradients import grad as grad
from funcgrad.autodiff.gradients import plan as plan
from funcgrad.autodiff.gradients import value_and_grad as value_and_grad
from funcgrad.autodiff.jacobians import jacobian as jacobian
from funcgrad.autodiff.limits import Certified as Certified
from funcgrad.autodiff.limits import Programs as Programs
from funcgrad.autodiff.limits import certify as certify
from funcgrad.autodiff.parameters import Selector as Selector
from funcgrad.autodiff.parameters import freeze as freeze
from funcgrad.autodiff.parameters import select as select
from funcgrad.autodiff.ruled import with_rules as with_rules
from funcgrad.autodiff.tape import Tape as Tape
from funcgrad.autodiff.tape import record as record
from funcgrad.autodiff.tape import vjp as vjp
