"""How the embedded network is made; not part of the installed package."""
