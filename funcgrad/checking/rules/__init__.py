"""`fg.check`: the rules of an op, or of a primitive of JAX's, held to what they claim.

The claims are tested at examples (`cases`), which are the caller's, the op's own, or made from its declared shapes; at
each the op becomes flat functions of its leaves (`flat_ops`), whose cotangents stand beside somebody else's
(`oracles`): `trials` holds all these. A module per group of rows reads them (`contract`, `correctness` with `hazards`,
`kinks`, `second_order` and `complex_numbers`, `linearity`, `transformations`, `numerics`, `costs`); `reports` has what
they say.
"""

from funcgrad.checking.rules.checks import assert_rules as assert_rules
from funcgrad.checking.rules.checks import check as check
from funcgrad.checking.rules.reports import Report as Report
from funcgrad.checking.rules.reports import Row as Row
from funcgrad.checking.rules.reports import Verdict as Verdict
from funcgrad.checking.rules.search import arguments as arguments
