"""How the committed artefacts are made from their public sources; src/make_artefacts.py alone uses this."""
