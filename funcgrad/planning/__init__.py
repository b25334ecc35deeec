"""Deciding a backward pass before it runs."""

from funcgrad.planning.fitting import Limit as Limit
from funcgrad.planning.fitting import refuse_budget as refuse_budget
from funcgrad.planning.foreign import LostError as LostError
from funcgrad.planning.planner import make_plan as make_plan
from funcgrad.planning.replacements import find_replacements as find_replacements
