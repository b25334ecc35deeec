"""The lecture's equations, each against numbers worked out in numpy by hand (F. Fleuret, lectures 3.6, 4.1, 4.2)."""
