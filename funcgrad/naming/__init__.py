"""Names for the places of a program, and the patterns that stand for them."""

from funcgrad.naming.patterns import Names as Names
from funcgrad.naming.patterns import choose as choose
from funcgrad.naming.patterns import escape as escape
from funcgrad.naming.patterns import holds as holds
from funcgrad.naming.patterns import is_glob as is_glob
from funcgrad.naming.patterns import matches as matches
from funcgrad.naming.patterns import paths_of as paths_of
from funcgrad.naming.patterns import printable as printable
from funcgrad.naming.patterns import suggest as suggest
from funcgrad.naming.patterns import unnumbered as unnumbered
from funcgrad.naming.scopes import at_node as at_node
from funcgrad.naming.scopes import detach as detach
from funcgrad.naming.scopes import line_here as line_here
from funcgrad.naming.scopes import name as name
from funcgrad.naming.scopes import name_here as name_here
from funcgrad.naming.scopes import resolve as resolve
from funcgrad.naming.scopes import scope as scope
from funcgrad.naming.where import Where as Where
