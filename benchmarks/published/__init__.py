"""Published figures met from both sides: rows of papers' tables, run by their protocols, in their bands or not."""
