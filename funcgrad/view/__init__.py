"""Looking at networks: tables."""

from funcgrad.view.summaries import Summary as Summary
from funcgrad.view.summaries import summary as summary
