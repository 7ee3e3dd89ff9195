"""Update rules and learning-rate schedules; only gin files and tests import them."""
