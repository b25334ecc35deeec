"""Published methods that change the backward pass: functions that return an `fg.RuleSet`, to be used as `rules=`.

Sets are joined by `|`; the right one wins where both match.

Modules
    attribution  what counts: guided backprop, deconvnet, integrated gradients, Grad-CAM, DeepLift, and others
    feedback     credit assignment without the transposed weights: feedback alignment and the like
    relevance    layer-wise relevance propagation: the cotangent at the input is the relevance
    residuals    memory by rule: outputs, bits or inputs kept in the place of more; reversible blocks
    straight_through
                 what passes where a function is flat: signs, rounding, quantization
    surgery      cotangents changed on their way: reversed, scaled, clipped, noisy, stopped
    surrogates   the slope of a smooth function in the place of a spike's
"""

from funcgrad.rulesets import attribution as attribution
from funcgrad.rulesets import feedback as feedback
from funcgrad.rulesets import relevance as relevance
from funcgrad.rulesets import residuals as residuals
from funcgrad.rulesets import straight_through as straight_through
from funcgrad.rulesets import surgery as surgery
from funcgrad.rulesets import surrogates as surrogates

__all__ = ["attribution", "feedback", "relevance", "residuals", "straight_through", "surgery", "surrogates"]
