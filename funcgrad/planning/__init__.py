"""Deciding a backward pass before it runs."""

from funcgrad.planning.plans import Plan as Plan
from funcgrad.planning.plans import Step as Step
from funcgrad.planning.plans import make_plan as make_plan
from funcgrad.planning.pullbacks import Pullback as Pullback
