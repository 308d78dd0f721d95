"""Networks that we write ourselves, in torch; each module builds one and loads its weights."""
