"""Tables and charts of finished runs and simulations. Nothing imports this folder."""
