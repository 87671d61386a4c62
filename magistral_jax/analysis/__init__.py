"""Tables and pictures of finished runs and simulations. Nothing imports this folder."""
