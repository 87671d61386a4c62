"""One card in each file; evaluation/cards.py has the table of them."""
