"""Whether rules are what they claim to be: `fg.check`."""

from funcgrad.checking.checks import assert_rules as assert_rules
from funcgrad.checking.checks import check as check
from funcgrad.checking.reports import Report as Report
from funcgrad.checking.reports import Row as Row
from funcgrad.checking.reports import Verdict as Verdict
from funcgrad.checking.search import arguments as arguments
