"""Models of other libraries, unmodified.

`opened` turns a call on their modules into a call on pytrees of arrays, differentiated as the library itself would
do it, and names what the modules compute after their paths. There is a module for each library that needs help:
`flax_nnx` (modules are graphs of mutable variables) and `equinox` (modules hold what is no array). Each is imported
only if its library already is. Flax Linen and Haiku need none: their parameters are plain pytrees, and they name
what their modules compute themselves.
"""

from funcgrad.adapters.array_calls import ArrayCall as ArrayCall
from funcgrad.adapters.library import Definition as Definition
from funcgrad.adapters.module_scopes import noting_classes as noting_classes
from funcgrad.adapters.modules import captured as read_beside
from funcgrad.adapters.modules import members_of as members_of
from funcgrad.adapters.modules import parameter_names as parameter_names
from funcgrad.adapters.opening import choice as choice
from funcgrad.adapters.opening import hand_over as hand_over
from funcgrad.adapters.opening import named_leaves as named_leaves
from funcgrad.adapters.opening import open_call as open_call
from funcgrad.adapters.opening import taken_apart as taken_apart
from funcgrad.adapters.opening import without_modules as without_modules
