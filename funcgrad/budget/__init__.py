"""What to keep for the backward pass within so many bytes: numbers in, numbers out, nothing of JAX."""

from funcgrad.budget.choosing import choose as choose
from funcgrad.budget.choosing import frontier as frontier
from funcgrad.budget.choosing import smallest as smallest
from funcgrad.budget.posing import Choice as Choice
from funcgrad.budget.schedules import Event as Event
from funcgrad.budget.schedules import Pull as Pull
from funcgrad.budget.schedules import Run as Run
from funcgrad.budget.schedules import Schedule as Schedule
from funcgrad.budget.schedules import Timeline as Timeline
from funcgrad.budget.schedules import simulate as simulate
from funcgrad.budget.sizes import Budget as Budget
