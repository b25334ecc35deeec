"""Layer-wise relevance propagation: the cotangent that arrives at the input *is* the relevance, but for `Transformers`.

What arrives at the output is its relevance, so `fg.vjp` of the model is pulled with one-hot vectors. A rule hands the
relevance `g` of a layer's output to its input, in shares of what each input contributed:

        R_i = Σ_j  x_i w_ij / (Σ_i x_i w_ij + b_j)  R_j

The layers are affine regions (`fg.Region(affine=...)`): a product with its bias, and the batch norm after it, so that
no model has to be rewritten. `w` below is the merged weight, `x⁺` and `x⁻` are positive and negative parts.
The formulas are those of Montavon et al. 2019 ("Layer-wise relevance propagation: an overview"); conventions, such as
what becomes of biases and negative inputs, are zennit's, with whose numbers they agree.

Products with parameters
    epsilon, gamma, z_plus, alpha_beta
    z_box, w_square, flat
                 for the first of them

The rest of a network
    passing      activations
    norm         sums of branches, pooling

Composites
    epsilon_plus, epsilon_plus_flat
    epsilon_alpha2_beta1, epsilon_alpha2_beta1_flat
    epsilon_gamma_box, beta_smooth

Transformers
    attn_lrp, relp
                 other than the above, coefficients: the relevance of a value is it times its cotangent, which
                 `attribution.gradient_times_input(f, rules=attn_lrp())` gives
"""

from funcgrad.rulesets.relevance.composites import beta_smooth as beta_smooth
from funcgrad.rulesets.relevance.composites import epsilon_alpha2_beta1 as epsilon_alpha2_beta1
from funcgrad.rulesets.relevance.composites import epsilon_alpha2_beta1_flat as epsilon_alpha2_beta1_flat
from funcgrad.rulesets.relevance.composites import epsilon_gamma_box as epsilon_gamma_box
from funcgrad.rulesets.relevance.composites import epsilon_plus as epsilon_plus
from funcgrad.rulesets.relevance.composites import epsilon_plus_flat as epsilon_plus_flat
from funcgrad.rulesets.relevance.linear import alpha_beta as alpha_beta
from funcgrad.rulesets.relevance.linear import epsilon as epsilon
from funcgrad.rulesets.relevance.linear import flat as flat
from funcgrad.rulesets.relevance.linear import gamma as gamma
from funcgrad.rulesets.relevance.linear import w_square as w_square
from funcgrad.rulesets.relevance.linear import z_box as z_box
from funcgrad.rulesets.relevance.linear import z_plus as z_plus
from funcgrad.rulesets.relevance.rest import norm as norm
from funcgrad.rulesets.relevance.rest import passing as passing
from funcgrad.rulesets.relevance.sharing import CONVOLUTIONS as CONVOLUTIONS
from funcgrad.rulesets.relevance.sharing import DENSE as DENSE
from funcgrad.rulesets.relevance.transformers import attn_lrp as attn_lrp
from funcgrad.rulesets.relevance.transformers import relp as relp
