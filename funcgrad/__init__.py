"""funcgrad: backpropagation you can read, replace and plan, on JAX.

Ops and rules
    op           make an op of a pure function; op.pullback registers J^T argument by argument
    Region       several nodes with one output that a rule stands for together
    RuleSet      which rule stands where; override by op and node name
    Rule, Marker, exact, subgradient, surrogate, modified, nonlinear
                 what a rule is, and what it claims to be
    check        whether an op's rules are that, in every respect; print the report
    audit        the same for every node of a function's backward pass, at its own numbers
    blame        which node made the NaN, shrinks the gradient, is dead

Graphs and plans
    trace        any JAX function as a Graph: a DAG of named nodes
    plan         its backward pass before it runs; print it
    name, scope  names for values and nodes
    Where        a place: what wrt=, of=, taps=, at=, select and freeze take, strings too
    detach       stop cotangents here
    dynamic      compile a function that decides in Python; see why it was traced again

Gradients
    grad, value_and_grad, vjp, jacobian
                 in the place of JAX's; of= any value, with respect to (wrt=) any other
    record       run forward and keep a Tape, which can be pulled many times
    select, freeze
                 a Selector: which parameters, for gradients, steps and optimizers
    with_rules   a function whose jax.grad obeys rules
    accumulate   add gradients of several losses and minibatches
    certify      what a compiled program takes of memory, against what was asked (memory=)
    Budget       a size for memory=, and whether checkpoints are replaced

Modules
    ops          functions with hand-written rules
    layers       networks as pure functions: chain, parallel, residual, repeat, dag
    networks     mlp, lenet, resnet, unet, vit, transformer_lm, lstm_lm; summary (also fg.summary): one as a table
    train        one jitted step for any optax optimizer, and a loop
    rulesets     published methods as rules: attribution, straight_through, surrogates
    view         Scene: what is shown of graphs and plans, as data; what prints and draws it; heatmap
    errors       what is raised
"""

from funcgrad import errors as errors
from funcgrad import layers as layers
from funcgrad import networks as networks
from funcgrad import ops as ops
from funcgrad import rulesets as rulesets
from funcgrad import train as train
from funcgrad import view as view
from funcgrad.autodiff import Selector as Selector
from funcgrad.autodiff import Tape as Tape
from funcgrad.autodiff import accumulate as accumulate
from funcgrad.autodiff import certify as certify
from funcgrad.autodiff import dynamic as dynamic
from funcgrad.autodiff import freeze as freeze
from funcgrad.autodiff import grad as grad
from funcgrad.autodiff import jacobian as jacobian
from funcgrad.autodiff import plan as plan
from funcgrad.autodiff import record as record
from funcgrad.autodiff import select as select
from funcgrad.autodiff import value_and_grad as value_and_grad
from funcgrad.autodiff import vjp as vjp
from funcgrad.autodiff import with_rules as with_rules
from funcgrad.budget import Budget as Budget
from funcgrad.checking import audit as audit
from funcgrad.checking import blame as blame
from funcgrad.checking import check as check
from funcgrad.graph import Graph as Graph
from funcgrad.graph import trace as trace
from funcgrad.naming import Where as Where
from funcgrad.naming import detach as detach
from funcgrad.naming import name as name
from funcgrad.naming import scope as scope
from funcgrad.networks import summary as summary
from funcgrad.plans import Plan as Plan
from funcgrad.registry import Marker as Marker
from funcgrad.registry import Region as Region
from funcgrad.registry import Rule as Rule
from funcgrad.registry import RuleSet as RuleSet
from funcgrad.registry import exact as exact
from funcgrad.registry import modified as modified
from funcgrad.registry import nonlinear as nonlinear
from funcgrad.registry import op as op
from funcgrad.registry import subgradient as subgradient
from funcgrad.registry import surrogate as surrogate

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Graph",
    "Marker",
    "Plan",
    "Region",
    "Rule",
    "RuleSet",
    "Selector",
    "Tape",
    "Where",
    "accumulate",
    "audit",
    "blame",
    "certify",
    "check",
    "detach",
    "dynamic",
    "errors",
    "exact",
    "freeze",
    "grad",
    "jacobian",
    "layers",
    "modified",
    "name",
    "networks",
    "nonlinear",
    "op",
    "ops",
    "plan",
    "record",
    "rulesets",
    "scope",
    "select",
    "subgradient",
    "summary",
    "surrogate",
    "trace",
    "train",
    "value_and_grad",
    "view",
    "vjp",
    "with_rules",
]
