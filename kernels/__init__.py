"""Triton kernels by the names of the operations. Nothing is imported here: `import pa3d` must not reach for triton.

    knn          k nearest neighbours, exact
    attention    attention over the tokens of a shape, forward and backward
    block        LayerNorm, linear, GELU and residual of a transformer block in one pass each (inference)
    patch_embed  grouping, mini-PointNet and its maxima (inference)
    encoder      the whole forward pass of the model on these (inference)
    backproject  2D tokens to points without the upsampled image
    report       what each kernel takes on a GPU, from the compiler alone

They run on CUDA tensors. With TRITON_INTERPRET=1 set before the import they run on CPU tensors through Triton's
interpreter: a check of the arithmetic and the indexing, never of speed.
"""
