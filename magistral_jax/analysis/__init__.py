"""What finished runs and simulations show: tables and pictures. Nothing imports this."""
