"""Training: stage 1 on 2D features, stage 2 on part names, or both at once. Start reading in pa3d.train.loop."""
