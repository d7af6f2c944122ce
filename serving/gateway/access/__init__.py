"""Who may call what, and who is told so."""
