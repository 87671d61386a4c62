"""What runs inside the jails beside a model's program; only its text is read out here."""
