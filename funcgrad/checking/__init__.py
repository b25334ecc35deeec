"""Whether gradients can be trusted: rules (`fg.check`), the passes of a function (`fg.audit`, `fg.blame`)."""

from funcgrad.checking.audits import Audit as Audit
from funcgrad.checking.audits import Failure as Failure
from funcgrad.checking.audits import audit as audit
from funcgrad.checking.blaming import CHEAP as CHEAP
from funcgrad.checking.blaming import Blame as Blame
from funcgrad.checking.blaming import Finding as Finding
from funcgrad.checking.blaming import blame as blame
from funcgrad.checking.checks import assert_rules as assert_rules
from funcgrad.checking.checks import check as check
from funcgrad.checking.reports import Report as Report
from funcgrad.checking.reports import Row as Row
from funcgrad.checking.reports import Verdict as Verdict
from funcgrad.checking.search import arguments as arguments
