"""Training: stage 1 on 2D features, stage 2 on part names, and both at once. See pa3d.train.config and loop."""
