"""What is shown of graphs and plans: a `Scene`, and the texts, tables and pictures that are made of it.

Scenes are data, and what renders them knows nothing else; `print(graph)`, `graph.to_mermaid()`, `graph.to_dot()`,
`print(plan)` and `plan.table()` are these. `heatmap` draws an attribution over its input.
"""

from funcgrad.view.columns import Cell as Cell
from funcgrad.view.columns import Column as Column
from funcgrad.view.columns import lay_out as lay_out
from funcgrad.view.columns import page_width as page_width
from funcgrad.view.details import to_html as to_html
from funcgrad.view.dot import to_dot as to_dot
from funcgrad.view.heatmaps import heatmap as heatmap
from funcgrad.view.levels import draw_curve as draw_curve
from funcgrad.view.levels import draw_levels as draw_levels
from funcgrad.view.mermaid import to_mermaid as to_mermaid
from funcgrad.view.outline import LINES as LINES
from funcgrad.view.picture import BOXES as BOXES
from funcgrad.view.scene import Box as Box
from funcgrad.view.scene import Facts as Facts
from funcgrad.view.scene import Row as Row
from funcgrad.view.scene import RowRead as RowRead
from funcgrad.view.scene import RowRule as RowRule
from funcgrad.view.scene import Scene as Scene
from funcgrad.view.scene import Totals as Totals
from funcgrad.view.scene import Wire as Wire
from funcgrad.view.tables import to_table as to_table
from funcgrad.view.text import to_text as to_text
from funcgrad.view.words import listed as listed
from funcgrad.view.words import quantity as quantity
from funcgrad.view.words import shorter_paths as shorter_paths
