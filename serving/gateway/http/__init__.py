"""HTTP: from a call to its endpoint and back."""
