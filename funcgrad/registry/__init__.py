"""Ops and the rules that stand for their J^T."""

from funcgrad.registry.call import Call as Call
from funcgrad.registry.call import Outline as Outline
from funcgrad.registry.example import Example as Example
from funcgrad.registry.op import Op as Op
from funcgrad.registry.op import op as op
from funcgrad.registry.op import registered as registered
from funcgrad.registry.rule import Kind as Kind
from funcgrad.registry.rule import Marker as Marker
from funcgrad.registry.rule import Rule as Rule
from funcgrad.registry.rule import exact as exact
from funcgrad.registry.rule import modified as modified
from funcgrad.registry.rule import subgradient as subgradient
from funcgrad.registry.rule import surrogate as surrogate
from funcgrad.registry.rule import unbroadcast as unbroadcast
from funcgrad.registry.ruleset import RuleSet as RuleSet
