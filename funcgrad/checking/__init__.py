"""Whether gradients can be trusted, in three houses that know nothing of each other.

- `rules`: `fg.check`, what somebody wrote as J^T of an op or a primitive, held to what it claims, at examples.
- `passes`: `fg.audit`, every node of a function's own backward pass, at its own numbers.
- `blaming`: `fg.blame`, which node to blame where a pass stops being finite, vanishes, explodes, is cut.

What two of them need stands beside them: where two arrays differ (`differences`), and random numbers (`numbers`).
"""

from funcgrad.checking.blaming import CHEAP as CHEAP
from funcgrad.checking.blaming import Blame as Blame
from funcgrad.checking.blaming import Finding as Finding
from funcgrad.checking.blaming import blame as blame
from funcgrad.checking.passes import Audit as Audit
from funcgrad.checking.passes import Failure as Failure
from funcgrad.checking.passes import audit as audit
from funcgrad.checking.rules import Report as Report
from funcgrad.checking.rules import Row as Row
from funcgrad.checking.rules import Verdict as Verdict
from funcgrad.checking.rules import arguments as arguments
from funcgrad.checking.rules import assert_rules as assert_rules
from funcgrad.checking.rules import check as check
