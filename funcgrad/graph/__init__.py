"""The DAG as a value, and the tracing that makes one of any JAX function."""

from funcgrad.graph.addresses import Addresses as Addresses
from funcgrad.graph.addresses import Found as Found
from funcgrad.graph.addresses import hint as hint
from funcgrad.graph.addresses import leaves_at as leaves_at
from funcgrad.graph.addresses import merged as merged
from funcgrad.graph.addresses import refuse_shared as refuse_shared
from funcgrad.graph.arguments import Arguments as Arguments
from funcgrad.graph.concreteness import asks_for_values as asks_for_values
from funcgrad.graph.edges import apart as apart
from funcgrad.graph.flops import flops_of_jaxpr as flops_of_jaxpr
from funcgrad.graph.graphs import Graph as Graph
from funcgrad.graph.graphs import read as read
from funcgrad.graph.measuring import measurable as measurable
from funcgrad.graph.measuring import measured as measured
from funcgrad.graph.structures import Body as Body
from funcgrad.graph.structures import Structure as Structure
from funcgrad.graph.tracing import Meant as Meant
from funcgrad.graph.tracing import Tracing as Tracing
from funcgrad.graph.tracing import open_jaxpr as open_jaxpr
from funcgrad.graph.tracing import trace as trace
from funcgrad.graph.tracing import trace_arguments as trace_arguments
from funcgrad.graph.values import Constant as Constant
from funcgrad.graph.values import Measurement as Measurement
from funcgrad.graph.values import Node as Node
from funcgrad.graph.values import Statistic as Statistic
from funcgrad.graph.values import Value as Value
