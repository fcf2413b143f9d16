"""Where masks come from and how they are carried on."""
