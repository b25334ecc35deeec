"""Published methods that change the backward pass: functions that return an `fg.RuleSet`, to be used as `rules=`.

Sets are joined by `|`; the right one wins where both match.

Modules
    attribution  what counts: guided backprop, deconvnet, integrated gradients, Grad-CAM, DeepLift, and others
    relevance    layer-wise relevance propagation: the cotangent at the input is the relevance
    straight_through
                 what passes where a function is flat: signs, rounding, quantization
    surrogates   the slope of a smooth function in the place of a spike's
"""

from funcgrad.rulesets import attribution as attribution
from funcgrad.rulesets import relevance as relevance
from funcgrad.rulesets import straight_through as straight_through
from funcgrad.rulesets import surrogates as surrogates

__all__ = ["attribution", "relevance", "straight_through", "surrogates"]
