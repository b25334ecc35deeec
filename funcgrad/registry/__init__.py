"""Ops and the rules that stand for their J^T."""

from funcgrad.registry.call import Call as Call
from funcgrad.registry.call import Outline as Outline
from funcgrad.registry.equation import Equation as Equation
from funcgrad.registry.example import Example as Example
from funcgrad.registry.function import Function as Function
from funcgrad.registry.function import Pull as Pull
from funcgrad.registry.function import leaf_names as leaf_names
from funcgrad.registry.function import rules_of as rules_of
from funcgrad.registry.op import Op as Op
from funcgrad.registry.op import op as op
from funcgrad.registry.op import registered as registered
from funcgrad.registry.rows import row as row
from funcgrad.registry.rows import written as written
from funcgrad.registry.rule import Kind as Kind
from funcgrad.registry.rule import Marker as Marker
from funcgrad.registry.rule import Rule as Rule
from funcgrad.registry.rule import exact as exact
from funcgrad.registry.rule import modified as modified
from funcgrad.registry.rule import subgradient as subgradient
from funcgrad.registry.rule import surrogate as surrogate
from funcgrad.registry.rule import unbroadcast as unbroadcast
from funcgrad.registry.ruleset import Hook as Hook
from funcgrad.registry.ruleset import Override as Override
from funcgrad.registry.ruleset import RuleSet as RuleSet
from funcgrad.registry.targets import functions_in as functions_in
