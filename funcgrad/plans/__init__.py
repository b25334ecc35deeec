"""A backward pass as data: the steps, the rule at each, what is kept; its rows and its cost."""

from funcgrad.plans.accounts import ADDITIONS as ADDITIONS
from funcgrad.plans.accounts import Account as Account
from funcgrad.plans.accounts import account_of as account_of
from funcgrad.plans.groups import Groups as Groups
from funcgrad.plans.memory import Fitted as Fitted
from funcgrad.plans.memory import Memory as Memory
from funcgrad.plans.plan import Plan as Plan
from funcgrad.plans.plan import Tap as Tap
from funcgrad.plans.pullback import Pullback as Pullback
from funcgrad.plans.pullback import as_array as as_array
from funcgrad.plans.recomputation import PRODUCTS as PRODUCTS
from funcgrad.plans.recomputation import Recomputation as Recomputation
from funcgrad.plans.recomputation import few_fences as few_fences
from funcgrad.plans.recomputation import is_view as is_view
from funcgrad.plans.repetition import repeated_bytes as repeated_bytes
from funcgrad.plans.step import Step as Step
from funcgrad.plans.suggestions import Look as Look
