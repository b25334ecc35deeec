"""`fg.blame`: the node at which a pass goes wrong, in a function that may be right everywhere else.

One pass is run with every value watched. What was read of it becomes a level per value and cotangent, finite, infinite
or NaN (`conditions`), over who makes and who reads what (`connections`). From these follow where a number that is not
finite starts (`origins`, inside of what is one node `inner_nodes`, among several readers `uses`), what is out of bounds
(`magnitudes`), and gradients of nothing but zeros (`zero_gradients`).
"""

from funcgrad.checking.blaming.findings import Finding as Finding
from funcgrad.checking.blaming.investigation import CHEAP as CHEAP
from funcgrad.checking.blaming.investigation import Blame as Blame
from funcgrad.checking.blaming.investigation import blame as blame
