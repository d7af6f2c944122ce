"""What training and serving agree on: names, ids, time, transforms, messages and the bundle. No Ray, no torch."""
