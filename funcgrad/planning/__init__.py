"""Deciding a backward pass before it runs."""

from funcgrad.planning.planner import make_plan as make_plan
